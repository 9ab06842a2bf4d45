"""A worker of the Python SDK with seals and without: `worker.py URL PREFIX`.

PREFIX::count, ::keep  {"stdin": ref}    reads to the end: how many bytes, which messages, which mode
PREFIX::plain_count                      the same without `verified`
PREFIX::produce        {"stdout": ref}   writes `items`, or `bytes` of zeros, or `ticks`, one each second
PREFIX::plain_produce                    the same without `sealed`
PREFIX::upper          {"stdin", "stdout"}
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

from iii import InitOptions, register_worker
from iii_seal import sealed, verified

ZEROS = bytes(1 << 20)
later: list[asyncio.Task[None]] = []


async def _read(data: dict[str, Any], chunks: Any, messages: list[str], source: Any) -> dict[str, Any]:
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if "pause" in data:
            await asyncio.sleep(data.pop("pause"))
        if size >= data.get("leave_after", 1 << 62):
            break
    return {"bytes": size, "messages": messages, "mode": getattr(source, "mode", None)}


async def count(data: dict[str, Any]) -> dict[str, Any]:
    messages: list[str] = []
    options = data.get("options", {})
    source = verified(data["stdin"], on_message=messages.append, **options)
    return await _read(data, source, messages, source)


async def keep(data: dict[str, Any]) -> dict[str, Any]:
    messages: list[str] = []
    async with verified(data["stdin"], on_message=messages.append) as source:
        result = await _read(data, source, messages, source)
        await asyncio.sleep(data.get("commit", 0))
        if "fail" in data:
            raise ValueError(data["fail"])
    return result


async def plain_count(data: dict[str, Any]) -> dict[str, Any]:
    messages: list[str] = []
    data["stdin"].on_message(messages.append)
    return await _read(data, data["stdin"], messages, None)


async def _write(data: dict[str, Any], write: Any, send_message: Any) -> None:
    for kind, payload in data.get("items", ()):
        await (send_message(payload) if kind == "text" else write(bytes.fromhex(payload)))
    left = data.get("bytes", 0)
    while left > 0:
        await write(ZEROS[:left])
        left -= len(ZEROS)
    for tick in range(data.get("ticks", 0)):
        await write(f"{tick}\n".encode())
        await asyncio.sleep(data.get("every", 1))
    if "fail" in data:
        raise ValueError(data["fail"])


async def produce(data: dict[str, Any]) -> None:
    if data.pop("later", False):
        later.append(asyncio.create_task(produce(data)))
        return
    async with sealed(data["stdout"], data.get("mode", "bytes"), **data.get("options", {})) as out:
        async with asyncio.timeout(data.get("within")):
            await _write(data, out.write, out.send_message)


async def plain_produce(data: dict[str, Any]) -> None:
    await _write(data, data["stdout"].write, data["stdout"].send_message_async)
    await data["stdout"].close_async()


async def upper(data: dict[str, Any]) -> None:
    async with sealed(data["stdout"]) as out:
        async for chunk in verified(data["stdin"]):
            await out.write(chunk.upper())


def main(url: str, prefix: str) -> None:
    worker = register_worker(url, InitOptions(worker_name=f"{prefix}-seals"))
    for function in (count, keep, plain_count, produce, plain_produce, upper):
        worker.register_function(f"{prefix}::{function.__name__}", function)
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

"""An unmodified Python SDK worker whose functions treat the streams of `iii trigger` in every way.

Run as a program, with the engine's URL and a prefix for its functions (`py`); it says `ready` once its
functions are registered.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
import threading
from typing import Any

from iii import InitOptions, register_worker
from iii.helpers import create_channel_async

CHUNK = bytes(range(256)) * 256
background: set[asyncio.Task[Any]] = set()
last: dict[str, Any] = {}
worker: Any = None


async def _digest(reader: Any) -> dict[str, Any]:
    seen, size = hashlib.sha256(), 0
    async for chunk in reader:
        seen.update(chunk)
        size += len(chunk)
    return {"sha256": seen.hexdigest(), "bytes": size}


async def _copy(reader: Any, writer: Any) -> int:
    size = 0
    async for chunk in reader:
        await writer.write(chunk)
        size += len(chunk)
    await writer.close_async()
    return size


async def _produce(writer: Any, size: int) -> None:
    left = size
    while left:
        chunk = CHUNK[:left]
        await writer.write(chunk)
        left -= len(chunk)
    await writer.close_async()


def _later(work: Any) -> None:
    task = asyncio.ensure_future(work)
    background.add(task)
    task.add_done_callback(background.discard)


async def digest(data: dict[str, Any]) -> dict[str, Any]:
    return await _digest(data["stdin"])


async def echo(data: dict[str, Any]) -> dict[str, Any]:
    return {"bytes": await _copy(data["stdin"], data["stdout"])}


async def produce(data: dict[str, Any]) -> dict[str, Any]:
    await _produce(data["stdout"], int(data["size"]))
    return {"bytes": data["size"]}


async def write_first(data: dict[str, Any]) -> dict[str, Any]:
    await _produce(data["stdout"], int(data["size"]))
    return await _digest(data["stdin"])


async def started(data: dict[str, Any]) -> dict[str, str]:
    async def consume() -> None:
        last["started"] = await _digest(data["stdin"])

    last.pop("started", None)
    _later(consume())
    return {"status": "started"}


async def overtakes(data: dict[str, Any]) -> dict[str, str]:
    async def tell_late() -> None:
        await asyncio.sleep(0.05)
        await _produce(data["stdout"], int(data["size"]))

    _later(tell_late())
    return {"status": "on its way"}


async def report(data: dict[str, Any]) -> dict[str, Any] | None:
    return last.get("started")


async def never(data: dict[str, Any]) -> None:
    await asyncio.Event().wait()


async def ignore(data: dict[str, Any]) -> dict[str, str]:
    return {"status": "ignored"}


async def reads_some(data: dict[str, Any]) -> dict[str, int]:
    async for chunk in data["stdin"]:
        data["stdin"]._ws.transport.abort()
        return {"bytes": len(chunk)}
    return {"bytes": 0}


async def fails_late(data: dict[str, Any]) -> None:
    async for _ in data["stdin"]:
        break
    if "stdout" in data:
        await _produce(data["stdout"], 100_000)
    raise ValueError("no such table")


async def messages(data: dict[str, Any]) -> dict[str, int]:
    for word in data["words"]:
        await data["stdout"].send_message_async(word)
    await data["stdout"].close_async()
    return {"words": len(data["words"])}


async def progress(data: dict[str, Any]) -> dict[str, int]:
    writer = data["stdout"]
    for step in range(3):
        await writer.send_message_async(json.dumps({"type": "progress", "step": step}))
        await writer.write(CHUNK)
    await writer.close_async()
    return {"steps": 3}


async def collect(data: dict[str, Any]) -> dict[str, Any]:
    texts: list[str] = []
    reader = data["stdin"]
    reader.on_message(texts.append)
    size = 0
    async for chunk in reader:
        size += len(chunk)
    return {"texts": texts, "bytes": size}


async def content(data: dict[str, Any]) -> dict[str, Any]:
    channel = await create_channel_async(worker)
    _later(_produce(channel.writer, int(data["size"])))
    return {"content": channel.reader_ref.model_dump(), "size": data.get("say", data["size"])}


async def dies(data: dict[str, Any]) -> None:
    async for _ in data["stdin"]:
        break
    os._exit(1)


FUNCTIONS = (
    digest,
    echo,
    produce,
    write_first,
    started,
    overtakes,
    report,
    never,
    ignore,
    reads_some,
    fails_late,
    messages,
    progress,
    collect,
    content,
    dies,
)


def main() -> None:
    global worker
    prefix = sys.argv[2] if len(sys.argv) > 2 else "py"
    worker = register_worker(sys.argv[1], InitOptions(worker_name=f"trigger-{prefix}"))
    for function in FUNCTIONS:
        worker.register_function(f"{prefix}::{function.__name__}", function)
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()

"""A worker of the PyPI SDK, doing what its users do. Run with the engine's URL and the worker's name."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from typing import Any

from iii import InitOptions, register_worker
from iii.helpers import create_channel_async

URL, NAME = sys.argv[1:3]
worker = register_worker(URL, InitOptions(worker_name=NAME))


def pattern(size: int) -> bytes:
    """The same bytes in both languages."""
    block = bytes(range(251)) * 1044
    return (block * (size // len(block) + 1))[:size]


def echo(data: Any) -> Any:
    return data


def fail(data: Any) -> Any:
    raise ValueError(data["why"])


async def upper(data: Any) -> Any:
    count = 0
    async for chunk in data["in"]:
        await data["out"].write(chunk.upper())
        count += len(chunk)
    await data["out"].close_async()
    return {"bytes": count}


async def digest(data: Any) -> Any:
    found, count = hashlib.sha256(), 0
    async for chunk in data["deep"]["list"][0]["reader"]:
        found.update(chunk)
        count += len(chunk)
    return {"bytes": count, "sha256": found.hexdigest()}


async def produce(data: Any) -> Any:
    found, left = hashlib.sha256(), data["bytes"]
    block = pattern(min(left, 1 << 20))
    while left > 0:
        chunk = block[:left]
        await data["writer"].write(chunk)
        found.update(chunk)
        left -= len(chunk)
    await data["writer"].close_async()
    return {"sha256": found.hexdigest()}


async def progress(data: Any) -> Any:
    writer = data["writer"]
    for step in range(3):
        await writer.send_message_async(json.dumps({"type": "progress", "step": step}))
        await writer.write(b"%d" % step)
    await writer.send_message_async(json.dumps({"type": "complete"}))
    await writer.close_async()


async def listen(data: Any) -> Any:
    messages: list[str] = []
    data["reader"].on_message(messages.append)
    body = await data["reader"].read_all()
    return {"messages": messages, "body": body.decode()}


async def delegate(data: Any) -> Any:
    """Give what was read to another function through a channel of its own."""
    channel = await create_channel_async(worker)
    call = asyncio.ensure_future(
        worker.trigger_async(
            {
                "function_id": data["to"],
                "payload": {"deep": {"list": [{"reader": channel.reader_ref.model_dump()}]}},
            }
        )
    )
    async for chunk in data["in"]:
        await channel.writer.write(chunk)
    await channel.writer.close_async()
    return await call


for function in (echo, fail, upper, digest, produce, progress, listen, delegate):
    worker.register_function(f"{NAME}::{function.__name__}", function)
asyncio.new_event_loop().run_forever()

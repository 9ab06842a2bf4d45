"""`python_sdk.py write|read URL CHANNEL_ID ACCESS_KEY [lines]`: what a program with the Python SDK does.

As little as it can: blocking reads and writes of 1 MiB at most, no digest.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from iii.channels import ChannelReader, ChannelWriter
from iii.iii_types import StreamChannelRef


async def write(writer: Any, lines: bool) -> None:
    if lines:
        for line in sys.stdin:
            await writer.send_message_async(line.rstrip("\n"))
    else:
        while data := os.read(0, 1 << 20):
            await writer.write(data)
    await writer.close_async()


async def read(reader: Any, lines: bool) -> None:
    if lines:
        reader.on_message(lambda text: sys.stdout.write(f"{text}\n"))
    async for chunk in reader:
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(1, rest) :]


async def main(direction: str, url: str, channel_id: str, access_key: str, *mode: str) -> None:
    end = StreamChannelRef(channel_id=channel_id, access_key=access_key, direction=direction)
    if direction == "write":
        await write(ChannelWriter(url, end), bool(mode))
    else:
        await read(ChannelReader(url, end), bool(mode))


asyncio.run(main(*sys.argv[1:]))

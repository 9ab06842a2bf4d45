"""Call it: input and output flow while the call runs."""

import sys

import anyio

from iii_cli import Channel, connect


async def main(path: str) -> None:
    async with connect() as worker, anyio.create_task_group() as tasks:
        source, target = await worker.create_channel(), await worker.create_channel()
        tasks.start_soon(upload, source, path)
        tasks.start_soon(show, target)
        result = await worker.trigger(
            "files::process", {"reader": source.reader_ref, "writer": target.writer_ref}, timeout=None
        )
        print(result, file=sys.stderr)


async def upload(channel: Channel, path: str) -> None:
    async with channel.writer as writer, await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(65536):
            await writer.send(chunk)


async def show(channel: Channel) -> None:
    async for chunk in channel.reader:
        print(chunk.decode(), end="")


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])

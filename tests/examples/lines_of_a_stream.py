"""Ends are anyio byte streams, so what composes with anyio composes with them."""

import anyio
from anyio.streams.text import TextReceiveStream

from iii_cli import StreamTruncated, connect


async def main() -> None:
    async with connect() as worker:
        channel = await worker.create_channel()
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                await channel.writer.send("größer\n".encode())
                await channel.writer.abort(1, "out of paper")  # or: async with channel.writer

            tasks.start_soon(write)
            try:
                async for text in TextReceiveStream(channel.reader):
                    print(text, end="")
            except anyio.BrokenResourceError as error:  # never a plain end
                print(error, isinstance(error.__cause__, StreamTruncated))


if __name__ == "__main__":
    anyio.run(main)

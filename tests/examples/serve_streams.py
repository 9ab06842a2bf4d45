"""Serve a function that reads one stream while it writes another."""

from typing import Any

import anyio

from iii_cli import connect


async def main() -> None:
    async with connect() as worker:

        @worker.function("files::process", description="Makes text louder")
        async def process(payload: dict[str, Any]) -> dict[str, int]:
            reader, writer = payload["reader"], payload["writer"]  # refs became live ends
            async with writer:  # ends the stream; an exception aborts it
                async for chunk in reader:  # a stream that was cut raises, it does not just stop
                    await writer.send(chunk.upper())
            return {"bytes": writer.statistics().bytes}

        await worker.serve()


if __name__ == "__main__":
    anyio.run(main)

"""The functions that examples of the help and the README call, from a worker of our own library."""

from __future__ import annotations

import sys
from typing import Any

import anyio

from iii_cli import connect

CHUNK_WORDS = ("Hello", " from", " a", " worker", ".\n")


async def main(url: str) -> None:
    async with connect(url, name="examples") as worker:

        @worker.function("text::upper", description="Makes text louder")
        async def upper(payload: dict[str, Any]) -> dict[str, Any]:
            return {"text": str(payload.get("text", "")).upper()}

        @worker.function("hello")
        async def hello(_: dict[str, Any]) -> str:
            return "hello"

        @worker.function("orders::create", description="Takes an order")
        async def create(payload: dict[str, Any]) -> dict[str, Any]:
            return {"created": payload["id"], "zip": payload["zip"]}

        @worker.function("jobs::run", description="Does a job")
        async def run(payload: dict[str, Any]) -> dict[str, Any]:
            return {"done": payload.get("id")}

        @worker.function("llm::chat", description="Answers word by word")
        async def chat(payload: dict[str, Any]) -> None:
            async with payload["stream"] as stream:
                await stream.open("text")
                for word in CHUNK_WORDS:
                    await stream.send_message(word)

        @worker.function("bulk-importer::import_csv", description="Imports the rows of a CSV stream")
        async def import_csv(payload: dict[str, Any]) -> dict[str, int]:
            data = b"".join([chunk async for chunk in payload["reader"]])
            return {"imported": len(data.splitlines()) - 1}

        await worker.wait_registered()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await worker.serve()


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])

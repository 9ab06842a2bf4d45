"""An unmodified Python SDK worker with filters, sources and sinks, typed and not."""

from __future__ import annotations

import sys
import threading
from typing import Any

from iii import InitOptions, register_worker

CHUNK = bytes(range(256)) * 256
REF = {
    "type": "object",
    "properties": {
        "channel_id": {"type": "string"},
        "access_key": {"type": "string"},
        "direction": {"$ref": "#/$defs/Direction"},
    },
    "required": ["channel_id", "access_key", "direction"],
}
DEFINITIONS = {"Ref": REF, "Direction": {"enum": ["read", "write"], "type": "string"}}


def taking(*names: str) -> dict[str, Any]:
    """A schema as pydantic makes them: the side of an end is in its name alone."""
    properties = {name: {"$ref": "#/$defs/Ref"} for name in names}
    return {"type": "object", "$defs": DEFINITIONS, "properties": properties}


async def copy(data: dict[str, Any]) -> dict[str, int]:
    size = 0
    async for chunk in data["source"]:
        await data["sink"].write(chunk)
        size += len(chunk)
    await data["sink"].close_async()
    return {"bytes": size}


async def make(data: dict[str, Any]) -> dict[str, int]:
    left = data["size"]
    while left:
        chunk = CHUNK[:left]
        await data["to" if "to" in data else "output"].write(chunk)
        left -= len(chunk)
    await data["to" if "to" in data else "output"].close_async()
    return {"bytes": data["size"]}


async def count(data: dict[str, Any]) -> dict[str, int]:
    size = 0
    async for chunk in data["from" if "from" in data else "input"]:
        size += len(chunk)
    return {"bytes": size}


def main() -> None:
    worker = register_worker(sys.argv[1], InitOptions(worker_name="pipe-py"))
    worker.register_function("py::copy", copy)
    worker.register_function("py::make", make)
    worker.register_function("py::typed", copy, request_format=taking("source", "sink"))
    worker.register_function("py::make_typed", make, request_format=taking("output"))
    worker.register_function("py::count_typed", count, request_format=taking("input"))
    worker.register_function("py::count", count)
    threading.Event().wait()


if __name__ == "__main__":
    main()

"""An unmodified SDK worker: run as a program, it says `ready` once its functions are there.

py::digest {"reader": ref}            reads the stream and returns its sha256
py::produce {"writer": ref, "size"}   writes that many bytes into the stream
"""

from __future__ import annotations

import hashlib
import sys
import threading
from typing import Any

from iii import InitOptions, register_worker

CHUNK = bytes(range(256)) * 256


async def digest(data: dict[str, Any]) -> dict[str, Any]:
    seen, size = hashlib.sha256(), 0
    async for chunk in data["reader"]:
        seen.update(chunk)
        size += len(chunk)
    return {"sha256": seen.hexdigest(), "bytes": size}


async def produce(data: dict[str, Any]) -> dict[str, Any]:
    left = int(data["size"])
    while left:
        chunk = CHUNK[:left]
        await data["writer"].write(chunk)
        left -= len(chunk)
    await data["writer"].close_async()
    return {"bytes": data["size"]}


def main() -> None:
    worker = register_worker(sys.argv[1], InitOptions(worker_name="python-sdk"))
    worker.register_function("py::digest", digest)
    worker.register_function("py::produce", produce)
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()

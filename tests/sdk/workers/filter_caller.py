"""An unmodified Python SDK worker that calls a served filter with channels of its own.

pycaller::through {"function", "size"}   sends that many bytes through it
pycaller::digest {"reader": ref}         reads a stream and returns its sha256
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import threading
from typing import Any

from iii import InitOptions, register_worker
from iii.helpers import create_channel_async

CHUNK = b"abcdefgh" * 8192

worker = register_worker(sys.argv[1], InitOptions(worker_name="python-caller"))


async def through(data: dict[str, Any]) -> dict[str, Any]:
    source, target = await create_channel_async(worker), await create_channel_async(worker)

    async def send() -> None:
        left = int(data["size"])
        while left:
            await source.writer.write(CHUNK[:left])
            left -= min(left, len(CHUNK))
        await source.writer.close_async()

    payload = {"stdin": source.reader_ref.model_dump(), "stdout": target.writer_ref.model_dump()}
    call = asyncio.ensure_future(
        worker.trigger_async({"function_id": data["function"], "payload": payload, "timeout_ms": 60000})
    )
    sending = asyncio.ensure_future(send())
    out = await target.reader.read_all()
    await sending
    return {"sha256": hashlib.sha256(out).hexdigest(), "bytes": len(out), "result": await call}


async def digest(data: dict[str, Any]) -> dict[str, Any]:
    seen, size = hashlib.sha256(), 0
    async for chunk in data["reader"]:
        seen.update(chunk)
        size += len(chunk)
    return {"sha256": seen.hexdigest(), "bytes": size}


worker.register_function("pycaller::through", through)
worker.register_function("pycaller::digest", digest)
threading.Event().wait()

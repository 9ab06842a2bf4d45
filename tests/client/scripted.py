"""A fake engine that does what the test says, over real sockets."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import SocketAttribute
from websockets.server import ServerProtocol

from iii_cli.engine.door import HeadParser
from iii_cli.protocol.frames import FrameDecoder, Opcode, encode_frame
from iii_cli.protocol.refs import Endpoint, EngineAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import SocketStream

__all__ = ("WORKER_ID", "ScriptedEngine", "ScriptedLink", "scripted_engine")

WORKER_ID = "5b1f0000-0000-4000-8000-000000000000"
TOKEN = "9c0e0000-0000-4000-8000-000000000000"


class ScriptedLink:
    """The engine's side of one WebSocket."""

    def __init__(self, stream: SocketStream, target: str, headers: dict[str, str]) -> None:
        self.target = target
        self.headers = headers
        self._stream = stream
        self._decoder = FrameDecoder(masked=True)
        self._frames: list[tuple[int, bytes]] = []
        self._turn = anyio.Lock()  # the script and the test may want to say something at once

    async def frame(self) -> tuple[int, bytes]:
        """The next frame."""
        while not self._frames:
            data = await self._stream.receive()
            self._decoder.feed(data)
            self._frames += [(opcode, bytes(payload)) for opcode, payload, _ in self._decoder.events()]
        return self._frames.pop(0)

    async def message(self, kind: str | None = None) -> dict[str, Any]:
        """The next text message, which must be of that kind."""
        while True:
            opcode, payload = await self.frame()
            if opcode == Opcode.TEXT:
                message: dict[str, Any] = json.loads(payload)
                assert kind is None or message["type"] == kind, message
                return message

    async def send(self, **message: Any) -> None:
        """Send one message."""
        await self.raw(Opcode.TEXT, json.dumps(message).encode())

    async def raw(self, opcode: int, payload: bytes) -> None:
        """Send one frame."""
        async with self._turn:
            await self._stream.send(b"".join(bytes(part) for part in encode_frame(opcode, payload)))

    async def welcome(self, worker_id: str = WORKER_ID) -> dict[str, Any]:
        """Register the worker and answer its announcement, which is returned."""
        await self.send(type="workerregistered", worker_id=worker_id, reattach_token=TOKEN)
        message = await self.message()
        if message["type"] == "reattach":
            announcement = await self.message("invokefunction")
            announcement["reattach"] = message
        else:
            announcement = message
        await self.result(announcement, {"success": True})
        return announcement

    async def result(self, call: dict[str, Any], result: Any = None, **error: Any) -> None:
        """Answer a call."""
        body = {"error": error} if error else {"result": result}
        await self.send(
            type="invocationresult",
            invocation_id=call["invocation_id"],
            function_id=call["function_id"],
            **body,
        )

    async def invoke(self, function_id: str, data: Any, number: int = 1, **more: Any) -> dict[str, Any]:
        """Call a function of the worker and return its answer."""
        await self.call(function_id, data, number, **more)
        return await self.message("invocationresult")

    async def call(self, function_id: str, data: Any, number: int = 1, **more: Any) -> None:
        """Call a function of the worker."""
        invocation_id = f"00000000-0000-4000-8000-{number:012d}"
        await self.send(
            type="invokefunction", invocation_id=invocation_id, function_id=function_id, data=data, **more
        )

    async def pong(self) -> None:
        """Answer the next JSON ping."""
        await self.message("ping")
        await self.send(type="pong")

    async def pong_to_the_end(self) -> None:
        """Answer the JSON ping with which a worker makes sure, before it leaves, that all it sent was
        read.
        """
        with suppress(anyio.EndOfStream, anyio.ClosedResourceError, anyio.BrokenResourceError):
            while True:
                if (await self.message())["type"] == "ping":
                    await self.send(type="pong")

    async def drop(self) -> None:
        """End the connection without a Close frame."""
        await self._stream.aclose()


class ScriptedEngine:
    """Accepts connections; the test takes each with `link`."""

    def __init__(self, port: int) -> None:
        self.endpoint = Endpoint(EngineAddress.parse(f"ws://127.0.0.1:{port}"))
        self._streams: list[SocketStream] = []
        self.arrived, self._arrivals = anyio.create_memory_object_stream[ScriptedLink](100)

    async def link(self) -> ScriptedLink:
        """The next connection."""
        return await self._arrivals.receive()

    async def accept(self, stream: SocketStream) -> None:
        """Shake hands, and leave the connection to the test."""
        parser, request = HeadParser(), None
        while request is None:
            request = parser.feed(await stream.receive())
        await stream.send(ServerProtocol().accept(request).serialize())
        self._streams.append(stream)
        headers = {name.lower(): value for name, value in request.headers.raw_items()}
        await self.arrived.send(ScriptedLink(stream, request.path, headers))

    async def stop(self) -> None:
        """Drop every connection."""
        with anyio.CancelScope(shield=True):
            for stream in self._streams:
                await stream.aclose()


@asynccontextmanager
async def scripted_engine() -> AsyncIterator[ScriptedEngine]:
    """A fake engine on a free port."""
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    engine = ScriptedEngine(listener.extra(SocketAttribute.local_port))
    async with listener, engine.arrived, engine._arrivals, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, engine.accept)
        try:
            yield engine
        finally:
            await engine.stop()
            tasks.cancel_scope.cancel()

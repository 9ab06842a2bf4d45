"""An engine of one's own making: real sockets, and a script or a test for each connection."""

from __future__ import annotations

import json
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
from websockets.server import ServerProtocol

from iii_cli.engine.door import HeadParser, Refused
from iii_cli.net.sockets import ConnectionLost, Socket
from iii_cli.net.websocket import WebSocket
from iii_cli.protocol.frames import FrameDecoder, Opcode
from iii_cli.protocol.refs import ChannelRef, Direction, Endpoint, EngineAddress, Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from websockets.http11 import Request

__all__ = (
    "REF",
    "WORKER_ID",
    "FakeEngine",
    "Link",
    "Links",
    "close_without_code",
    "collect",
    "echo_close",
    "fake_engine",
    "linked_engine",
)

REF = ChannelRef("c-1", Secret("k-1"), Direction.WRITE)
WORKER_ID = "5b1f0000-0000-4000-8000-000000000000"
TOKEN = "9c0e0000-0000-4000-8000-000000000000"


class FakeEngine:
    """Answers the n-th connection by the n-th script; the last one serves all that follow. 404 for None."""

    def __init__(
        self, endpoint: Endpoint, scripts: list[Callable[[WebSocket], Awaitable[None]] | None]
    ) -> None:
        self.endpoint = endpoint
        self.scripts = scripts
        self.requests: list[Request] = []

    async def serve(self, raw: socket.socket) -> None:
        """One connection, from its handshake on."""
        connection = Socket(raw)
        try:
            parser, request, buffer = HeadParser(), None, memoryview(bytearray(4096))
            while request is None:
                count = await connection.receive_into(buffer)
                request = parser.feed(bytes(buffer[:count]))
            script = self.scripts[min(len(self.requests), len(self.scripts) - 1)]
            self.requests.append(request)
            if script is None:
                await connection.send_all(Refused(404, "Channel not found").response())
                return
            await connection.send_all(ServerProtocol().accept(request).serialize())
            decoder = FrameDecoder(masked=True)
            decoder.feed(parser.rest)
            await script(WebSocket(connection, decoder, masking=False))
        finally:
            connection.close()


@asynccontextmanager
async def fake_engine(*scripts: Callable[[WebSocket], Awaitable[None]] | None) -> AsyncIterator[FakeEngine]:
    """Listen on a free port for as long as the block runs."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    port = listener.getsockname()[1]
    endpoint = Endpoint(EngineAddress.parse(f"ws://127.0.0.1:{port}"), connect_timeout=5)
    engine = FakeEngine(endpoint, list(scripts))
    try:
        async with anyio.create_task_group() as tasks:

            async def accept() -> None:
                while True:
                    await anyio.wait_readable(listener)
                    raw, _ = listener.accept()
                    raw.setblocking(False)
                    tasks.start_soon(engine.serve, raw)

            tasks.start_soon(accept)
            yield engine
            tasks.cancel_scope.cancel()
    finally:
        listener.close()


async def close_without_code(ws: WebSocket) -> None:
    """What an end that was already taken gets (docs: protocol, "Ends of a channel")."""
    await ws.send(Opcode.CLOSE, b"")


async def collect(ws: WebSocket, into: list[tuple[int, bytes]]) -> bytes:
    """Everything up to a Close, whose payload is returned."""
    while True:
        for opcode, payload, _ in await ws.receive():
            if opcode == Opcode.CLOSE:
                return bytes(payload)
            into.append((opcode, bytes(payload)))


async def echo_close(ws: WebSocket) -> None:
    """The real engine's writer side: swallow everything, echo the Close."""
    await ws.send(Opcode.CLOSE, await collect(ws, []))


# For workers: the test itself is the engine.


class Link:
    """The engine's side of one WebSocket."""

    def __init__(self, ws: WebSocket, target: str) -> None:
        self.target = target
        self.dropped = anyio.Event()
        self._ws = ws
        self._frames: list[tuple[int, bytes]] = []

    async def frame(self) -> tuple[int, bytes]:
        """The next frame."""
        while not self._frames:
            self._frames = [(opcode, bytes(payload)) for opcode, payload, _ in await self._ws.receive()]
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
        await self._ws.send(opcode, payload)

    async def welcome(self, worker_id: str = WORKER_ID) -> dict[str, Any]:
        """Register the worker and answer its announcement, which is returned."""
        await self.send(type="workerregistered", worker_id=worker_id, reattach_token=TOKEN)
        announcement = await self.message()
        if announcement["type"] == "reattach":
            announcement = await self.message("invokefunction") | {"reattach": announcement}
        await self.result(announcement, {"success": True})
        return announcement

    async def result(self, call: dict[str, Any], result: Any = None, **error: Any) -> None:
        """Answer a call."""
        about = {name: call[name] for name in ("invocation_id", "function_id")}
        body = {"error": error} if error else {"result": result}
        await self.send(type="invocationresult", **about, **body)

    async def invoke(self, function_id: str, data: Any, number: int = 1, **more: Any) -> dict[str, Any]:
        """Call a function of the worker and return its answer."""
        await self.call(function_id, data, number, **more)
        return await self.message("invocationresult")

    async def call(self, function_id: str, data: Any, number: int = 1, **more: Any) -> None:
        """Call a function of the worker."""
        call = {"invocation_id": f"00000000-0000-4000-8000-{number:012d}", "function_id": function_id}
        await self.send(type="invokefunction", data=data, **call, **more)

    async def pong(self) -> None:
        """Answer the next JSON ping."""
        await self.message("ping")
        await self.send(type="pong")

    async def pong_to_the_end(self) -> None:
        """Answer the JSON ping with which a worker makes sure, before it leaves, that all was read."""
        with suppress(ConnectionLost):
            while True:
                if (await self.message())["type"] == "ping":
                    await self.send(type="pong")

    def drop(self) -> None:
        """End the connection without a Close frame."""
        self.dropped.set()


class Links:
    """Every connection is the test's, which takes it with `link`."""

    def __init__(self) -> None:
        self.endpoint = Endpoint(EngineAddress.parse("ws://unknown"))
        self.came, self._arrivals = anyio.create_memory_object_stream[Link](100)

    async def link(self) -> Link:
        """The next connection."""
        return await self._arrivals.receive()

    def close(self) -> None:
        self.came.close()
        self._arrivals.close()


@asynccontextmanager
async def linked_engine() -> AsyncIterator[Links]:
    """An engine whose every connection is the test's."""
    links = Links()

    async def script(ws: WebSocket) -> None:
        link = Link(ws, engine.requests[-1].path)
        links.came.send_nowait(link)
        await link.dropped.wait()

    try:
        async with fake_engine(script) as engine:
            links.endpoint = engine.endpoint
            yield links
    finally:
        links.close()

"""An engine of one's own making: real sockets, and a script for each connection."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from websockets.server import ServerProtocol

from iii_cli.engine.door import HeadParser, Refused
from iii_cli.net.sockets import Socket
from iii_cli.net.websocket import WebSocket
from iii_cli.protocol.frames import FrameDecoder, Opcode
from iii_cli.protocol.refs import ChannelRef, Direction, Endpoint, EngineAddress, Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from websockets.http11 import Request

__all__ = ("REF", "FakeEngine", "Script", "close_without_code", "collect", "echo_close", "fake_engine")

REF = ChannelRef("c-1", Secret("k-1"), Direction.WRITE)

Script = "Callable[[WebSocket], Awaitable[None]]"


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

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

    Script = Callable[[WebSocket], Awaitable[None]]

__all__ = ("REF", "close_without_code", "fake_engine")

REF = ChannelRef("c-1", Secret("k-1"), Direction.WRITE)


async def close_without_code(ws: WebSocket) -> None:
    """What an end that was already taken gets (docs: protocol, "Ends of a channel")."""
    await ws.send(Opcode.CLOSE, b"")


async def _serve(raw: socket.socket, script: Script | None) -> None:
    """One connection, from its handshake on."""
    connection = Socket(raw)
    try:
        parser, request, buffer = HeadParser(), None, memoryview(bytearray(4096))
        while request is None:
            count = await connection.receive_into(buffer)
            request = parser.feed(bytes(buffer[:count]))
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
async def fake_engine(*scripts: Script | None) -> AsyncIterator[Endpoint]:
    """Answers the n-th connection by the n-th script; the last one serves all that follow. 404 for None."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        left = list(scripts)
        address = EngineAddress.parse(f"ws://127.0.0.1:{listener.getsockname()[1]}")
        async with anyio.create_task_group() as tasks:

            async def accept() -> None:
                while True:
                    await anyio.wait_readable(listener)
                    raw, _ = listener.accept()
                    raw.setblocking(False)
                    tasks.start_soon(_serve, raw, left.pop(0) if len(left) > 1 else left[0])

            tasks.start_soon(accept)
            yield Endpoint(address, connect_timeout=5)
            tasks.cancel_scope.cancel()

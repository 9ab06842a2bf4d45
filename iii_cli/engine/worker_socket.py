"""Worker sockets: frames into the core, deliveries out of it (protocol.md 1.1-1.8)."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import anyio

from iii_cli.engine.model import Close, Drop, Send
from iii_cli.errors import PeerMisbehaved
from iii_cli.net.dialing import ConnectionLost
from iii_cli.protocol.frames import Opcode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyio.abc import TaskGroup

    from iii_cli.engine.core import Core
    from iii_cli.engine.model import Delivery
    from iii_cli.net.websocket import WebSocket

__all__ = ("Switchboard", "serve_telemetry")

FLUSH_EVERY = 32  # messages: a send for each costs more, and a send for all lets the others wait in turn
FAREWELL = 1.0  # seconds that a refused worker has to take leave

_TEXT, _BINARY, _CLOSE, _PING, _PONG = (
    Opcode.TEXT,
    Opcode.BINARY,
    Opcode.CLOSE,
    Opcode.PING,
    Opcode.PONG,
)


class _Line:
    """One worker's socket as the switchboard sees it."""

    __slots__ = ("closing", "draining", "number", "scope", "touched", "websocket")

    def __init__(self, number: int, websocket: WebSocket) -> None:
        self.number = number
        self.websocket = websocket
        self.draining = False  # a task sends what the socket did not take at once
        self.closing = False  # a Close frame is the last thing in its queue
        self.touched = False  # something is queued that was not tried to be sent yet
        self.scope = anyio.CancelScope()


class Switchboard:
    """All worker sockets, and the core that decides what passes between them."""

    def __init__(self, core: Core, now: Callable[[], int]) -> None:
        self.tasks: TaskGroup | None = None  # where sockets that are slow get a task of their own
        self._core = core
        self._now = now
        self._lines: dict[int, _Line] = {}
        self._touched: list[_Line] = []
        self._queued = 0  # messages since the last flush
        self._numbers = count(1)

    def __len__(self) -> int:
        return len(self._lines)

    async def serve(self, websocket: WebSocket, ip: str) -> None:
        """Be the engine on one worker socket, until it is over.

        Cancelling drops the worker without a Close frame.
        """
        number = next(self._numbers)
        line = self._lines[number] = _Line(number, websocket)
        try:
            with line.scope:
                self.deliver(self._core.connected(number, ip, self._now()))
                await self._receive(line)
        finally:
            del self._lines[number]
            self.deliver(self._core.disconnected(number, self._now()))
            websocket.socket.close()

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Do what the core decided. What a socket does not take at once is sent by its own task."""
        self._queue(deliveries)
        self._flush()

    def _queue(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            line = self._lines.get(delivery.connection)
            if line is None or line.closing:
                continue
            if type(delivery) is Send:
                line.websocket.post(_TEXT, delivery.message)
                self._queued += 1
                self._touch(line)
            elif type(delivery) is Close:
                line.closing = True
                line.websocket.post(_CLOSE, b"")
                self._touch(line)
            elif type(delivery) is Drop:
                line.scope.cancel()

    def _touch(self, line: _Line) -> None:
        if not line.touched:
            line.touched = True
            self._touched.append(line)

    def _flush(self) -> None:
        """One send for each line, however many messages it got."""
        self._queued = 0
        touched = self._touched
        while touched:
            line = touched.pop()
            line.touched = False
            try:
                if not line.websocket.flush_now():
                    self._drain_later(line)
            except ConnectionLost:
                line.scope.cancel()

    def _drain_later(self, line: _Line) -> None:
        if line.websocket.unsent_bytes > self._core.settings.max_outgoing_bytes:
            self._core.dropping(line.number, "it does not read what is sent to it")
            line.scope.cancel()
        elif not line.draining and self.tasks is not None:
            line.draining = True
            self.tasks.start_soon(self._drain, line)

    async def _drain(self, line: _Line) -> None:
        try:
            while line.websocket.unsent_bytes:
                await line.websocket.flush()
        except ConnectionLost:
            line.scope.cancel()
        finally:
            line.draining = False

    async def _receive(self, line: _Line) -> None:
        try:
            while not line.closing:
                if await self._receive_some(line):
                    return
            with anyio.move_on_after(FAREWELL):
                await line.websocket.flush()
                while not any(opcode == _CLOSE for opcode, _, _ in await line.websocket.receive()):
                    pass
        except ConnectionLost:
            pass
        except PeerMisbehaved as error:  # 1.9 is about messages; a broken frame ends it without a word
            self._core.dropping(line.number, error.message)

    async def _receive_some(self, line: _Line) -> bool:
        """Handle what has arrived. True: the worker closed. That is not echoed: TCP is dropped (14.1)."""
        websocket, number = line.websocket, line.number
        events = await websocket.receive()
        now = self._now()
        try:
            for opcode, payload, _ in events:
                if opcode == _TEXT:
                    self._queue(self._core.received(number, str(payload, "utf-8"), now))
                elif opcode == _BINARY:
                    self._queue(self._core.received(number, bytes(payload), now))
                elif opcode == _PING:
                    websocket.post(_PONG, payload)
                    self._touch(line)
                elif opcode == _CLOSE:
                    return True
                if line.closing:
                    return False
                if self._queued >= FLUSH_EVERY:
                    self._flush()
        finally:
            self._flush()
        return False


async def serve_telemetry(websocket: WebSocket) -> None:
    """1.6, `/otel`: what comes is dropped, pings are answered. A Close ends it without an echo, as on worker
    sockets.

    Raises PeerMisbehaved for a broken or too large frame.
    """
    try:
        while True:
            for opcode, payload, _ in await websocket.receive():
                if opcode == _PING:
                    await websocket.send(_PONG, payload)
                elif opcode == _CLOSE:
                    return
    except ConnectionLost:
        pass

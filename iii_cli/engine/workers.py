"""Worker sockets: frames into the core, deliveries out of it (docs: protocol, "Messages" and "Keepalive")."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import anyio

from iii_cli.engine.model import Close, Send
from iii_cli.errors import PeerMisbehaved
from iii_cli.net.dialing import ConnectionLost
from iii_cli.protocol.frames import Opcode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyio.abc import TaskGroup

    from iii_cli.engine.core import Core
    from iii_cli.engine.model import Delivery
    from iii_cli.net.websocket import WebSocket

__all__ = ("WorkerSockets", "serve_telemetry")

FLUSH_EVERY = 32  # messages: a send for each costs more, and a send for all lets the others wait in turn
FAREWELL = 1.0  # seconds that a refused worker has to take leave

_, _TEXT, _BINARY, _CLOSE, _PING, _PONG = Opcode


class _Connection:
    """One worker's socket."""

    def __init__(self, number: int, websocket: WebSocket) -> None:
        self.number = number
        self.websocket = websocket
        self.draining = False  # a task sends what the socket did not take at once
        self.closing = False  # a Close frame is the last thing in its queue
        self.scope = anyio.CancelScope()


class WorkerSockets:
    """All worker sockets, and the core that decides what passes between them.

    `tasks` is where a socket that is slow gets a task of its own.
    """

    def __init__(self, core: Core, now: Callable[[], int], tasks: TaskGroup) -> None:
        self._core = core
        self._now = now
        self._tasks = tasks
        self._connections: dict[int, _Connection] = {}
        self._unflushed: set[_Connection] = set()  # what is queued there was not tried to be sent yet
        self._queued = 0  # messages since the last flush
        self._numbers = count(1)

    async def serve(self, websocket: WebSocket, ip: str) -> None:
        """Be the engine on one worker socket, until it is over.

        Cancelling drops the worker without a Close frame.
        """
        number = next(self._numbers)
        connection = self._connections[number] = _Connection(number, websocket)
        try:
            with connection.scope:
                self.deliver(self._core.connected(number, ip, self._now()))
                await self._receive(connection)
        finally:
            del self._connections[number]
            self.deliver(self._core.disconnected(number, self._now()))

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Do what the core decided. What a socket does not take at once is sent by its own task."""
        self._queue(deliveries)
        self._flush()

    def _queue(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            connection = self._connections.get(delivery.connection)
            if connection is None or connection.closing:
                continue
            if type(delivery) is Send:
                self._queued += 1
                self._post(connection, _TEXT, delivery.message)
            elif type(delivery) is Close:
                connection.closing = True
                self._post(connection, _CLOSE, b"")
            else:
                connection.scope.cancel()

    def _post(self, connection: _Connection, opcode: int, payload: bytes) -> None:
        connection.websocket.post(opcode, payload)
        self._unflushed.add(connection)

    def _flush(self) -> None:
        """One send for each connection, however many messages it got."""
        self._queued = 0
        while self._unflushed:
            connection = self._unflushed.pop()
            try:
                if connection.websocket.flush_now():
                    continue
            except ConnectionLost:
                connection.scope.cancel()
                continue
            if connection.websocket.unsent_bytes > self._core.settings.max_outgoing_bytes:
                self._core.dropping(connection.number, "it does not read what is sent to it")
                connection.scope.cancel()
            elif not connection.draining:
                connection.draining = True
                self._tasks.start_soon(self._drain, connection)

    async def _drain(self, connection: _Connection) -> None:
        try:
            while connection.websocket.unsent_bytes:
                await connection.websocket.flush()
        except ConnectionLost:
            connection.scope.cancel()
        finally:
            connection.draining = False

    async def _receive(self, connection: _Connection) -> None:
        websocket = connection.websocket
        try:
            while not connection.closing:
                if await self._receive_some(connection):
                    return
            with anyio.move_on_after(FAREWELL):
                await websocket.flush()
                while not any(opcode == _CLOSE for opcode, _, _ in await websocket.receive()):
                    pass
        except ConnectionLost:
            pass
        except PeerMisbehaved as error:  # a broken frame: it ends without a word
            self._core.dropping(connection.number, error.message)

    async def _receive_some(self, connection: _Connection) -> bool:
        """Handle what has arrived. True: the worker closed. That is not echoed: TCP is dropped.

        Separate function, so that the events are released before we wait again.
        """
        events = await connection.websocket.receive()
        now = self._now()
        try:
            for opcode, payload, _ in events:
                if opcode in (_TEXT, _BINARY):
                    self._queue(self._core.received(connection.number, bytes(payload), now))
                elif opcode == _PING:
                    self._post(connection, _PONG, bytes(payload))
                elif opcode == _CLOSE:
                    return True
                if connection.closing:
                    return False
                if self._queued >= FLUSH_EVERY:
                    self._flush()
        finally:
            self._flush()
        return False


async def serve_telemetry(websocket: WebSocket) -> None:
    """`/otel`: what comes is dropped, pings are answered. A Close ends it without an echo, as on worker
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

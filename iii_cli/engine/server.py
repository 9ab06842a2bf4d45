"""The embedded engine on real sockets (design.md section 6)."""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio
from anyio import TASK_STATUS_IGNORED

from iii_cli.engine.builtins import builtin_functions
from iii_cli.engine.channels import Bell, serve_end
from iii_cli.engine.core import Core
from iii_cli.engine.front import ForChannel, ForTelemetry, ForWorker, purpose_of
from iii_cli.engine.guard import Guard
from iii_cli.engine.listening import accept_all, listen, url_of
from iii_cli.engine.model import SECOND, keep_quiet
from iii_cli.engine.unfinished import Share, Unfinished
from iii_cli.engine.worker_socket import Switchboard, serve_telemetry
from iii_cli.errors import PeerMisbehaved
from iii_cli.net.dialing import ConnectionLost
from iii_cli.net.sockets import Socket
from iii_cli.net.websocket import WebSocket, receive_head
from iii_cli.protocol.frames import ENGINE_FRAME_MAX, ENGINE_MESSAGE_MAX, FrameDecoder, prepare
from iii_cli.protocol.handshake import BadRequest, accept_response, parse_request, plain_response

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable

    from anyio.abc import TaskGroup, TaskStatus

    from iii_cli.engine.front import Purpose
    from iii_cli.engine.model import Notice, Settings

__all__ = ("DEFAULT_HOST", "DEFAULT_PORT", "SHUTDOWN_TIMEOUT", "EngineServer", "serve_engine")

DEFAULT_HOST = "localhost"  # loopback only: a channel's key is all that protects it
DEFAULT_PORT = 49134
HANDSHAKE_TIMEOUT = 10.0  # seconds for a request head; then the connection is closed without a word
SHUTDOWN_TIMEOUT = 0.5  # seconds that channels outlive the workers when the engine stops
KEPT_BUFFER_MAX = 256 << 10  # bytes that an idle connection may hold; larger frames get memory of their own
# glibc gives the top of its heap back as soon as 128 KiB of it are unused, and would ask for each frame of
# 1 MiB anew. It learns better by seeing a large piece come and go (mallopt(3), M_MMAP_THRESHOLD).
FRAMES_KEPT = 8 << 20
TICK_MAX = 0.5  # seconds: how late a new deadline may be noticed

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


async def serve_engine(
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    settings: Settings | None = None,
    guard: Guard | None = None,
    tls: ssl.SSLContext | None = None,
    notice: Notice = keep_quiet,
    shutdown_timeout: float = SHUTDOWN_TIMEOUT,
    task_status: TaskStatus[str] = TASK_STATUS_IGNORED,
) -> None:
    """Be an engine until cancelled. `task_status.started` gets the URL once it is listening: `wss://` with
    `tls`, and then it speaks nothing else.

    Cancelling drops the workers at once, without a Close frame, and the channels `shutdown_timeout` seconds
    later, or sooner where all have come to their end. Raises LocalProblem where it cannot listen, and
    UsageProblem for a host beyond loopback without a token in the guard.
    """
    server = EngineServer(settings=settings, guard=guard, tls=tls, notice=notice)
    await server.serve(host, port, shutdown_timeout=shutdown_timeout, task_status=task_status)


class EngineServer:
    """The core, its clock and its sockets. `now` is for tests that cannot wait for six minutes."""

    def __init__(
        self,
        *,
        settings: Settings | None = None,
        guard: Guard | None = None,
        tls: ssl.SSLContext | None = None,
        notice: Notice = keep_quiet,
        now: Callable[[], int] | None = None,
    ) -> None:
        self.now = now or _steady_clock()
        self._notice = notice
        self._guard = guard or Guard()
        self._tls = tls
        new_id = lambda: str(uuid4())  # noqa: E731
        self.core = Core(new_id, self.now(), builtin_functions, settings=settings, notice=notice)
        self._switchboard = Switchboard(self.core, self.now)
        self._unfinished = Unfinished(self.core.settings.max_unfinished_bytes)
        self._connections = 0
        self._handshakes: dict[anyio.CancelScope, int] = {}  # and until when, the oldest first
        self._channel_scopes: set[anyio.CancelScope] = set()
        self._channel_over = Bell()

    def statistics(self) -> dict[str, int]:
        """How much of everything there is, for tests and the log."""
        return {
            "connections": self._connections,
            "workers": len(self._switchboard),
            "channel_ends": len(self._channel_scopes),
            "channels": len(self.core.channels),
            "buffered_bytes": self.core.channels.buffered_bytes,
            "unfinished_bytes": self._unfinished.bytes,
        }

    async def serve(
        self,
        host: str,
        port: int,
        *,
        shutdown_timeout: float = SHUTDOWN_TIMEOUT,
        task_status: TaskStatus[str] = TASK_STATUS_IGNORED,
    ) -> None:
        """See `serve_engine`."""
        prepare()
        bytes(FRAMES_KEPT)
        listeners = listen(host, port, guarded=bool(self._guard.token))
        try:
            async with anyio.create_task_group() as tasks:
                self._switchboard.tasks = tasks
                try:
                    for listener in listeners:
                        tasks.start_soon(self._accept, listener, tasks)
                    secure = self._tls is not None
                    url = url_of(host, listeners[0], secure=secure)
                    self._guard = self._guard.at(listeners[0].getsockname()[1], secure=secure)
                    self._notice("listening", url=url)
                    task_status.started(url)
                    await self._keep_time()
                finally:
                    await self._stop(shutdown_timeout)
        finally:
            for listener in listeners:
                listener.close()

    def tick(self) -> None:
        """Do what is due by now. Called by the server itself, half a second late at most."""
        if self.now() >= self.core.next_deadline():
            self._switchboard.deliver(self.core.tick(self.now()))
        for handshake, deadline in self._handshakes.items():
            if deadline > self.now():
                break
            handshake.cancel()

    async def _keep_time(self) -> None:
        while True:
            await anyio.sleep(self._pause())
            self.tick()

    def _pause(self) -> float:
        """Seconds until something is due."""
        due = (self.core.next_deadline(), next(iter(self._handshakes.values()), None))
        waits = [(deadline - self.now()) / SECOND for deadline in due if deadline is not None]
        waits.append(TICK_MAX)
        return max(min(waits), 0)

    async def _stop(self, shutdown_timeout: float) -> None:
        """The workers were cancelled with everything else; the channels shield themselves until now."""
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(shutdown_timeout):
                while self._channel_scopes:
                    await self._channel_over.wait()
            for scope in self._channel_scopes:
                scope.cancel()
        self._notice("stopped")

    async def _accept(self, listener: socket.socket, tasks: TaskGroup) -> None:
        await accept_all(listener, lambda raw: self._welcome(raw, tasks), self._note_shortage)

    def _note_shortage(self, reason: str) -> None:
        self._notice("connections wait", reason=reason)

    def _welcome(self, raw: socket.socket, tasks: TaskGroup) -> None:
        if self._connections >= self.core.settings.max_connections:
            self._notice("connection refused", reason="too many connections")
            raw.close()
            return
        self._connections += 1
        tasks.start_soon(self._serve_connection, Socket(raw))

    async def _serve_connection(self, socket: Socket) -> None:
        """One connection, from the request to the end. What goes wrong with it is its own affair."""
        share = Share(self._unfinished)
        try:
            accepted = None
            with anyio.CancelScope() as handshake:
                self._handshakes[handshake] = self.now() + int(HANDSHAKE_TIMEOUT * SECOND)
                try:
                    accepted = await self._shake_hands(socket, share)
                finally:
                    del self._handshakes[handshake]
            if handshake.cancelled_caught:
                self._note_refusal(socket, None, f"no whole request within {HANDSHAKE_TIMEOUT:g} s")
            if accepted is None or handshake.cancelled_caught:
                return
            purpose, websocket = accepted
            await self._serve_purpose(purpose, websocket)
        except ConnectionLost:
            pass
        except Exception as error:  # a bug of ours must not end everybody else's connections
            # Its text and the locals may hold what passed through.
            where = "".join(traceback.format_tb(error.__traceback__, limit=-3))
            self._notice("internal error", error=type(error).__name__, where=where)
        finally:
            share.hold(0)
            self._connections -= 1
            socket.close()

    async def _shake_hands(self, socket: Socket, share: Share) -> tuple[Purpose, WebSocket] | None:
        if self._tls is not None:
            try:
                await socket.secure(self._tls)
            except ConnectionLost as lost:
                self._note_refusal(socket, None, f"no TLS: {lost.reason}")
                return None
        try:
            head, rest = await receive_head(socket)
            request = parse_request(head)
            purpose = purpose_of(request, self.core.channels, self._guard)
        except BadRequest as refusal:
            self._note_refusal(socket, refusal.status, refusal.body or "not a request that an engine knows")
            await socket.send_all(plain_response(refusal.status, refusal.body))
            return None
        except PeerMisbehaved:
            self._note_refusal(socket, 431, "an HTTP head that does not end")
            await socket.send_all(plain_response(431))
            return None
        await socket.send_all(accept_response(request.headers["sec-websocket-key"], _http_date()))
        decoder = FrameDecoder(
            masked=True,
            frame_max=ENGINE_FRAME_MAX,
            message_max=ENGINE_MESSAGE_MAX,
            buffer_max=KEPT_BUFFER_MAX,
            hold=share.hold,
        )
        if rest:
            decoder.feed(rest)
        return purpose, WebSocket(socket, decoder, masking=False)

    def _note_refusal(self, socket: Socket, status: int | None, reason: str) -> None:
        """One line, never with the request's target: keys and tokens are in it."""
        self._notice("request refused", status=status, reason=reason, peer=socket.peer_host())

    async def _serve_purpose(self, purpose: Purpose, websocket: WebSocket) -> None:
        match purpose:
            case ForWorker():
                await self._switchboard.serve(websocket, websocket.socket.peer_host())
            case ForTelemetry():
                try:
                    await serve_telemetry(websocket)
                except PeerMisbehaved as error:
                    self._notice("telemetry dropped", reason=error.message)
            case ForChannel():
                await self._serve_channel_end(purpose, websocket)

    async def _serve_channel_end(self, purpose: ForChannel, websocket: WebSocket) -> None:
        details: dict[str, Any] = {"channel": purpose.channel_id, "end": purpose.direction.noun}
        self._notice("channel end opened", **details)
        with anyio.CancelScope(shield=True) as scope:
            self._channel_scopes.add(scope)
            try:
                ending = await serve_end(
                    websocket, purpose.channel_id, purpose.direction, self.core.channels, self.now
                )
            finally:
                self._channel_scopes.discard(scope)
                self._channel_over.ring()
            self._notice(
                "channel end over", **details, how="taken before" if ending is None else ending.value
            )


def _steady_clock() -> Callable[[], int]:
    """Nanoseconds since the epoch, never backwards."""
    offset = time.time_ns() - time.monotonic_ns()
    return lambda: time.monotonic_ns() + offset


def _http_date() -> str:
    """RFC 9110, 5.6.7, in any locale. `email.utils` asks datetime, which leaves a string of its own in a
    cache of Python's each time.
    """
    now = time.gmtime()
    day, month = _DAYS[now.tm_wday], _MONTHS[now.tm_mon - 1]
    return time.strftime(f"{day}, %d {month} %Y %H:%M:%S GMT", now)

"""The embedded engine on real sockets: it listens, and has a task for each connection."""

from __future__ import annotations

import errno
import socket
import ssl
import time
import traceback
from contextlib import closing
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio
from anyio import TASK_STATUS_IGNORED
from msgspec.structs import replace

from iii_cli.engine.builtins import builtin_functions
from iii_cli.engine.channels import WakeUp, serve_end
from iii_cli.engine.core import Core
from iii_cli.engine.door import ChannelEnd, Guard, HeadParser, Refused, Route, admit, is_loopback
from iii_cli.engine.model import SECOND, keep_quiet
from iii_cli.engine.workers import WorkerSockets, serve_telemetry
from iii_cli.errors import LocalProblem, PeerMisbehaved, UsageProblem
from iii_cli.net.dialing import ConnectionLost, keep_alive, word_for
from iii_cli.net.sockets import Socket
from iii_cli.net.websocket import WebSocket
from iii_cli.protocol.frames import (
    ENGINE_FRAME_MAX,
    ENGINE_MESSAGE_MAX,
    FRAME_BYTES_MAX,
    FrameDecoder,
    prepare,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup, TaskStatus

    from iii_cli.engine.door import Purpose
    from iii_cli.engine.model import Notice, Settings

__all__ = ("SHUTDOWN_TIMEOUT", "EngineServer", "server_context")

BACKLOG = 1024
ACCEPTS_PER_WAKE = 64  # then other tasks have their turn
SHORTAGE_PAUSE = 0.1  # seconds without accepting where the system has no descriptors left
HANDSHAKE_TIMEOUT = 10.0  # seconds for a request head; then the connection is closed without a word
SHUTDOWN_TIMEOUT = 0.5  # seconds that channels outlive the workers when the engine stops
KEPT_BUFFER_MAX = 256 << 10  # bytes that an idle connection may hold; larger frames get memory of their own
# glibc gives the top of its heap back as soon as 128 KiB of it are unused, and would ask for each frame of
# 1 MiB anew. It learns better by seeing a large piece come and go (mallopt(3), M_MMAP_THRESHOLD).
FRAMES_KEPT = 8 << 20
TICK_MAX = 0.5  # seconds: how late a new deadline may be noticed

_GAVE_UP = {errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH}


def server_context(certificate: str, key: str | None) -> ssl.SSLContext:
    """What the engine's sockets are secured with, for `wss://` without a proxy. `key` is None where the
    certificate's file holds it.

    Raises LocalProblem for files that cannot be read or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.options |= ssl.OP_NO_RENEGOTIATION  # or a send could have to wait for something to receive
    context.num_tickets = 0  # who leaves before it read them resets the connection, and loses what it sent
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")  # not asked for on the terminal
    except OSError as error:
        named = certificate if key is None else f"{certificate} or {key}"
        raise LocalProblem(
            f"cannot use the certificate file {named}: {word_for(error)}",
            hint="PEM, and the key without a passphrase",
        ) from None
    return context


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
        self.core = Core(
            lambda: str(uuid4()), self.now(), builtin_functions(), settings=settings, notice=notice
        )
        self.unfinished_bytes = 0  # of messages of all connections, beyond 1 MiB of each
        self._connections = 0
        self._channel_scopes: set[anyio.CancelScope] = set()
        self._channel_over = WakeUp()

    async def serve(
        self,
        host: str,
        port: int,
        *,
        shutdown_timeout: float = SHUTDOWN_TIMEOUT,
        task_status: TaskStatus[str] = TASK_STATUS_IGNORED,
    ) -> None:
        """Be an engine until cancelled. `task_status.started` gets the URL once it is listening: `wss://`
        with TLS, and then it speaks nothing else.

        Cancelling drops the workers at once, without a Close frame, and the channels `shutdown_timeout`
        seconds later, or sooner where all have come to their end. Raises LocalProblem where it cannot
        listen, and UsageProblem for a host beyond loopback without a token in the guard.
        """
        prepare()
        bytes(FRAMES_KEPT)
        listeners = _listen(host, port, guarded=bool(self._guard.token))
        try:
            async with anyio.create_task_group() as tasks:
                workers = WorkerSockets(self.core, self.now, tasks)
                try:
                    for listener in listeners:
                        tasks.start_soon(self._accept, listener, workers, tasks)
                    port, secure = listeners[0].getsockname()[1], self._tls is not None
                    url = _url_of(host, port, secure)
                    self._guard = replace(self._guard, port=port, scheme="https" if secure else "http")
                    self._notice("listening", url=url)
                    task_status.started(url)
                    await self._keep_time(workers)
                finally:
                    await self._stop(shutdown_timeout)
        finally:
            for listener in listeners:
                listener.close()

    async def _keep_time(self, workers: WorkerSockets) -> None:
        """Do what is due, half a second late at most."""
        while True:
            wait = (self.core.next_deadline() - self.now()) / SECOND
            await anyio.sleep(min(max(wait, 0), TICK_MAX))
            if self.now() >= self.core.next_deadline():
                workers.deliver(self.core.tick(self.now()))

    async def _stop(self, shutdown_timeout: float) -> None:
        """The workers were cancelled with everything else; the channels shield themselves until now."""
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(shutdown_timeout):
                while self._channel_scopes:
                    await self._channel_over.wait()
            for scope in self._channel_scopes:
                scope.cancel()
        self._notice("stopped")

    # Connections

    async def _accept(self, listener: socket.socket, workers: WorkerSockets, tasks: TaskGroup) -> None:
        """Serve every connection that comes, for ever."""
        short = False  # of descriptors: it has been said
        while True:
            await anyio.wait_readable(listener)
            for _ in range(ACCEPTS_PER_WAKE):
                try:
                    raw, _ = listener.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in _GAVE_UP:  # before we got to it
                        continue
                    if not short:
                        self._notice("connections wait", reason=word_for(error))
                    short = True
                    await anyio.sleep(SHORTAGE_PAUSE)
                    break
                short = False
                if self._connections >= self.core.settings.max_connections:
                    self._notice("connection refused", reason="too many connections")
                    raw.close()
                    continue
                raw.setblocking(False)
                keep_alive(raw)
                self._connections += 1
                tasks.start_soon(self._serve_connection, Socket(raw), workers)

    async def _serve_connection(self, socket: Socket, workers: WorkerSockets) -> None:
        """One connection, from the request to the end. What goes wrong with it is its own affair."""
        hold = self._counter()
        try:
            accepted = None
            with anyio.move_on_after(HANDSHAKE_TIMEOUT) as handshake:
                accepted = await self._shake_hands(socket, hold)
            if handshake.cancelled_caught:
                self._note_refusal(socket, None, f"no whole request within {HANDSHAKE_TIMEOUT:g} s")
            elif accepted is not None:
                with closing(accepted[1]):
                    await self._serve_purpose(*accepted, workers)
        except ConnectionLost:
            pass
        except Exception as error:  # a bug of ours must not end everybody else's connections
            # Its text and the locals may hold what passed through.
            where = "".join(traceback.format_tb(error.__traceback__, limit=-3))
            self._notice("internal error", error=type(error).__name__, where=where)
        finally:
            hold(0)
            self._connections -= 1
            socket.close()

    def _counter(self) -> Callable[[int], None]:
        """What a connection tells how much it holds of a message that is not whole yet. Raises PeerMisbehaved
        where that is too much for the engine.

        One connection may hold 64 MiB, the largest message there is, and thousands of them could do so
        without ever ending it. What a frame of ours takes is not counted: a crowd of writers, each amid one,
        is no attack.
        """
        counted = 0

        def hold(size: int) -> None:
            nonlocal counted
            before, counted = counted, max(size - FRAME_BYTES_MAX, 0)
            self.unfinished_bytes += counted - before
            if before < counted and self.unfinished_bytes > self.core.settings.max_unfinished_bytes:
                raise PeerMisbehaved("the engine holds too much of unfinished messages")

        return hold

    async def _shake_hands(
        self, socket: Socket, hold: Callable[[int], None]
    ) -> tuple[Purpose, WebSocket] | None:
        """TLS, the request, and its answer. None where it was refused. Raises ConnectionLost."""
        if self._tls is not None:
            try:
                await socket.secure(self._tls)
            except ConnectionLost as lost:
                self._note_refusal(socket, None, f"no TLS: {lost.reason}")
                return None
        parser, request = HeadParser(), None
        buffer = memoryview(bytearray(4 << 10))
        try:
            while request is None:
                count = await socket.receive_into(buffer)
                if not count:
                    raise ConnectionLost("the connection was closed")
                request = parser.feed(bytes(buffer[:count]))
            purpose, answer = admit(request, self.core.channels, self._guard)
        except Refused as refusal:
            self._note_refusal(socket, refusal.status, refusal.body or "not a request that an engine knows")
            await socket.send_all(refusal.response())
            return None
        await socket.send_all(answer)
        decoder = FrameDecoder(
            masked=True,
            frame_max=ENGINE_FRAME_MAX,
            message_max=ENGINE_MESSAGE_MAX,
            buffer_max=KEPT_BUFFER_MAX,
            hold=hold,
        )
        if parser.rest:
            decoder.feed(parser.rest)
        return purpose, WebSocket(socket, decoder, masking=False)

    def _note_refusal(self, socket: Socket, status: int | None, reason: str) -> None:
        """One line, never with the request's target: keys and tokens are in it."""
        self._notice("request refused", status=status, reason=reason, peer=socket.peer_host())

    async def _serve_purpose(self, purpose: Purpose, websocket: WebSocket, workers: WorkerSockets) -> None:
        match purpose:
            case Route.WORKER:
                await workers.serve(websocket, websocket.socket.peer_host())
            case Route.TELEMETRY:
                try:
                    await serve_telemetry(websocket)
                except PeerMisbehaved as error:
                    self._notice("telemetry dropped", reason=error.message)
            case ChannelEnd(channel_id, direction):
                details: dict[str, Any] = {"channel": channel_id, "end": direction.noun}
                self._notice("channel end opened", **details)
                with anyio.CancelScope(shield=True) as scope:
                    self._channel_scopes.add(scope)
                    try:
                        ending = await serve_end(
                            websocket, channel_id, direction, self.core.channels, self.now
                        )
                    finally:
                        self._channel_scopes.discard(scope)
                        self._channel_over.wake()
                    how = "taken before" if ending is None else ending.value
                    self._notice("channel end over", **details, how=how)


# Listening


def _listen(host: str, port: int, *, guarded: bool) -> list[socket.socket]:
    """Listen on every address that `host` has, all on one port; 0 lets the system choose it.

    `localhost` is loopback in IPv4 and, where there is one, IPv6. Raises LocalProblem, and UsageProblem where
    other machines could reach an engine that is not `guarded` by a token.
    """
    listeners: list[socket.socket] = []
    try:
        addresses = _addresses(host)
        if not guarded and not all(is_loopback(address) for _, address in addresses):
            raise UsageProblem(
                f"{host} can be reached from other machines, and the engine would serve anyone",
                hint="name a token for it: --token-file FILE",
            )
        for family, address in addresses:
            try:
                listener = socket.create_server((address, port), family=family, backlog=BACKLOG)
            except OSError:
                if listeners:  # no IPv6 here, or its port is taken: the first address is enough
                    continue
                raise
            listener.setblocking(False)
            listeners.append(listener)
            port = listener.getsockname()[1]
    except OSError as error:
        for listener in listeners:
            listener.close()
        in_use = error.errno == errno.EADDRINUSE
        hint = "is an engine running already? `--port 0` takes a free port" if in_use else None
        raise LocalProblem(f"cannot listen on {host} port {port}: {word_for(error)}", hint=hint) from None
    return listeners


def _addresses(host: str) -> list[tuple[int, str]]:
    if host == "localhost":
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((int(info[0]), str(info[4][0])) for info in found))


def _url_of(host: str, port: int, secure: bool) -> str:
    """Where a client on this machine finds it."""
    if host in ("0.0.0.0", "::", ""):
        host = "localhost"
    scheme = "wss" if secure else "ws"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _steady_clock() -> Callable[[], int]:
    """Nanoseconds since the epoch, never backwards."""
    offset = time.time_ns() - time.monotonic_ns()
    return lambda: time.monotonic_ns() + offset

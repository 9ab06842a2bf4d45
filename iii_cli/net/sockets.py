"""TCP and TLS sockets that wait on the event loop."""

from __future__ import annotations

import asyncio
import errno
import select
import selectors
import socket
import ssl
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, final

import anyio
from anyio.lowlevel import checkpoint

from iii_cli.net.dialing import (
    ConnectionLost,
    Silence,
    Trail,
    certificate_names,
    found_at_once,
    in_dialing_order,
    is_other_name,
    keep_alive,
    looking_up,
    server_name,
    tls_context,
    tls_fault,
    unreachable,
    word_for,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from iii_cli.protocol.frames import Buffer
    from iii_cli.protocol.refs import Endpoint, EngineAddress

__all__ = (
    "IOV_MAX",
    "ConnectionLost",
    "Silence",
    "Socket",
    "dial",
    "each_time_readable",
    "new_loop",
    "wait_readable",
    "wait_writable",
)


LINGER_MS = 5  # how late a timer may be; the turn of a pump that never waits is as long
TURNS = 3  # that others get before a wait goes through the event loop after all


class _Loop(asyncio.SelectorEventLoop):
    """asyncio's own event loop, of which more is known."""

    def __init__(self) -> None:
        selector = selectors.EpollSelector()
        super().__init__(selector)
        self.epoll = selector.fileno()
        self.waited: set[tuple[int, int]] = set()  # descriptors and events for which somebody waits

    def is_idle(self) -> bool:
        """Does nobody want to go on just now?"""
        return not getattr(self, "_ready", ())


def new_loop() -> asyncio.AbstractEventLoop:
    """asyncio's own event loop, on which a wait begins with lingering."""
    return _Loop() if sys.platform == "linux" else asyncio.new_event_loop()


async def wait_readable(waited: int | socket.socket) -> None:
    """Wait until `waited` can be read without blocking, or has failed. Cancelling loses nothing.

    Raises anyio.BusyResourceError where somebody waits for that already.
    """
    loop, fd = _own_loop(), waited if isinstance(waited, int) else waited.fileno()
    if loop is None or fd < 0:
        await anyio.wait_readable(waited)
    elif not await _lingered(loop, fd, select.POLLIN):
        await _wait(loop, fd, select.POLLIN, loop.add_reader, loop.remove_reader)


async def wait_writable(waited: int | socket.socket) -> None:
    """Wait until `waited` can be written to without blocking, or has failed. As `wait_readable`."""
    loop, fd = _own_loop(), waited if isinstance(waited, int) else waited.fileno()
    if loop is None or fd < 0:
        await anyio.wait_writable(waited)
    elif not await _lingered(loop, fd, select.POLLOUT):
        await _wait(loop, fd, select.POLLOUT, loop.add_writer, loop.remove_writer)


async def each_time_readable(waited: socket.socket, act: Callable[[], bool]) -> None:
    """Call `act` each time that `waited` can be read without blocking, until it says that it had enough.

    For what is waited for again and again, and as long as the program runs: on asyncio it is registered once,
    and no wait leaves anything behind. `act` runs in no task there. Cancelling ends it; what `act` raises is
    raised.
    """
    try:
        loop = asyncio.get_running_loop()
        enough: asyncio.Future[None] = loop.create_future()
        loop.add_reader(waited, _act_until, enough, act)
    except (RuntimeError, NotImplementedError):  # not asyncio; asyncio on Windows
        pass
    else:
        try:
            await enough
        finally:
            loop.remove_reader(waited)
        return
    had_enough = False
    while not had_enough:
        await anyio.wait_readable(waited)
        had_enough = act()


def _act_until(enough: asyncio.Future[None], act: Callable[[], bool]) -> None:
    try:
        if not enough.done() and act():
            enough.set_result(None)
    except BaseException as error:
        enough.set_exception(error)


async def _wait(
    loop: _Loop, fd: int, event: int, add: Callable[..., None], remove: Callable[[int], bool]
) -> None:
    """Through the event loop."""
    if (fd, event) in loop.waited:
        raise anyio.BusyResourceError("reading from" if event == select.POLLIN else "writing to")
    ready: asyncio.Future[None] = loop.create_future()
    add(fd, _settle, ready)
    loop.waited.add((fd, event))
    try:
        await ready
    finally:
        loop.waited.discard((fd, event))
        remove(fd)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():  # it is called until it is removed
        ready.set_result(None)


async def _lingered(loop: _Loop, fd: int, event: int) -> bool:
    """Was it ready within a moment?"""
    if not await _others_are_done(loop):
        return False
    poll = select.poll()
    poll.register(fd, event)
    poll.register(loop.epoll, select.POLLIN)
    return any(ready == fd for ready, _ in poll.poll(LINGER_MS))


async def _others_are_done(loop: _Loop) -> bool:
    """Let whoever can go on without waiting do so first: to linger then would hold up what they are to
    send.
    """
    for _ in range(TURNS):
        await asyncio.sleep(0)  # what a checkpoint is on this loop, without finding out which loop it is
        if loop.is_idle():
            return True
    return False


def _own_loop() -> _Loop | None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:  # not asyncio
        return None
    return loop if isinstance(loop, _Loop) else None


# A send or receive that never blocks would let no timeout and no signal through.
CHECKPOINT_BYTES = 1 << 20
CHECKPOINT_CALLS = 32

TCP_INFO_BYTES = 104
TCP_INFO_FIELDS = struct.Struct("=2xBB52xI")  # linux/tcp.h: retransmits, probes, last_ack_recv in ms

IOV_MAX = 512  # buffers that a caller may pass to one send; the kernels take 1024
COALESCE_BYTES = 64 << 10  # TLS has no gathering send: this much is joined for one record run


@final
class Socket:
    """One connected, non-blocking socket. One task may receive while another sends."""

    __slots__ = ("_budget_bytes", "_budget_calls", "_closed", "_raw", "_tls", "_waiting", "patience", "trail")

    def __init__(self, raw: socket.socket, trail: Trail | None = None) -> None:
        self.trail = trail  # of one that we dialled
        self.patience: float | None = None  # seconds that a receive waits for any byte; None: for ever
        self._raw = raw
        self._tls = isinstance(raw, ssl.SSLSocket)
        self._closed = False
        self._waiting = 0
        self._budget_bytes = CHECKPOINT_BYTES
        self._budget_calls = CHECKPOINT_CALLS

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<Socket {state}{' tls' if self._tls else ''}>"

    @property
    def closed(self) -> bool:
        """Has this side let go of it?"""
        return self._closed

    def fileno(self) -> int:
        """The descriptor, -1 once closed."""
        return self._raw.fileno()

    def peer_host(self) -> str:
        """The peer's address without the port; empty where there is none."""
        with suppress(OSError):
            name = self._raw.getpeername()
            return str(name[0]) if isinstance(name, tuple) else ""
        return ""

    def limit_unsent(self, count: int) -> None:
        """Let the system take only so many bytes that it cannot send yet, where it knows how; 0: any."""
        option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
        if option is not None:
            with suppress(OSError):
                self._raw.setsockopt(socket.IPPROTO_TCP, option, count)

    def unanswered_for(self) -> float:
        """Seconds since the peer's system last acknowledged anything, while something waits for that.

        0 where all is answered, and where the system does not tell (other than Linux). A peer whose window is
        closed answers probes, so it is not dead however long it stands still.
        """
        try:
            info = self._raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
            retransmits, probes, since_ack = TCP_INFO_FIELDS.unpack_from(info)
        except (OSError, AttributeError, struct.error):
            return 0.0
        return since_ack / 1000 if retransmits > 0 or probes >= 2 else 0.0

    async def secure(self, context: ssl.SSLContext) -> None:
        """Become the server's side of a TLS connection. Before anything was received or sent.

        Cancelling leaves a socket that can only be closed. Raises ConnectionLost where the peer speaks no
        TLS, or none that both know.
        """
        try:
            self._raw = context.wrap_socket(self._raw, server_side=True, do_handshake_on_connect=False)
            self._tls = True
            await _shake_hands(self._raw)
        except OSError as error:
            raise ConnectionLost(word_for(error)) from None

    async def receive_into(self, view: memoryview) -> int:
        """Receive at least one byte into `view` and say how many; 0 is the end of the stream.

        Cancelling loses nothing. Raises ConnectionLost, and Silence where `patience` has run out.
        """
        await self._pace(len(view))
        while True:
            try:
                return self._raw.recv_into(view)
            except (BlockingIOError, ssl.SSLWantReadError):
                await self._wait_patiently()
            except ssl.SSLWantWriteError:
                await self._wait_writable()
            except ssl.SSLEOFError:
                return 0
            except OSError as error:
                raise ConnectionLost(word_for(error)) from None

    def receive_now(self, view: memoryview) -> int | None:
        """Like `receive_into`, but None instead of waiting."""
        try:
            return self._raw.recv_into(view)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLEOFError:
            return 0
        except OSError as error:
            raise ConnectionLost(word_for(error)) from None

    async def send_some(self, buffers: Sequence[Buffer]) -> int:
        """Send some of the buffers' bytes, at least one, and say how many.

        Cancelling sends nothing. Raises ConnectionLost.
        """
        await self._pace(0)
        while True:
            try:
                sent = self._send_now(buffers)
            except (BlockingIOError, ssl.SSLWantWriteError):
                await self._wait_writable()
            except ssl.SSLWantReadError:
                await self.wait_readable()
            except OSError as error:
                raise ConnectionLost(word_for(error)) from None
            else:
                self._budget_bytes -= sent
                return sent

    def send_now(self, buffers: Sequence[Buffer]) -> int | None:
        """Like `send_some`, but None instead of waiting."""
        try:
            sent = self._send_now(buffers)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return None
        except OSError as error:
            raise ConnectionLost(word_for(error)) from None
        self._budget_bytes -= sent
        return sent

    def _send_now(self, buffers: Sequence[Buffer]) -> int:
        if not self._tls:
            return self._raw.sendmsg(buffers)
        if len(buffers) == 1 or len(buffers[0]) >= COALESCE_BYTES:
            return self._raw.send(buffers[0])
        joined = bytearray()
        for buffer in buffers:
            joined += buffer
            if len(joined) >= COALESCE_BYTES:
                break
        return self._raw.send(joined)

    async def send_all(self, data: Buffer) -> None:
        """Send all of `data`. Cancelling may leave part of it sent. Raises ConnectionLost."""
        view = memoryview(data)
        while view:
            view = view[await self.send_some([view]) :]

    async def give_way(self, upcoming: int = 0) -> None:
        """Before a `send_now`, or a `receive_now` of `upcoming` bytes: let others run once in a while."""
        await self._pace(upcoming)

    async def _pace(self, upcoming: int) -> None:
        self._budget_calls -= 1
        if self._budget_calls <= 0 or self._budget_bytes <= 0:
            self._budget_calls, self._budget_bytes = CHECKPOINT_CALLS, CHECKPOINT_BYTES
            await checkpoint()
        self._budget_bytes -= upcoming

    async def wait_readable(self) -> None:
        """Wait until a receive would not. Cancelling loses nothing. Raises ConnectionLost once closed."""
        await self._wait(wait_readable)

    async def _wait_patiently(self) -> None:
        if self.patience is None:
            return await self.wait_readable()
        with anyio.move_on_after(self.patience):
            return await self.wait_readable()
        # One more look: it may have been us who stood still, stopped or suspended.
        poll = select.poll()
        poll.register(self._raw, select.POLLIN)
        if not poll.poll(0):
            raise Silence(f"nothing came for {self.patience:g} s")
        return None

    async def _wait_writable(self) -> None:
        await self._wait(wait_writable)

    async def _wait(self, until_ready: Callable[[socket.socket], Awaitable[None]]) -> None:
        self._budget_calls, self._budget_bytes = CHECKPOINT_CALLS, CHECKPOINT_BYTES
        self._check_open()
        self._waiting += 1
        try:
            await until_ready(self._raw)
        finally:
            self._waiting -= 1
            if self._closed:
                self._release()
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionLost("closed by this side")

    def close(self) -> None:
        """Let go: what was sent is still delivered, what was not received is lost. Never waits.

        The descriptor lives until no task waits for it any more. Closed under a waiter, its number would go
        to the next socket, and the waiter's clean-up would take that one's registration with the event loop.
        """
        if self._closed:
            return
        self._closed = True
        if isinstance(self._raw, ssl.SSLSocket):  # RFC 8446 6.1: without its alert, an end looks cut to some
            with suppress(OSError, ValueError):
                self._raw.unwrap()  # only sends it, and only if the system takes it at once
        if self.trail is not None:
            self.trail.closed()
        if self._waiting:
            with suppress(OSError):
                socket.socket.shutdown(self._raw, socket.SHUT_RDWR)  # wakes the waiters
        self._release()

    def _release(self) -> None:
        if not self._waiting:
            with suppress(OSError):
                self._raw.close()

    def abort(self) -> None:
        """Drop the connection: the peer sees a reset, and what is unsent is lost. Never waits."""
        with suppress(OSError):
            self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.close()


async def dial(endpoint: Endpoint) -> Socket:
    """Connect to the engine, TLS included. The caller sets the time limit.

    Raises EngineUnreachable; LocalProblem for a certificate file that cannot be read.
    """
    address = endpoint.address
    raw = await _connect(address)
    if not address.secure:
        return Socket(raw, Trail(address, raw))
    try:
        place = raw.getpeername()[:2]
        context = tls_context(endpoint)
        raw = secure = context.wrap_socket(
            raw, server_hostname=server_name(endpoint), do_handshake_on_connect=False
        )
        await _shake_hands(secure)
    except BaseException as error:
        raw.close()
        if isinstance(error, OSError):
            names = []
            if is_other_name(error):
                names = await anyio.to_thread.run_sync(
                    certificate_names, endpoint, place, abandon_on_cancel=True
                )
            raise tls_fault(endpoint, error, names) from None
        raise
    return Socket(secure, Trail(address, secure))


async def _connect(address: EngineAddress) -> socket.socket:
    reason = "no address"
    for family, sockaddr in await _resolve(address):
        raw = socket.socket(family, socket.SOCK_STREAM)
        try:
            raw.setblocking(False)
            await _connect_one(raw, sockaddr)
            keep_alive(raw)
        except OSError as error:
            raw.close()
            reason = word_for(error)
        except BaseException:
            raw.close()
            raise
        else:
            return raw
    raise unreachable(address, reason)


async def _resolve(address: EngineAddress) -> list[tuple[int, Any]]:
    """Cancelled, nobody waits for the name server."""
    try:
        found = found_at_once(address)
        if found is None:
            with looking_up(address) as (over, result):
                await wait_readable(over)
                found = result()
    except OSError as error:
        raise unreachable(address, f"cannot resolve {address.host}: {word_for(error)}") from None
    return in_dialing_order(found)


async def _connect_one(raw: socket.socket, sockaddr: Any) -> None:
    code = raw.connect_ex(sockaddr)
    if code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY):
        await wait_writable(raw)
        code = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, "")


async def _shake_hands(secure: ssl.SSLSocket) -> None:
    while True:
        try:
            secure.do_handshake()
        except ssl.SSLWantReadError:
            await wait_readable(secure)
        except ssl.SSLWantWriteError:
            await wait_writable(secure)
        else:
            return

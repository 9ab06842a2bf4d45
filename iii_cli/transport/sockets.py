"""Connected sockets, TCP or TLS, on anyio's event loops; and how to dial one.

Sockets are non-blocking and used directly: a system call first, a wait only where it would block. That is
what makes large transfers fast, and it is the same on asyncio and trio.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Any, final

import anyio
from anyio.lowlevel import checkpoint

from iii_cli.errors import EngineUnreachable, LocalProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.wire.address import Endpoint, EngineAddress
    from iii_cli.wire.frames import Buffer

__all__ = ("IOV_MAX", "ConnectionLost", "Socket", "dial", "keep_alive", "tls_context", "unreachable")

# A send or receive that never blocks would let no timeout and no signal through.
CHECKPOINT_BYTES = 1 << 20
CHECKPOINT_CALLS = 32

IOV_MAX = 512  # buffers that a caller may pass to one send; the kernels take 1024
COALESCE_BYTES = 64 << 10  # TLS has no gathering send: this much is joined for one record run


class ConnectionLost(Exception):
    """The connection ended without the Close frame of a good end. `reason` is the system's word for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@final
class Socket:
    """One connected, non-blocking socket. One task may receive while another sends."""

    __slots__ = ("_budget_bytes", "_budget_calls", "_closed", "_raw", "_tls")

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._tls = isinstance(raw, ssl.SSLSocket)
        self._closed = False
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

    async def receive_into(self, view: memoryview) -> int:
        """Receive at least one byte into `view` and say how many; 0 is the end of the stream.

        Cancelling loses nothing. Raises ConnectionLost.
        """
        await self._pace(len(view))
        while True:
            try:
                return self._raw.recv_into(view)
            except (BlockingIOError, ssl.SSLWantReadError):
                await self._wait_readable()
            except ssl.SSLWantWriteError:
                await self._wait_writable()
            except ssl.SSLEOFError:
                return 0
            except OSError as error:
                raise ConnectionLost(_word_for(error)) from None

    def receive_now(self, view: memoryview) -> int | None:
        """Like `receive_into`, but None instead of waiting."""
        try:
            return self._raw.recv_into(view)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        except ssl.SSLEOFError:
            return 0
        except OSError as error:
            raise ConnectionLost(_word_for(error)) from None

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
                await self._wait_readable()
            except OSError as error:
                raise ConnectionLost(_word_for(error)) from None
            else:
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

    async def _pace(self, upcoming: int) -> None:
        self._budget_calls -= 1
        if self._budget_calls <= 0 or self._budget_bytes <= 0:
            self._budget_calls, self._budget_bytes = CHECKPOINT_CALLS, CHECKPOINT_BYTES
            await checkpoint()
        self._budget_bytes -= upcoming

    async def _wait_readable(self) -> None:
        self._budget_calls, self._budget_bytes = CHECKPOINT_CALLS, CHECKPOINT_BYTES
        try:
            await anyio.wait_readable(self._raw)
        except anyio.ClosedResourceError:
            raise ConnectionLost("closed by this side") from None

    async def _wait_writable(self) -> None:
        self._budget_calls, self._budget_bytes = CHECKPOINT_CALLS, CHECKPOINT_BYTES
        try:
            await anyio.wait_writable(self._raw)
        except anyio.ClosedResourceError:
            raise ConnectionLost("closed by this side") from None

    def close(self) -> None:
        """Let go: what was sent is still delivered, what was not received is lost. Never waits."""
        if self._closed:
            return
        self._closed = True
        if self._raw.fileno() >= 0:
            anyio.notify_closing(self._raw)
            with suppress(OSError):
                if self._tls:  # the close_notify that a TLS peer wants, where it fits into the buffer
                    self._raw.setblocking(False)
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
        return Socket(raw)
    try:
        secure = tls_context(endpoint).wrap_socket(
            raw, server_hostname=endpoint.tls.server_name or address.host, do_handshake_on_connect=False
        )
        await _tls_handshake(secure, address)
    except BaseException:
        raw.close()
        raise
    return Socket(secure)


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Verification is always on: system trust, or the CA file that was named.

    Raises LocalProblem for a file that cannot be read or does not hold what it should.
    """
    tls = endpoint.tls
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key)
    except (OSError, ssl.SSLError) as error:
        named = " or ".join(name for name in (tls.ca_file, tls.certificate, tls.key) if name)
        raise LocalProblem(f"cannot use the certificate file {named}: {_word_for(error)}") from None
    return context


def unreachable(address: EngineAddress, reason: str) -> EngineUnreachable:
    """The error for nothing, or nothing useful, at the address."""
    if address.is_loopback:
        hint = "start one: `iii engine run`, or set III_URL"
    else:
        hint = "is III_URL right, and is the engine running?"
    return EngineUnreachable(f"no engine at {address.url} ({reason})", hint=hint)


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
            reason = _word_for(error)
        except BaseException:
            raw.close()
            raise
        else:
            return raw
    raise unreachable(address, reason)


async def _resolve(address: EngineAddress) -> list[tuple[socket.AddressFamily, Any]]:
    """Loopback names resolve inline: a thread costs more than the look-up."""
    try:
        if address.is_loopback:
            found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        else:
            found = await anyio.to_thread.run_sync(
                lambda: socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM),
                abandon_on_cancel=True,
            )
    except OSError as error:
        raise unreachable(address, f"cannot resolve {address.host}: {_word_for(error)}") from None
    # The real engine listens on IPv4 only, and where a name has both, ::1 costs a refused connection first.
    return sorted([(info[0], info[4]) for info in found], key=lambda pair: pair[0] != socket.AF_INET)


async def _connect_one(raw: socket.socket, sockaddr: Any) -> None:
    code = raw.connect_ex(sockaddr)
    if code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY):
        await anyio.wait_writable(raw)
        code = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise OSError(code, "")


def keep_alive(raw: socket.socket) -> None:
    """Notice a dead host: probes after 30 s of silence, every 10 s, three of them (design.md section 4)."""
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = getattr(socket, "TCP_KEEPIDLE", getattr(socket, "TCP_KEEPALIVE", None))
    for option, value in ((idle, 30), (getattr(socket, "TCP_KEEPINTVL", None), 10), (_KEEPCNT, 3)):
        if option is not None:
            with suppress(OSError):
                raw.setsockopt(socket.IPPROTO_TCP, option, value)


_KEEPCNT = getattr(socket, "TCP_KEEPCNT", None)


async def _tls_handshake(secure: ssl.SSLSocket, address: EngineAddress) -> None:
    while True:
        try:
            secure.do_handshake()
        except ssl.SSLWantReadError:
            await anyio.wait_readable(secure)
        except ssl.SSLWantWriteError:
            await anyio.wait_writable(secure)
        except ssl.SSLCertVerificationError as error:
            raise EngineUnreachable(
                f"the certificate of {address.url} is not trusted: {error.verify_message}",
                hint="name its authority with --cacert FILE",
            ) from None
        except OSError as error:
            raise unreachable(address, f"TLS failed: {_word_for(error)}") from None
        else:
            return


def _word_for(error: OSError) -> str:
    """`connection refused`: the system's message, as part of a sentence."""
    if isinstance(error, ssl.SSLError):
        return error.reason.replace("_", " ").lower() if error.reason else "TLS error"
    if isinstance(error, socket.gaierror):
        return error.strerror or "unknown name"
    if error.errno is None:
        return str(error) or type(error).__name__
    return os.strerror(error.errno).lower()

"""TCP and TLS sockets that wait on the event loop."""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, final

import anyio
from anyio.lowlevel import checkpoint

from iii_cli.net.dialing import ConnectionLost, Silence, is_ready, quick_ack, wants_to_write, word_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeVar

    from iii_cli.net.trail import Trail
    from iii_cli.protocol.frames import Buffer

    T = TypeVar("T")

__all__ = ("IOV_MAX", "ConnectionLost", "Silence", "Socket")

# A send or receive that never waits would let no timeout and no signal through.
CHECKPOINT_BYTES = 1 << 20
CALL_COST = CHECKPOINT_BYTES // 32  # of that, for each call

TCP_INFO_BYTES = 104
TCP_INFO_FIELDS = struct.Struct("=2xBB52xI")  # linux/tcp.h: retransmits, probes, last_ack_recv in ms

IOV_MAX = 512  # buffers that a caller may pass to one send; the kernels take 1024
COALESCE_BYTES = 64 << 10  # TLS has no gathering send: this much is joined for one record run


@final
class Socket:
    """One connected, non-blocking socket. One task may receive while another sends."""

    __slots__ = (
        "_budget",
        "_closed",
        "_raw",
        "_reading_writes",
        "_tls",
        "_waiting",
        "_writing_writes",
        "patience",
        "trail",
    )

    def __init__(self, raw: socket.socket, trail: Trail | None = None) -> None:
        self.trail = trail  # of one that we dialled
        self.patience: float | None = None  # seconds that a receive waits for any byte; None: for ever
        self._raw = raw
        self._tls = isinstance(raw, ssl.SSLSocket)
        self._reading_writes = False  # does the next receive wait until TLS has sent something?
        self._writing_writes = True  # and the next send, or until it has received something?
        self._closed = False
        self._waiting = 0
        self._budget = CHECKPOINT_BYTES

    def __repr__(self) -> str:
        return f"<Socket {'closed' if self._closed else 'open'}{' tls' if self._tls else ''}>"

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
            self._raw = secure = context.wrap_socket(
                self._raw, server_side=True, do_handshake_on_connect=False
            )
            self._tls = True
            while True:
                try:
                    return secure.do_handshake()
                except ssl.SSLWantReadError:
                    await self._wait(writable=False)
                except ssl.SSLWantWriteError:
                    await self._wait(writable=True)
        except OSError as error:
            raise ConnectionLost(word_for(error)) from None

    async def receive_into(self, view: memoryview) -> int:
        """Receive at least one byte into `view` and say how many; 0 is the end of the stream.

        Cancelling loses nothing. Raises ConnectionLost, and Silence where `patience` has run out.
        """
        await self.give_way(len(view))
        while (count := self.receive_now(view)) is None:
            await self.wait_to_receive()
        return count

    def receive_now(self, view: memoryview) -> int | None:
        """Like `receive_into`, but None instead of waiting."""
        try:
            return self._raw.recv_into(view)
        except ssl.SSLEOFError:
            return 0
        except OSError as error:
            self._reading_writes = _blocked(error, sending=False)
            return None

    async def wait_to_receive(self) -> None:
        """Wait until a receive would not. Cancelling loses nothing. Raises ConnectionLost once closed, and
        Silence.
        """
        if self.trail is not None:
            quick_ack(self._raw)
        if self.patience is None:
            return await self._wait(writable=self._reading_writes)
        with anyio.move_on_after(self.patience):
            return await self._wait(writable=self._reading_writes)
        # One more look: it may have been us who stood still, stopped or suspended.
        if not is_ready(self._raw, seconds=0):
            raise Silence(f"nothing came for {self.patience:g} s")
        return None

    async def send_some(self, buffers: Sequence[Buffer]) -> int:
        """Send some of the buffers' bytes, at least one, and say how many.

        Cancelling sends nothing. Raises ConnectionLost.
        """
        await self.give_way()
        while (sent := self.send_now(buffers)) is None:
            await self._wait(writable=self._writing_writes)
        return sent

    def send_now(self, buffers: Sequence[Buffer]) -> int | None:
        """Like `send_some`, but None instead of waiting."""
        try:
            return self._send(buffers)
        except OSError as error:
            self._writing_writes = _blocked(error, sending=True)
            return None

    def _send(self, buffers: Sequence[Buffer]) -> int:
        if not self._tls:
            sent = self._raw.sendmsg(buffers)
        elif len(buffers) == 1 or len(buffers[0]) >= COALESCE_BYTES:
            sent = self._raw.send(buffers[0])
        else:
            joined = bytearray()
            for buffer in buffers:
                joined += buffer
                if len(joined) >= COALESCE_BYTES:
                    break
            sent = self._raw.send(joined)
        self._budget -= sent
        return sent

    async def send_all(self, data: Buffer) -> None:
        """Send all of `data`. Cancelling may leave part of it sent. Raises ConnectionLost."""
        view = memoryview(data)
        while view:
            view = view[await self.send_some([view]) :]

    async def give_way(self, upcoming: int = 0) -> None:
        """Before a `send_now`, or a `receive_now` of `upcoming` bytes: let others run once in a while."""
        self._budget -= CALL_COST
        if self._budget <= 0:
            self._budget = CHECKPOINT_BYTES
            await checkpoint()
        self._budget -= upcoming

    async def _wait(self, *, writable: bool) -> None:
        self._budget = CHECKPOINT_BYTES
        self._check_open()
        self._waiting += 1
        try:
            await (anyio.wait_writable if writable else anyio.wait_readable)(self._raw)
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
        to the next socket, and the waiter's clean-up would take that one's registration with the event loop
        (anyio's notify_closing does not prevent it).
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


def _blocked(error: OSError, *, sending: bool) -> bool:
    """Has it to wait until it can be written to, or read? Raises ConnectionLost for all other errors."""
    writable = wants_to_write(error, sending=sending)
    if writable is None:
        raise ConnectionLost(word_for(error)) from None
    return writable

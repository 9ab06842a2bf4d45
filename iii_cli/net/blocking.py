"""One connection, one conversation, no event loop: what `channel create` and a plain `trigger` need.

Starting an event loop costs more than the whole of such a command.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, final

from msgspec import Struct

from iii_cli.net.dialing import ConnectionLost, Opened, opening, quick_ack, word_for
from iii_cli.protocol.frames import Event, encode_frame

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from iii_cli.net.dialing import Wait
    from iii_cli.protocol.frames import Buffer
    from iii_cli.protocol.refs import Endpoint

__all__ = ("BlockingWebSocket", "TlsSession", "open_blocking")


class TlsSession(Struct, frozen=True):
    """What TLS agreed on, and whose certificate the engine showed. Names come from there: not to be
    trusted.
    """

    protocol: str  # "TLSv1.3"
    cipher: str
    subject: str
    issuer: str
    expires_at: float | None  # Unix seconds


@final
class BlockingWebSocket:
    """An open WebSocket, without an event loop. A context manager that lets go of it."""

    def __init__(self, opened: Opened) -> None:
        self._raw, self._decoder, self.trail = opened

    def __enter__(self) -> BlockingWebSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it. Safe to repeat."""
        self.trail.closed()
        with suppress(OSError):
            self._raw.close()

    def tls_session(self) -> TlsSession | None:
        """What protects the connection; None: nothing does."""
        raw: Any = self._raw
        if not hasattr(raw, "getpeercert"):
            return None
        import ssl

        certificate = raw.getpeercert() or {}
        expiry = certificate.get("notAfter")
        return TlsSession(
            raw.version() or "",
            (raw.cipher() or ("",))[0],
            _common_name(certificate.get("subject", ())),
            _common_name(certificate.get("issuer", ())),
            ssl.cert_time_to_seconds(expiry) if expiry else None,
        )

    def send(self, opcode: int, payload: Buffer, deadline: float | None) -> None:
        """One frame. `deadline` is on the monotonic clock, in seconds. Raises TimeoutError,
        ConnectionLost.
        """
        try:
            self._raw.settimeout(_remaining(deadline))
            self._raw.sendall(b"".join(encode_frame(opcode, payload, os.urandom(4))))
        except OSError as error:
            raise _lost(error) from None

    def receive(self, deadline: float | None) -> list[Event]:
        """The next events, at least one. Raises TimeoutError, ConnectionLost, PeerMisbehaved."""
        while True:
            if events := self._decoder.events():
                return events
            try:
                self._raw.settimeout(_remaining(deadline))
                quick_ack(self._raw)
                count = self._raw.recv_into(self._decoder.space())
            except OSError as error:
                raise _lost(error) from None
            if not count:
                raise ConnectionLost("the connection ended without a Close frame")
            self._decoder.received(count)


def open_blocking(
    endpoint: Endpoint, target: str, *, what: str, deadline: float | None = None
) -> BlockingWebSocket:
    """As `opening`, blocking. `deadline`, on the monotonic clock, ends all of it with TimeoutError."""
    steps = opening(endpoint, target, what=what)
    try:
        wait = next(steps)
        while True:
            wait = steps.send(_came(wait, _remaining(deadline)))
    except StopIteration as done:
        return BlockingWebSocket(done.value)
    finally:
        steps.close()


def _came(wait: Wait, limit: float | None) -> bool:
    """Did it come in time? It may not have where the `limit` is over, or a little before."""
    poll = select.poll()
    if wait.sock is not None:
        poll.register(wait.sock, select.POLLOUT if wait.writable else select.POLLIN)
    seconds = min((s for s in (wait.seconds, limit) if s is not None), default=None)
    ready = bool(poll.poll(None if seconds is None else seconds * 1000))
    if not ready and seconds == limit != wait.seconds:
        raise TimeoutError
    return ready


def _common_name(names: Iterable[Any]) -> str:
    """`CN` of a certificate's subject or issuer, else the first part of it."""
    parts = dict(pair for group in names for pair in group)
    return str(parts.get("commonName") or next(iter(parts.values()), ""))


def _lost(error: OSError) -> Exception:
    """Our own time limit is a TimeoutError; with a number it is the kernel's: the host is dead."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return error
    return ConnectionLost(word_for(error))


def _remaining(deadline: float | None) -> float | None:
    """Seconds for the next system call. Raises TimeoutError when there are none left."""
    if deadline is None:
        return None
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining

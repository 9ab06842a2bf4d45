"""One connection, one conversation, no event loop: what `channel create` and a plain `trigger` need.

Starting an event loop costs more than the whole of such a command (house.md 4.2). The frames and the
handshake are the same as everywhere.
"""

from __future__ import annotations

import math
import os
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, final

from msgspec import Struct

from iii_cli.errors import EngineUnreachable, PeerMisbehaved
from iii_cli.net.dialing import (
    ConnectionLost,
    Trail,
    certificate_names,
    found_at_once,
    in_dialing_order,
    is_other_name,
    keep_alive,
    looking_up,
    no_handshake,
    refusal,
    server_name,
    tls_context,
    tls_fault,
    try_again,
    unreachable,
    word_for,
)
from iii_cli.protocol.frames import Event, FrameDecoder, encode_frame
from iii_cli.protocol.handshake import HEAD_BYTES_MAX, check_accepted, parse_response, upgrade_request

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from iii_cli.protocol.frames import Buffer
    from iii_cli.protocol.refs import Endpoint, EngineAddress

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
    """An open WebSocket on a blocking socket. A context manager that lets go of it."""

    def __init__(self, raw: socket.socket, decoder: FrameDecoder, trail: Trail) -> None:
        self.trail = trail
        self._raw = raw
        self._decoder = decoder

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
            if _ran_out(error):
                raise
            raise ConnectionLost(word_for(error)) from None

    def receive(self, deadline: float | None) -> list[Event]:
        """The next events, at least one. Raises TimeoutError, ConnectionLost, PeerMisbehaved."""
        while True:
            if events := self._decoder.events():
                return events
            try:
                self._raw.settimeout(_remaining(deadline))
                count = self._raw.recv_into(self._decoder.space())
            except OSError as error:
                if _ran_out(error):
                    raise
                raise ConnectionLost(word_for(error)) from None
            if not count:
                raise ConnectionLost("the connection ended without a Close frame")
            self._decoder.received(count)


def open_blocking(
    endpoint: Endpoint, target: str, *, what: str, deadline: float | None = None
) -> BlockingWebSocket:
    """As `open_websocket`, blocking: the same limits, the same errors.

    `deadline`, on the monotonic clock, ends all of it with TimeoutError.
    """
    give_up = None if endpoint.wait_engine is None else time.monotonic() + endpoint.wait_engine
    pause = 0.05
    while True:
        try:
            return _open_once(endpoint, target, what=what, whole=deadline)
        except EngineUnreachable as error:
            if give_up is None or time.monotonic() + pause > give_up:
                raise
            try_again(error.message)
        remaining = _remaining(deadline)
        time.sleep(pause if remaining is None else min(pause, remaining))
        pause = min(2 * pause, 1.0)


def _open_once(endpoint: Endpoint, target: str, *, what: str, whole: float | None) -> BlockingWebSocket:
    address = endpoint.address
    timeout = endpoint.connect_timeout
    deadline = whole if timeout is None else min(time.monotonic() + timeout, whole or math.inf)
    raw: socket.socket | None = None
    trail: Trail | None = None
    try:
        raw = _connect(endpoint, deadline)
        trail = Trail(address, raw)
        nonce = os.urandom(16)
        raw.sendall(upgrade_request(address.authority, target, nonce, endpoint.request_headers()))
        head, rest = _receive_head(raw, deadline)
        response = parse_response(head)
        trail.upgrade(target, response.status)
        if response.status != 101:
            raise refusal(response.status, address, what)
        check_accepted(response, nonce)
    except BaseException as error:
        if raw is not None:
            raw.close()
        if trail is not None:
            trail.closed()
        if _ran_out(error):
            if deadline == whole:
                raise
            raise unreachable(address, f"no answer within {timeout:g} s") from None
        if isinstance(error, PeerMisbehaved):
            raise no_handshake(address, error.message) from None
        if isinstance(error, OSError):
            raise no_handshake(address, f"lost during the handshake: {word_for(error)}") from None
        raise
    decoder = FrameDecoder(masked=False)
    decoder.feed(rest)
    return BlockingWebSocket(raw, decoder, trail)


def _connect(endpoint: Endpoint, deadline: float | None) -> socket.socket:
    address = endpoint.address
    try:
        found = found_at_once(address)
        if found is None:
            found = _looked_up(address, deadline)
    except OSError as error:
        if _ran_out(error):
            raise
        raise unreachable(address, f"cannot resolve {address.host}: {word_for(error)}") from None
    reason = "no address"
    for family, sockaddr in in_dialing_order(found):
        raw = socket.socket(family, socket.SOCK_STREAM)
        try:
            raw.settimeout(_remaining(deadline))
            raw.connect(sockaddr)
            keep_alive(raw)
            return _secured(raw, endpoint) if address.secure else raw
        except BaseException as error:
            raw.close()
            if not isinstance(error, OSError) or _ran_out(error):
                raise
            reason = word_for(error)
    raise unreachable(address, reason)


def _looked_up(address: EngineAddress, deadline: float | None) -> list[Any]:
    """Raises TimeoutError, and OSError as the system does."""
    with looking_up(address) as (over, result):
        over.settimeout(_remaining(deadline))
        over.recv(1)  # which a signal interrupts
        return result()


def _secured(raw: socket.socket, endpoint: Endpoint) -> socket.socket:
    context = tls_context(endpoint)
    try:
        place = raw.getpeername()[:2]
        return context.wrap_socket(raw, server_hostname=server_name(endpoint))
    except OSError as error:
        if _ran_out(error):
            raise
        names = certificate_names(endpoint, place) if is_other_name(error) else []
        raise tls_fault(endpoint, error, names) from None


def _common_name(names: Iterable[Any]) -> str:
    """`CN` of a certificate's subject or issuer, else the first part of it."""
    parts = dict(pair for group in names for pair in group)
    return str(parts.get("commonName") or next(iter(parts.values()), ""))


def _receive_head(raw: socket.socket, deadline: float | None) -> tuple[bytes, bytes]:
    head = b""
    while b"\r\n\r\n" not in head:
        raw.settimeout(_remaining(deadline))
        received = raw.recv(16 << 10)
        if not received:
            raise ConnectionResetError("the connection was closed")
        head += received
        if len(head) > HEAD_BYTES_MAX:
            raise PeerMisbehaved("an HTTP head that does not end")
    end = head.index(b"\r\n\r\n") + 4
    return head[:end], head[end:]


def _ran_out(error: BaseException) -> bool:
    """Is it our own time limit? With a number it is the kernel's: the host is dead."""
    return isinstance(error, TimeoutError) and error.errno is None


def _remaining(deadline: float | None) -> float | None:
    """Seconds for the next system call. Raises TimeoutError when there are none left."""
    if deadline is None:
        return None
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining

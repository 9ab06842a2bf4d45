"""What every way of dialling shares: the order of addresses, keepalive, trust, and the words for a refusal.

Light on purpose: the blocking socket of one-line commands uses this without an event loop.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from iii_cli.errors import EngineUnreachable, LocalProblem, NotAuthorised, UnknownTarget

if TYPE_CHECKING:
    import ssl

    from iii_cli.errors import Failure
    from iii_cli.wire.address import Endpoint, EngineAddress

__all__ = (
    "ConnectionLost",
    "in_dialing_order",
    "keep_alive",
    "refusal",
    "tls_context",
    "tls_fault",
    "unreachable",
    "word_for",
)


class ConnectionLost(Exception):
    """The connection ended without the Close frame of a good end. `reason` is the system's word for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def in_dialing_order(found: list[Any]) -> list[tuple[int, Any]]:
    """Families and addresses of `getaddrinfo`, IPv4 first: the real engine listens on IPv4 only."""
    return sorted([(info[0], info[4]) for info in found], key=lambda pair: pair[0] != socket.AF_INET)


def keep_alive(raw: socket.socket) -> None:
    """Notice a dead host: probes after 30 s of silence, every 10 s, three of them (design.md section 4)."""
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for names, value in (
        (("TCP_KEEPIDLE", "TCP_KEEPALIVE"), 30),
        (("TCP_KEEPINTVL",), 10),
        (("TCP_KEEPCNT",), 3),
    ):
        option = next((getattr(socket, name) for name in names if hasattr(socket, name)), None)
        if option is not None:
            with suppress(OSError):
                raw.setsockopt(socket.IPPROTO_TCP, option, value)


def tls_context(endpoint: Endpoint) -> ssl.SSLContext:
    """Verification is always on: system trust, or the CA file that was named.

    Raises LocalProblem for a file that cannot be read or does not hold what it should.
    """
    import ssl

    tls = endpoint.tls
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if tls.certificate:
            context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:
        named = " or ".join(name for name in (tls.ca_file, tls.certificate, tls.key) if name)
        raise LocalProblem(f"cannot use the certificate file {named}: {word_for(error)}") from None
    return context


def tls_fault(address: EngineAddress, error: OSError) -> EngineUnreachable:
    """The error for a TLS handshake that failed."""
    verify_message = getattr(error, "verify_message", None)
    if verify_message is None:
        return unreachable(address, f"TLS failed: {word_for(error)}")
    return EngineUnreachable(
        f"the certificate of {address.url} is not trusted: {verify_message}",
        hint="name its authority with --cacert FILE",
    )


def unreachable(address: EngineAddress, reason: str) -> EngineUnreachable:
    """The error for nothing, or nothing useful, at the address."""
    if address.is_loopback:
        hint = "start one: `iii engine run`, or set III_URL"
    else:
        hint = "is III_URL right, and is the engine running?"
    return EngineUnreachable(f"no engine at {address.url} ({reason})", hint=hint)


def refusal(status: int, address: EngineAddress, what: str) -> Failure:
    """The error for an HTTP answer in place of the upgrade (protocol.md 4.1)."""
    if status in (401, 403):
        hint = "set III_TOKEN or --token-file"
        if status == 403 and not address.is_loopback:
            hint += "; `iii engine run` needs --allow-host for each name that it is reached by"
        return NotAuthorised(f"{address.url} refused us ({status})", hint=hint)
    if status == 404 and what == "channel":
        return UnknownTarget(
            f"no such channel at {address.url}: the ref is wrong, expired, or of another engine",
            hint="refs live 5 minutes unless both ends are open; `iii channel create` makes new ones",
        )
    return unreachable(address, f"it answers HTTP {status}, not as an engine does")


def word_for(error: OSError) -> str:
    """`connection refused`: the system's message, as part of a sentence."""
    reason = getattr(error, "reason", None)  # of an SSLError
    if isinstance(reason, str) and reason:
        return reason.replace("_", " ").lower()
    if isinstance(error, socket.gaierror) or error.errno is None:
        return (error.strerror or str(error) or type(error).__name__).lower()
    return os.strerror(error.errno).lower()

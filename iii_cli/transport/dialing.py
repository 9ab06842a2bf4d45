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
    "Silence",
    "certificate_names",
    "in_dialing_order",
    "is_other_name",
    "keep_alive",
    "no_handshake",
    "refusal",
    "server_name",
    "tls_context",
    "tls_fault",
    "unreachable",
    "word_for",
)


OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH (openssl-verify(1))
NAMES_SECONDS = 2.0
NAMES_SHOWN = 3


class ConnectionLost(Exception):
    """The connection ended without the Close frame of a good end. `reason` is the system's word for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Silence(ConnectionLost):
    """Nothing was received for as long as a receiver had patience."""


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


def is_other_name(error: OSError) -> bool:
    """Did TLS fail for nothing but the name or address in the certificate?"""
    return getattr(error, "verify_code", None) in OTHER_NAME


def certificate_names(endpoint: Endpoint, place: tuple[str, int]) -> list[str]:
    """The names in a certificate that is trusted, but for another name. None where that cannot be found out.

    A failed handshake does not tell them, so this is a second one, on a connection that nothing is sent on.
    `place` is the address of the first: a name server is not asked again. Takes two seconds at most.
    """
    context = tls_context(endpoint)
    context.check_hostname = False
    try:
        with (
            socket.create_connection(place, NAMES_SECONDS) as raw,
            context.wrap_socket(raw, server_hostname=server_name(endpoint)) as secure,
        ):
            names: Any = (secure.getpeercert() or {}).get("subjectAltName", ())
            return [str(value) for _, value in names]
    except OSError:
        return []


def server_name(endpoint: Endpoint) -> str:
    """The name that the certificate must be for."""
    return endpoint.tls.server_name or endpoint.address.host


def tls_fault(endpoint: Endpoint, error: OSError, names: list[str]) -> EngineUnreachable:
    """The error for a TLS handshake that failed. `names`: those of a certificate for another name."""
    address = endpoint.address
    verify_message = getattr(error, "verify_message", None)
    if verify_message is None:
        reason = word_for(error)
        spoken = "alert" in reason  # by the other side, which can TLS
        hint = None if spoken else f"if it speaks no TLS, use ws://{address.authority}{address.path}"
        return unreachable(address, f"TLS failed: {reason}", hint=hint)
    if is_other_name(error):
        listed = ", ".join(names[:NAMES_SHOWN]) + (" and others" if len(names) > NAMES_SHOWN else "")
        usable = next((name for name in names if "*" not in name), "NAME")
        return EngineUnreachable(
            f"the certificate of {address.url} is not for {server_name(endpoint)}"
            + (f", but for {listed}" if names else ""),
            hint=f"if that is your engine: --server-name {usable}",
        )
    return EngineUnreachable(
        f"the certificate of {address.url} is not trusted: {verify_message}",
        hint="name its authority with --cacert FILE",
    )


def no_handshake(address: EngineAddress, reason: str) -> EngineUnreachable:
    """The error for something that listens there and does not answer as an engine does."""
    hint = None if address.secure else f"if it speaks TLS, use wss://{address.authority}{address.path}"
    return unreachable(address, reason, hint=hint)


def unreachable(address: EngineAddress, reason: str, *, hint: str | None = None) -> EngineUnreachable:
    """The error for nothing, or nothing useful, at the address."""
    if hint is not None:
        pass
    elif address.is_loopback:
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
    return no_handshake(address, f"it answers HTTP {status}, not as an engine does")


def word_for(error: OSError) -> str:
    """`connection refused`: the system's message, as part of a sentence."""
    reason = getattr(error, "reason", None)  # of an SSLError
    if isinstance(reason, str) and reason:
        return reason.replace("_", " ").lower()
    if isinstance(error, socket.gaierror) or error.errno is None:
        return (error.strerror or str(error) or type(error).__name__).lower()
    return os.strerror(error.errno).lower()

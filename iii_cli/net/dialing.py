"""What every way of dialling shares: names, the order of addresses, keepalive, trust, words for a refusal."""

from __future__ import annotations

import os
import signal
import socket
import time
from _thread import start_new_thread
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any, final

from iii_cli.errors import EngineUnreachable, LocalProblem, NotAuthorised, UnknownTarget

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

    from iii_cli.errors import Failure
    from iii_cli.protocol.messages import Message
    from iii_cli.protocol.refs import Endpoint, EngineAddress

__all__ = (
    "ConnectionLost",
    "Silence",
    "Trail",
    "certificate_names",
    "close_all",
    "found_at_once",
    "in_dialing_order",
    "is_other_name",
    "keep_alive",
    "listen",
    "looking_up",
    "no_handshake",
    "refusal",
    "server_name",
    "tls_context",
    "tls_fault",
    "try_again",
    "unreachable",
    "word_for",
)


_numbers = count(1)
_listener: Callable[[str], None] | None = None


def listen(listener: Callable[[str], None] | None) -> None:
    """From now on `listener` gets the lines, None: nobody. It must not raise, and not wait for long."""
    global _listener
    _listener = listener


def try_again(reason: str) -> None:
    """There is no connection yet."""
    if _listener is not None:
        _listener(f"{reason}; trying again")


def close_all() -> None:
    """The process ends, and with it what is still open."""
    for trail in sorted(_open, key=lambda trail: trail.number):
        trail.closed()


@final
class Trail:
    """One connection, from the beginning to the end."""

    __slots__ = ("_began", "number")

    def __init__(self, address: EngineAddress, raw: socket.socket) -> None:
        self.number = next(_numbers)
        self._began = time.monotonic()
        if _listener is not None:
            _open.add(self)
            self._tell(f"connected to {address} ({_peer(raw)})")

    def upgrade(self, target: str, status: int) -> None:
        """The request that makes a WebSocket of it, and the answer."""
        if _listener is not None:
            self._tell(f"GET {_masked(target)}: {status}")

    def message(self, message: Message) -> None:
        """What is asked of the engine, or answered. Pings and the like are no requests."""
        if _listener is None:
            return
        from iii_cli.protocol.messages import (
            InvocationResult,
            InvokeFunction,
            RegisterFunction,
            UnregisterFunction,
        )

        match message:
            case InvokeFunction():
                self._tell(f"call {message.function_id}")
            case InvocationResult():
                self._tell(f"answer for {message.function_id}")
            case RegisterFunction():
                self._tell(f"register {message.id}")
            case UnregisterFunction():
                self._tell(f"unregister {message.id}")

    def closed(self) -> None:
        """This side has let go. Says it once."""
        if self in _open:
            _open.remove(self)
            self._tell(f"closed after {(time.monotonic() - self._began) * 1000:.0f} ms")

    def _tell(self, text: str) -> None:
        if _listener is not None:
            _listener(f"#{self.number} {text}")


_open: set[Trail] = set()  # of which a listener has heard


def _peer(raw: socket.socket) -> str:
    """The address that the name came to, and what protects the connection."""
    try:
        host, port, *_ = raw.getpeername()
    except OSError:
        return "gone by now"
    version: Any = getattr(raw, "version", None)
    secure = f", {version()}" if version is not None else ""
    return f"{f'[{host}]' if ':' in host else host}:{port}{secure}"


def _masked(target: str) -> str:
    """A request target: a channel's key is in its query, and so may be a token of a gateway's."""
    path, mark, query = target.partition("?")
    parts = (part.partition("=") for part in query.split("&"))
    shown = "&".join(f"{name}={value if name == 'dir' else '***'}" for name, _, value in parts)
    return f"{path}{mark}{shown if mark else ''}"


def found_at_once(address: EngineAddress) -> list[Any] | None:
    """As `getaddrinfo`, for what needs no name server: numbers, and the names of this machine.

    None for everything else. Raises OSError.
    """
    try:
        return _look_up(address, 0 if address.is_loopback else socket.AI_NUMERICHOST)
    except socket.gaierror:
        if address.is_loopback:
            raise
        return None


@contextmanager
def looking_up(address: EngineAddress) -> Iterator[tuple[socket.socket, Callable[[], list[Any]]]]:
    """Begin to look it up: a socket that ends when that is over, and what gives the result then, or raises
    OSError. Left early, the rest of it has no effect.
    """
    outcome: list[Any] = []

    def look_up() -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are for the main thread
        with theirs:
            try:
                outcome.append(_look_up(address))
            except Exception as error:
                outcome.append(error)

    def result() -> list[Any]:
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        found: list[Any] = outcome[0]
        return found

    ours, theirs = socket.socketpair()
    with ours:
        start_new_thread(look_up, ())  # threading's waits for its start, amid which a Ctrl-C breaks it
        yield ours, result


def _look_up(address: EngineAddress, flags: int = 0) -> list[Any]:
    # As bytes where it can be: a str is encoded by the idna codec, which takes a millisecond to load.
    host = address.host.encode() if address.host.isascii() else address.host
    try:
        return socket.getaddrinfo(host, address.port, type=socket.SOCK_STREAM, flags=flags)
    except UnicodeError:
        raise OSError("not a host name") from None


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

"""How a connection to the engine is opened: names, addresses, TLS, the upgrade, and trying all that again.

`opening` is a generator that does everything and waits for nothing: it yields what to wait for. `blocking.py`
drives it without an event loop, `websocket.py` with one.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import sys
import time
from _thread import start_new_thread
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from iii_cli.errors import EngineUnreachable, LocalProblem, NotAuthorised, PeerMisbehaved, UnknownTarget
from iii_cli.net.trail import Trail, try_again
from iii_cli.protocol.frames import FrameDecoder
from iii_cli.protocol.handshake import HEAD_BYTES_MAX, check_accepted, parse_response, upgrade_request

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Generator, Iterator

    from iii_cli.errors import Failure
    from iii_cli.protocol.refs import Endpoint, EngineAddress

__all__ = (
    "ConnectionLost",
    "Opened",
    "Silence",
    "Wait",
    "is_ready",
    "keep_alive",
    "opening",
    "quick_ack",
    "wants_to_write",
    "word_for",
)

T = TypeVar("T")


class ConnectionLost(Exception):
    """The connection ended without the Close frame of a good end. `reason` is the system's word for it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Silence(ConnectionLost):
    """Nothing was received for as long as a receiver had patience."""


class _TooLate(Exception):
    """The time for one attempt is over."""


class Wait(NamedTuple):
    """What an opening waits for, at most `seconds` (None: for ever): that `sock` can be read, or written to.

    Without a `sock` only the time passes.
    """

    sock: socket.socket | None
    writable: bool = False
    seconds: float | None = None


class Opened(NamedTuple):
    """An upgraded connection. The socket is non-blocking, the decoder has what came behind the answer."""

    raw: socket.socket
    decoder: FrameDecoder
    trail: Trail


# Yields what to wait for, and is sent whether it came in time.
Steps: TypeAlias = "Generator[Wait, bool, T]"


def opening(endpoint: Endpoint, target: str, *, what: str, pieces: bool = False) -> Steps[Opened]:
    """Dial the engine and upgrade on `target`. `what` names it for people: `the channel`, `the engine`.

    The endpoint's `connect_timeout` bounds each attempt, its `wait_engine` how long a refused connection is
    tried again. Closed early, it leaves nothing open. Raises EngineUnreachable, NotAuthorised, UnknownTarget,
    LocalProblem.
    """
    give_up = None if endpoint.wait_engine is None else time.monotonic() + endpoint.wait_engine
    pause = 0.05
    while True:
        try:
            return (yield from _attempt(endpoint, target, what, pieces))
        except EngineUnreachable as error:
            if give_up is None or time.monotonic() + pause > give_up:
                raise
            try_again(error.message)
        yield Wait(None, seconds=pause)
        pause = min(2 * pause, 1.0)


def _attempt(endpoint: Endpoint, target: str, what: str, pieces: bool) -> Steps[Opened]:
    address, timeout = endpoint.address, endpoint.connect_timeout
    deadline = None if timeout is None else time.monotonic() + timeout
    raw: socket.socket | None = None
    trail: Trail | None = None
    try:
        raw = yield from _connect(address, deadline)
        if address.secure:
            raw = yield from _secured(raw, endpoint, deadline)
        trail = Trail(address, raw)
        nonce = os.urandom(16)
        request = upgrade_request(address.authority, target, nonce, endpoint.request_headers())
        while request:
            sent = yield from _done(raw, deadline, partial(raw.send, request), sending=True)
            request = request[sent:]
        head, rest = yield from _receive_head(raw, deadline)
        response = parse_response(head)
        trail.upgrade(target, response.status)
        if response.status != 101:
            raise _refusal(response.status, address, what)
        check_accepted(response, nonce)
    except BaseException as error:
        if raw is not None:
            raw.close()
        if trail is not None:
            trail.closed()
        if isinstance(error, _TooLate):
            raise _unreachable(address, f"no answer within {timeout:g} s") from None
        if isinstance(error, PeerMisbehaved):
            raise _no_handshake(address, error.message) from None
        if isinstance(error, OSError):
            raise _no_handshake(address, f"lost during the handshake: {word_for(error)}") from None
        raise
    decoder = FrameDecoder(masked=False, pieces=pieces)
    decoder.feed(rest)
    return Opened(raw, decoder, trail)


def _wait(sock: socket.socket, deadline: float | None, *, writable: bool = False) -> Steps[None]:
    seconds = None if deadline is None else deadline - time.monotonic()
    if (seconds is not None and seconds <= 0) or not (yield Wait(sock, writable, seconds)):
        raise _TooLate


def _done(
    sock: socket.socket, deadline: float | None, act: Callable[[], T], *, sending: bool = False
) -> Steps[T]:
    """Do it as soon as the socket lets us."""
    while True:
        try:
            return act()
        except OSError as error:
            writable = wants_to_write(error, sending=sending)
            if writable is None:
                raise
        yield from _wait(sock, deadline, writable=writable)


def is_ready(sock: socket.socket | None, *, writable: bool = False, seconds: float | None = None) -> bool:
    """Can it be read, or written to, within so many seconds (None: it will)? Without an event loop."""
    if sock is not None and not hasattr(select, "poll"):  # Windows
        reading, writing = ([], [sock]) if writable else ([sock], [])
        return any(select.select(reading, writing, writing, seconds))
    if sock is None:
        time.sleep(seconds or 0)
        return False
    poll = select.poll()
    poll.register(sock, select.POLLOUT if writable else select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def wants_to_write(error: OSError, *, sending: bool) -> bool | None:
    """What a send or receive that would block waits for; None for an error that is none of these."""
    if isinstance(error, BlockingIOError):
        return sending
    tls = sys.modules.get("ssl")  # which takes longer to load than a one-line command takes to connect
    if tls is not None and isinstance(error, tls.SSLWantReadError | tls.SSLWantWriteError):
        return isinstance(error, tls.SSLWantWriteError)
    return None


def _connect(address: EngineAddress, deadline: float | None) -> Steps[socket.socket]:
    try:
        found = yield from _resolve(address, deadline)
    except OSError as error:
        _check_ours(error)
        raise _unreachable(address, f"cannot resolve {address.host}: {word_for(error)}") from None
    reason = "no address"
    # IPv4 first: the real engine listens on IPv4 only.
    for family, *_, place in sorted(found, key=lambda info: info[0] != socket.AF_INET):
        try:
            return (yield from _connect_one(family, place, deadline))
        except OSError as error:
            _check_ours(error)
            reason = word_for(error)
    raise _unreachable(address, reason)


def _check_ours(error: OSError) -> None:
    """Raises LocalProblem where no engine is to blame."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        hint = "raise the limit on open files: `ulimit -n`"
        raise LocalProblem(f"cannot connect: {word_for(error)}", hint=hint) from None


def _connect_one(family: int, place: Any, deadline: float | None) -> Steps[socket.socket]:
    raw = socket.socket(family, socket.SOCK_STREAM)
    try:
        raw.setblocking(False)
        code = raw.connect_ex(place)
        if code in (errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EALREADY):
            yield from _wait(raw, deadline, writable=True)
            code = raw.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, "")
        keep_alive(raw)
    except BaseException:
        raw.close()
        raise
    return raw


def _resolve(address: EngineAddress, deadline: float | None) -> Steps[list[Any]]:
    """As `getaddrinfo`. What needs a name server is looked up in a thread, for which no end waits."""
    try:
        return _look_up(address, 0 if address.is_loopback else socket.AI_NUMERICHOST)
    except socket.gaierror:
        if address.is_loopback:
            raise
    with _looking_up(address) as (over, result):
        yield from _wait(over, deadline)
        return result()


@contextmanager
def _looking_up(address: EngineAddress) -> Iterator[tuple[socket.socket, Callable[[], list[Any]]]]:
    """A socket that ends when the name was looked up, and what gives the result then, or raises OSError."""
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


def keep_alive(raw: socket.socket) -> None:
    """Notice a dead host: probes after 30 s of silence, every 10 s, three of them."""
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


def quick_ack(raw: socket.socket) -> None:
    """Before a wait for an answer: acknowledge at once what comes next, where the system can (Linux).

    The engine leaves Nagle's algorithm on (docs: protocol, "Keepalive"): the second of two small frames waits
    for our acknowledgement of the first, which Linux delays by 40 ms. The system forgets the option soon.
    """
    option = getattr(socket, "TCP_QUICKACK", None)
    if option is not None:
        with suppress(OSError):
            raw.setsockopt(socket.IPPROTO_TCP, option, 1)


def _receive_head(raw: socket.socket, deadline: float | None) -> Steps[tuple[bytes, bytes]]:
    """An HTTP head with its blank line, and what came behind it."""
    head = b""
    while b"\r\n\r\n" not in head:
        quick_ack(raw)
        received = yield from _done(raw, deadline, partial(raw.recv, 16 << 10))
        if not received:
            raise ConnectionResetError("the connection was closed")
        head += received
        if len(head) > HEAD_BYTES_MAX:
            raise PeerMisbehaved("an HTTP head that does not end")
        if not head[:1].isupper():
            break  # no HTTP: TLS, for instance, which waits for more from us
    end = head.find(b"\r\n\r\n") + 4
    return head[:end], head[end:]


# TLS

OTHER_NAME = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH (openssl-verify(1))
NAMES_SECONDS = 2.0
NAMES_SHOWN = 3


def _secured(raw: socket.socket, endpoint: Endpoint, deadline: float | None) -> Steps[socket.socket]:
    family, place = raw.family, raw.getpeername()
    try:
        return (yield from _handshake(raw, _tls_context(endpoint), endpoint, deadline))
    except OSError as error:
        names: list[str] = []
        if getattr(error, "verify_code", None) in OTHER_NAME:
            names = yield from _certificate_names(endpoint, family, place)
        raise _tls_fault(endpoint, error, names) from None


def _handshake(
    raw: socket.socket, context: ssl.SSLContext, endpoint: Endpoint, deadline: float | None
) -> Steps[ssl.SSLSocket]:
    """Closes the socket when it fails."""
    sock = raw
    try:
        sock = secure = context.wrap_socket(
            raw, server_hostname=_server_name(endpoint), do_handshake_on_connect=False
        )
        yield from _done(secure, deadline, secure.do_handshake)
    except BaseException:
        sock.close()
        raise
    return secure


def _tls_context(endpoint: Endpoint) -> ssl.SSLContext:
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


def _certificate_names(endpoint: Endpoint, family: int, place: Any) -> Steps[list[str]]:
    """The names in a certificate that is trusted, but for another name. None where that cannot be found out.

    A failed handshake does not tell them, so this is a second one, on a connection that nothing is sent on.
    Takes two seconds at most. A name server is not asked again.
    """
    deadline = time.monotonic() + NAMES_SECONDS
    context = _tls_context(endpoint)
    context.check_hostname = False
    try:
        raw = yield from _connect_one(family, place, deadline)
        with (yield from _handshake(raw, context, endpoint, deadline)) as secure:
            names: Any = (secure.getpeercert() or {}).get("subjectAltName", ())
            return [str(value) for _, value in names]
    except (OSError, _TooLate):
        return []


def _server_name(endpoint: Endpoint) -> str:
    """The name that the certificate must be for."""
    return endpoint.tls.server_name or endpoint.address.host


# What is said when it fails


def _tls_fault(endpoint: Endpoint, error: OSError, names: list[str]) -> EngineUnreachable:
    """A TLS handshake failed. `names`: those of a certificate for another name."""
    address = endpoint.address
    verify_message = getattr(error, "verify_message", None)
    if verify_message is None:
        reason = word_for(error)
        spoken = "alert" in reason  # by the other side, which can TLS
        hint = None if spoken else f"if it speaks no TLS, use ws://{address.authority}{address.path}"
        return _unreachable(address, f"TLS failed: {reason}", hint=hint)
    if getattr(error, "verify_code", None) in OTHER_NAME:
        listed = ", ".join(names[:NAMES_SHOWN]) + (" and others" if len(names) > NAMES_SHOWN else "")
        usable = next((name for name in names if "*" not in name), "NAME")
        return _caused(
            f"the certificate of {address.url} is not for {_server_name(endpoint)}"
            + (f", but for {listed}" if names else ""),
            f"if that is your engine: --server-name {usable}",
        )
    return _caused(
        f"the certificate of {address.url} is not trusted: {verify_message}",
        "name its authority with --cacert FILE",
    )


def _no_handshake(address: EngineAddress, reason: str) -> EngineUnreachable:
    """Something listens there and does not answer as an engine does."""
    hint = None if address.secure else f"if it speaks TLS, use wss://{address.authority}{address.path}"
    return _unreachable(address, reason, hint=hint)


def _unreachable(address: EngineAddress, reason: str, *, hint: str | None = None) -> EngineUnreachable:
    """Nothing, or nothing useful, is at the address."""
    message = f"no engine at {address.url} ({reason})"
    if hint is None and "certificate required" in reason:  # an alert of TLS
        hint = "it wants a certificate of yours: --cert FILE --key FILE"
    if hint is not None:
        return _caused(message, hint)
    if address.is_loopback:
        return EngineUnreachable(message, hint="start one: `iii engine run`, or set III_URL")
    return EngineUnreachable(message, hint="is III_URL right, and is the engine running?")


def _caused(message: str, hint: str) -> EngineUnreachable:
    failure = EngineUnreachable(message, hint=hint)
    failure.has_cause = True
    return failure


def _refusal(status: int, address: EngineAddress, what: str) -> Failure:
    """An HTTP answer in place of the upgrade (docs: protocol, "Listener")."""
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
    return _no_handshake(address, f"it answers HTTP {status}, not as an engine does")


def word_for(error: OSError) -> str:
    """`connection refused`: the system's message, as part of a sentence."""
    reason = getattr(error, "reason", None)  # of an SSLError
    if isinstance(reason, str) and reason:
        return reason.replace("_", " ").lower()
    if isinstance(error, socket.gaierror) or error.errno is None:
        return (error.strerror or str(error) or type(error).__name__).lower()
    return os.strerror(error.errno).lower()

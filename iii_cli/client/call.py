"""One call on a blocking connection."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

from msgspec.structs import replace

from iii_cli.errors import EngineUnreachable, FunctionFailed, NotAuthorised, PeerMisbehaved, TimedOut
from iii_cli.net.blocking import open_blocking
from iii_cli.net.dialing import ConnectionLost
from iii_cli.protocol.frames import ENGINE_FRAME_MAX, Opcode
from iii_cli.protocol.messages import (
    ErrorMessage,
    InvocationResult,
    InvokeFunction,
    Ping,
    Pong,
    encode,
    read_message,
    result_of,
)
from iii_cli.protocol.refs import ChannelRef, MalformedRef

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

    from iii_cli.net.blocking import TlsSession
    from iii_cli.protocol.messages import Action, Message
    from iii_cli.protocol.refs import Endpoint

__all__ = (
    "CALL_SECONDS",
    "BlockingCaller",
    "BlockingConnection",
    "call",
    "create_channel",
    "encoded",
    "new_stream_id",
    "new_uuid",
    "read_created",
    "refused",
    "send_void",
)


def new_uuid() -> str:
    """A random UUID (RFC 9562, version 4), without the price of importing `uuid`."""
    text = os.urandom(15).hex()
    return f"{text[:8]}-{text[8:12]}-4{text[12:15]}-a{text[15:18]}-{text[18:]}"


def new_stream_id() -> str:
    """128 random bits in hex, the name of one sealed stream (docs: seal, "Frames")."""
    return os.urandom(16).hex()


CALL_SECONDS = 30.0  # every SDK's default, and the engine CLI's


def call(
    endpoint: Endpoint,
    function_id: str,
    data: Any,
    *,
    namespace: str | None = None,
    timeout: float | None = CALL_SECONDS,
    whole: bool = False,
    metadata: Any = None,
    action: Action | None = None,
    traceparent: str | None = None,
    baggage: str | None = None,
) -> Any:
    """Call a function and return its result.

    `timeout` in seconds, counted from the connection, or from now: then it is the `whole` of it. None: no
    limit.

    Raises FunctionFailed for an error that the function or the engine answered, TimedOut, EngineUnreachable,
    NotAuthorised.
    """
    request = InvokeFunction.of(
        function_id,
        data,
        invocation_id=new_uuid(),
        action=action,
        metadata=metadata,
        namespace=namespace,
        traceparent=traceparent,
        baggage=baggage,
    )
    with (
        _within(endpoint, timeout, f"no answer from {function_id}") as end,
        BlockingConnection(endpoint, end if whole else None) as connection,
    ):
        return connection.exchange(request, end if whole else _end_of(timeout))


def send_void(
    endpoint: Endpoint, request: InvokeFunction, *, timeout: float | None = CALL_SECONDS, whole: bool = False
) -> None:
    """Send a call that nobody answers, and wait until the engine has read it. Limits as of `call`.

    The engine reads a connection in order, so its answer to a ping behind the call says that it has the call.
    Raises TimedOut, EngineUnreachable, NotAuthorised.
    """
    with (
        _within(endpoint, timeout, "the engine did not take the call") as end,
        BlockingConnection(endpoint, end if whole else None) as connection,
    ):
        end = end if whole else _end_of(timeout)
        connection.send(request, end)
        connection.ping(end)


def create_channel(
    endpoint: Endpoint,
    buffer_size: int | None = None,
    *,
    timeout: float | None = CALL_SECONDS,
    whole: bool = False,
) -> tuple[ChannelRef, ChannelRef]:
    """A new channel's writer and reader ref (docs: protocol, "Channels"). Limits and errors as of `call`."""
    data = {} if buffer_size is None else {"buffer_size": buffer_size}
    return read_created(call(endpoint, "engine::channels::create", data, timeout=timeout, whole=whole))


@final
class BlockingCaller:
    """Calls one after another over one connection. After a loss the next one makes it anew."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._connection: BlockingConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(self, function_id: str, data: Any, *, timeout: float) -> Any:
        """As the function `call`; the connection, where it is made, within `timeout` too."""
        request = InvokeFunction.of(function_id, data, invocation_id=new_uuid())
        with _within(self._endpoint, timeout, f"no answer from {function_id}") as end:
            if self._connection is None:
                patience = min(self._endpoint.connect_timeout or timeout, timeout)
                self._connection = BlockingConnection(replace(self._endpoint, connect_timeout=patience))
            try:
                return self._connection.exchange(request, end)
            except ConnectionLost:
                self.__exit__()
                raise


@final
class BlockingConnection:
    """A connection without an event loop, for one call after the other. A context manager that drops it.

    A `deadline` is on the monotonic clock, in seconds; it ends a method with TimeoutError.
    """

    def __init__(self, endpoint: Endpoint, deadline: float | None = None) -> None:
        """Connect. Raises EngineUnreachable, NotAuthorised, LocalProblem, TimeoutError."""
        self._endpoint = endpoint
        self._ws = open_blocking(endpoint, endpoint.address.worker_target(), what="engine", deadline=deadline)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection. Safe to repeat."""
        self._ws.close()

    def tls_session(self) -> TlsSession | None:
        """What protects the connection; None: nothing does."""
        return self._ws.tls_session()

    def exchange(self, request: InvokeFunction, deadline: float | None) -> Any:
        """Send a call and wait for its result.

        Raises FunctionFailed, NotAuthorised, PeerMisbehaved, TimeoutError, ConnectionLost.
        """
        self.send(request, deadline)
        while True:
            for message in self._messages(deadline):
                if isinstance(message, InvocationResult) and message.invocation_id == request.invocation_id:
                    return result_of(message)

    def send(self, message: Message, deadline: float | None) -> None:
        """Send one message. Raises FunctionFailed for one that is too large, TimeoutError, ConnectionLost."""
        self._ws.trail.message(message)
        self._ws.send(Opcode.TEXT, encoded(message), deadline)

    def ping(self, deadline: float | None) -> None:
        """Wait until the engine has read everything that was sent before (docs: protocol, "Keepalive").

        Raises as `exchange`.
        """
        self._ws.send(Opcode.TEXT, encode(Ping()), deadline)
        while not any(isinstance(message, Pong) for message in self._messages(deadline)):
            pass

    def _messages(self, deadline: float | None) -> list[Message]:
        messages: list[Message] = []
        for opcode, payload, _ in self._ws.receive(deadline):
            if opcode == Opcode.PING:
                self._ws.send(Opcode.PONG, payload, deadline)
            elif opcode == Opcode.CLOSE:
                raise ConnectionLost("the engine closed the connection")
            elif opcode == Opcode.TEXT:
                message = read_message(bytes(payload))
                if isinstance(message, ErrorMessage):
                    raise refused(self._endpoint, message)
                if message is not None:
                    messages.append(message)
        return messages


@contextmanager
def _within(endpoint: Endpoint, timeout: float | None, late: str) -> Iterator[float | None]:
    """When that time is over, on the monotonic clock. `late` begins what is said then."""
    try:
        yield _end_of(timeout)
    except TimeoutError:
        raise TimedOut(f"{late} within {timeout:g} s") from None
    except ConnectionLost as lost:
        text = f"the engine at {endpoint.address.url} was lost during the call ({lost.reason})"
        raise EngineUnreachable(text) from None


def _end_of(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


# For connections with and without an event loop


def read_created(result: Any) -> tuple[ChannelRef, ChannelRef]:
    """The refs in the answer of `engine::channels::create`. Raises PeerMisbehaved."""
    try:
        return ChannelRef.from_json(result["writer"]), ChannelRef.from_json(result["reader"])
    except (MalformedRef, LookupError, TypeError):
        raise PeerMisbehaved("the engine's answer to engine::channels::create holds no refs") from None


def encoded(message: Message) -> bytes:
    """The payload of a frame with that message.

    Raises FunctionFailed `payload_too_large` for one that the engine would not read.
    """
    payload = encode(message)
    if len(payload) > ENGINE_FRAME_MAX:
        raise FunctionFailed(
            "payload_too_large",
            f"the message has {len(payload)} bytes, the engine takes {ENGINE_FRAME_MAX}; use a channel",
        )
    return payload


def refused(endpoint: Endpoint, message: ErrorMessage) -> NotAuthorised:
    """What the in-band `error` message behind a 101 means (docs: protocol, "Listener")."""
    return NotAuthorised(
        f"{endpoint.address.url} refused us: {message.error.message}", hint="set III_TOKEN or --token-file"
    )

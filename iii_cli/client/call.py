"""One call on a blocking connection, and what a connection on the event loop shares with it."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

from msgspec.structs import replace

from iii_cli.errors import EngineUnreachable, FunctionFailed, NotAuthorised, PeerMisbehaved, TimedOut
from iii_cli.net.blocking import BlockingWebSocket
from iii_cli.net.dialing import ConnectionLost
from iii_cli.protocol.frames import ENGINE_FRAME_MAX, Opcode
from iii_cli.protocol.messages import (
    ErrorMessage,
    InvocationResult,
    InvokeFunction,
    Ping,
    Pong,
    Void,
    encode,
    read_message,
    result_of,
)
from iii_cli.protocol.refs import ChannelRef, MalformedRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from iii_cli.protocol.frames import Event
    from iii_cli.protocol.messages import Message
    from iii_cli.protocol.refs import Endpoint

__all__ = (
    "CALL_SECONDS",
    "BlockingCaller",
    "BlockingConnection",
    "call",
    "create_channel",
    "encoded",
    "messages_in",
    "new_stream_id",
    "new_uuid",
    "read_created",
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
    void: bool = False,
    metadata: Any = None,
    traceparent: str | None = None,
) -> Any:
    """Call a function and return its result.

    `timeout` in seconds, counted from the connection, or from now: then it is the `whole` of it. None: no
    limit. A `void` call is one that nobody answers; it returns None once the engine has read the call.

    Raises FunctionFailed for an error that the function or the engine answered, TimedOut, EngineUnreachable,
    NotAuthorised.
    """
    request = InvokeFunction.of(
        function_id,
        data,
        invocation_id=None if void else new_uuid(),
        action=Void() if void else None,
        metadata=metadata,
        namespace=namespace,
        traceparent=traceparent,
    )
    late = "the engine did not take the call" if void else f"no answer from {function_id}"
    with (
        _within(endpoint, timeout, late) as end,
        BlockingConnection(endpoint, end if whole else None) as connection,
    ):
        return connection.exchange(request, end if whole else _end_of(timeout))


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
class BlockingConnection(BlockingWebSocket):
    """A connection without an event loop, for one call after the other. A context manager that drops it.

    A `deadline` is on the monotonic clock, in seconds; it ends a method with TimeoutError.
    """

    def __init__(self, endpoint: Endpoint, deadline: float | None = None) -> None:
        """Connect. Raises EngineUnreachable, NotAuthorised, LocalProblem, TimeoutError."""
        super().__init__(endpoint, endpoint.address.worker_target(), what="engine", deadline=deadline)
        self._endpoint = endpoint

    def exchange(self, request: InvokeFunction, deadline: float | None) -> Any:
        """Send a call and wait for its result, or where it has none until the engine has read it.

        Raises FunctionFailed, also for a call that is too large, NotAuthorised, PeerMisbehaved, TimeoutError,
        ConnectionLost.
        """
        self.trail.message(request)
        self.send(Opcode.TEXT, encoded(request), deadline)
        if request.invocation_id is None:
            return self.ping(deadline)
        while True:
            for message in self._messages(deadline):
                if isinstance(message, InvocationResult) and message.invocation_id == request.invocation_id:
                    return result_of(message)

    def ping(self, deadline: float | None) -> None:
        """Wait until the engine has read everything that was sent before (docs: protocol, "Keepalive").

        Raises as `exchange`.
        """
        self.send(Opcode.TEXT, encode(Ping()), deadline)
        while not any(isinstance(message, Pong) for message in self._messages(deadline)):
            pass

    def _messages(self, deadline: float | None) -> Iterator[Message]:
        def answer(payload: bytes) -> None:
            self.send(Opcode.PONG, payload, deadline)

        return messages_in(self.receive(deadline), self._endpoint, answer)


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


def messages_in(
    events: Iterable[Event], endpoint: Endpoint, answer: Callable[[bytes], None]
) -> Iterator[Message]:
    """The messages of the events, in order; what is none is ignored. `answer` gets the payload of each ping.

    Raises what comes behind them: ConnectionLost, PeerMisbehaved, and NotAuthorised for the in-band `error`
    behind a 101 (docs: protocol, "Listener").
    """
    for opcode, payload, _ in events:
        if opcode == Opcode.PING:
            answer(bytes(payload))
        elif opcode == Opcode.CLOSE:
            raise ConnectionLost("the engine closed the connection")
        elif opcode in (Opcode.TEXT, Opcode.BINARY):
            message = read_message(bytes(payload))
            if isinstance(message, ErrorMessage):
                text = f"{endpoint.address.url} refused us: {message.error.message}"
                raise NotAuthorised(text, hint="set III_TOKEN or --token-file")
            if message is not None:
                yield message


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

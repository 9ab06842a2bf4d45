"""One call on a blocking connection."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

from msgspec.structs import replace

from iii_cli.errors import EngineUnreachable, FunctionFailed, NotAuthorised, PeerMisbehaved, TimedOut
from iii_cli.net.blocking import BlockingWebSocket, open_blocking
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

    from iii_cli.protocol.messages import Action, Message
    from iii_cli.protocol.refs import Endpoint

__all__ = (
    "CALL_SECONDS",
    "BlockingCaller",
    "call",
    "create_channel",
    "encoded",
    "exchange",
    "new_stream_id",
    "new_uuid",
    "ping",
    "read_created",
    "refused",
    "send_void",
)


def new_uuid() -> str:
    """A random UUID (RFC 9562, version 4), without the price of importing `uuid`."""
    value = int.from_bytes(os.urandom(16), "big")
    value = value & ~(0xF << 76) | 4 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_stream_id() -> str:
    """128 random bits in hex, the name of one sealed stream (design.md section 4)."""
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
    late = f"no answer from {function_id}"
    with _conversation(endpoint, timeout, late, whole=whole) as (ws, deadline):
        return exchange(ws, endpoint, request, deadline)


@final
class BlockingCaller:
    """Calls one after another over one connection. After a loss the next one makes it anew."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._ws: BlockingWebSocket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._ws is not None:
            self._ws.close()
            self._ws = None

    def call(self, function_id: str, data: Any, *, timeout: float) -> Any:
        """As the function `call`; the connection, where it is made, within `timeout` too."""
        deadline = _end_of(timeout)
        if self._ws is None:
            patience = min(self._endpoint.connect_timeout or timeout, timeout)
            endpoint = replace(self._endpoint, connect_timeout=patience)
            self._ws = open_blocking(endpoint, endpoint.address.worker_target(), what="engine")
        request = InvokeFunction.of(function_id, data, invocation_id=new_uuid())
        try:
            return exchange(self._ws, self._endpoint, request, deadline)
        except TimeoutError:
            raise _too_late(f"no answer from {function_id}", timeout) from None
        except ConnectionLost as lost:
            self.__exit__()
            raise _lost(self._endpoint, lost.reason) from None


def send_void(
    endpoint: Endpoint, request: InvokeFunction, *, timeout: float | None = CALL_SECONDS, whole: bool = False
) -> None:
    """Send a call that nobody answers, and wait until the engine has read it. Limits as of `call`.

    The engine reads a connection in order, so its answer to a `ping` behind the call says that it has the
    call. Raises TimedOut, EngineUnreachable, NotAuthorised.
    """
    with _conversation(endpoint, timeout, "the engine did not take the call", whole=whole) as (ws, deadline):
        ws.trail.message(request)
        ws.send(Opcode.TEXT, encoded(request), deadline)
        ping(ws, endpoint, deadline)


def exchange(
    ws: BlockingWebSocket, endpoint: Endpoint, request: InvokeFunction, deadline: float | None
) -> Any:
    """Send a call and wait for its result. `deadline` is on the monotonic clock, in seconds.

    Raises FunctionFailed, NotAuthorised, TimeoutError, ConnectionLost.
    """
    ws.trail.message(request)
    ws.send(Opcode.TEXT, encoded(request), deadline)
    return _await_result(ws, request.invocation_id, endpoint, deadline)


def ping(ws: BlockingWebSocket, endpoint: Endpoint, deadline: float | None) -> None:
    """Wait until the engine has read everything that was sent before (protocol.md 1.5). Raises as
    `exchange`.
    """
    ws.send(Opcode.TEXT, encode(Ping()), deadline)
    while not any(isinstance(message, Pong) for message in _messages(ws, endpoint, deadline)):
        pass


def create_channel(
    endpoint: Endpoint,
    buffer_size: int | None = None,
    *,
    timeout: float | None = CALL_SECONDS,
    whole: bool = False,
) -> tuple[ChannelRef, ChannelRef]:
    """A new channel's writer and reader ref (protocol.md 3.1). Limits and errors as of `call`."""
    data = {} if buffer_size is None else {"buffer_size": buffer_size}
    return read_created(call(endpoint, "engine::channels::create", data, timeout=timeout, whole=whole))


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


@contextmanager
def _conversation(
    endpoint: Endpoint, timeout: float | None, late: str, *, whole: bool
) -> Iterator[tuple[BlockingWebSocket, float | None]]:
    """A connection, and when it must be done, on the monotonic clock. `late` begins what is said then."""
    deadline = _end_of(timeout)
    try:
        with open_blocking(
            endpoint, endpoint.address.worker_target(), what="engine", deadline=deadline if whole else None
        ) as ws:
            yield ws, deadline if whole else _end_of(timeout)
    except TimeoutError:
        raise _too_late(late, timeout) from None
    except ConnectionLost as lost:
        raise _lost(endpoint, lost.reason) from None


def _end_of(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _too_late(late: str, timeout: float | None) -> TimedOut:
    return TimedOut(f"{late} within {timeout:g} s")


def _await_result(
    ws: BlockingWebSocket, invocation_id: str | None, endpoint: Endpoint, deadline: float | None
) -> Any:
    while True:
        for message in _messages(ws, endpoint, deadline):
            if isinstance(message, InvocationResult) and message.invocation_id == invocation_id:
                return result_of(message)


def _messages(ws: BlockingWebSocket, endpoint: Endpoint, deadline: float | None) -> list[Message]:
    messages: list[Message] = []
    for opcode, payload, _ in ws.receive(deadline):
        if opcode == Opcode.PING:
            ws.send(Opcode.PONG, payload, deadline)
        elif opcode == Opcode.CLOSE:
            raise ConnectionLost("the engine closed the connection")
        elif opcode == Opcode.TEXT:
            message = read_message(bytes(payload))
            if message is None:
                continue
            if isinstance(message, ErrorMessage):
                raise refused(endpoint, message)
            messages.append(message)
    return messages


def refused(endpoint: Endpoint, message: ErrorMessage) -> NotAuthorised:
    """The in-band `error` frame after a 101 (protocol.md 1.2)."""
    return NotAuthorised(
        f"{endpoint.address.url} refused us: {message.error.message}", hint="set III_TOKEN or --token-file"
    )


def _lost(endpoint: Endpoint, reason: str) -> EngineUnreachable:
    return EngineUnreachable(f"the engine at {endpoint.address.url} was lost during the call ({reason})")

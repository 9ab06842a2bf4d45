"""A function of ours: its handler, the live ends that come with a call, and what the caller hears."""

from __future__ import annotations

import inspect
import re
import traceback
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
from msgspec import Struct

from iii_cli.client.channels import ChannelReader, ChannelWriter
from iii_cli.errors import Failure, FunctionFailed, NameTaken
from iii_cli.protocol.json_text import parse, to_raw
from iii_cli.protocol.messages import ErrorBody, InvokeFunction, RegisterFunction
from iii_cli.protocol.refs import ChannelRef, MalformedRef, is_ref

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iii_cli.protocol.json_text import Raw

    Handler: TypeAlias = Callable[..., Awaitable[Any]]
    Open: TypeAlias = Callable[[ChannelRef], ChannelReader | ChannelWriter]

__all__ = ("Call", "Function", "Handler", "current_call", "error_body", "unwrapped", "with_refs")

CALLER_KEY = "_caller_worker_id"  # the engine puts it into every payload that is an object
_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class Call(Struct, frozen=True):
    """What a handler may know of a call beside its payload."""

    function_id: str
    invocation_id: str | None  # None: nobody hears the result
    caller_worker_id: str | None
    metadata: Any = None
    traceparent: str | None = None
    baggage: str | None = None


class Function(Struct, eq=False):
    """What a worker serves. `taken`: another worker of the namespace has the name."""

    message: RegisterFunction
    handler: Handler
    live: bool
    keep_ends: bool
    wants_call: bool = False
    announced: bool = False  # on the present connection
    taken: NameTaken | None = None

    def __post_init__(self) -> None:
        """Raises TypeError for what cannot be a handler."""
        self.wants_call = _takes_two(self.handler)

    async def answer(self, message: InvokeFunction, open_one: Open) -> Raw:
        """Run the handler and return its result. Raises what it raises, and FunctionFailed.

        Ends of the payload that are still open are closed. `open_one` makes the live end of a ref.
        """
        data, caller = parse(message.data), None
        if isinstance(data, dict) and isinstance(data.get(CALLER_KEY), str):
            caller = data.pop(CALLER_KEY)
        call = Call(
            message.function_id,
            message.invocation_id,
            caller,
            parse(message.metadata),
            message.traceparent,
            message.baggage,
        )
        ends = _Ends(call, open_one)
        reset = _current.set(ends)
        left = "the function failed"
        try:
            payload = ends.hydrate(data) if self.live else data
            result = self.handler(payload, call) if self.wants_call else self.handler(payload)
            if inspect.isawaitable(result):
                result = await result
            result = with_refs(result)
            left = "" if self.keep_ends else "the function ended without finishing its stream"
        finally:
            _current.reset(reset)
            if left:
                await ends.close(left)
        try:
            return to_raw(result)
        except (TypeError, ValueError) as problem:
            raise FunctionFailed("invocation_failed", f"the result is not JSON: {problem}") from None


_current: ContextVar[_Ends | None] = ContextVar("iii_current_call", default=None)


def current_call() -> Call | None:
    """The call that the running handler answers; None outside of handlers."""
    ends = _current.get()
    return ends.call if ends else None


class _Ends:
    """The live ends that came with one call."""

    def __init__(self, call: Call, open_one: Open) -> None:
        self.call = call
        self._open_one = open_one
        self._held: list[ChannelReader | ChannelWriter] = []

    def hydrate(self, value: Any) -> Any:
        """`value` with every ref, at any depth, as a ChannelReader or ChannelWriter."""
        if is_ref(value):
            with suppress(MalformedRef):
                end = self._open_one(ChannelRef.from_json(value))
                self._held.append(end)
                return end
            return value
        if isinstance(value, dict):
            return {key: self.hydrate(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.hydrate(item) for item in value]
        return value

    def hand_on(self, end: ChannelReader | ChannelWriter) -> None:
        """The handler passed this end on: it is no longer ours to close."""
        self._held = [held for held in self._held if held is not end]

    async def close(self, reason: str) -> None:
        """Let go of what the handler left open. A writer that was not finished is aborted with `reason`.

        Also one that was never used: a reader somewhere would wait for it until the engine's sweep. Bounded
        in time, also where it is cancelled.
        """
        for end in self._held:
            if isinstance(end, ChannelReader):
                end.leave()
            else:
                await end.give_up(1, reason)


def with_refs(value: Any) -> Any:
    """`value` with every live end and ref as the plain object that goes over the wire.

    An end that came with the running call is handed on: from now on somebody else uses it.
    """
    if isinstance(value, ChannelRef):
        return value.to_json()
    if isinstance(value, (ChannelReader, ChannelWriter)):
        ends = _current.get()
        if ends is not None:
            ends.hand_on(value)
        return value.ref.to_json()
    if isinstance(value, dict):
        return {key: with_refs(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_refs(item) for item in value]
    return value


def error_body(problem: BaseException) -> ErrorBody:
    """What the caller hears of an exception.

    A FunctionFailed as it is; another Failure by its class, `StreamTruncated` as `stream_truncated`; what
    else carries a `code` that is a string under that; the rest as `invocation_failed`, with its traceback.
    """
    problem = unwrapped(problem)
    if isinstance(problem, (anyio.BrokenResourceError, anyio.ClosedResourceError)) and problem.__cause__:
        problem = problem.__cause__
    if isinstance(problem, FunctionFailed):
        return ErrorBody(problem.code, problem.remote_message, problem.stacktrace)
    if isinstance(problem, Failure):
        return ErrorBody(_WORD.sub("_", type(problem).__name__).lower(), problem.message)
    code = getattr(problem, "code", None)
    return ErrorBody(
        code if isinstance(code, str) and code else "invocation_failed",
        str(problem) or type(problem).__name__,
        "".join(traceback.format_exception(problem)),
    )


def unwrapped(error: BaseException) -> BaseException:
    """The one exception in a group of one, however deep; otherwise the error itself."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _takes_two(handler: Handler) -> bool:
    """Does the handler want the Call beside the payload? Raises TypeError for what cannot be one."""
    try:
        signature = inspect.signature(handler)
    except ValueError:  # written in C, without a signature
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in signature.parameters.values() if p.kind in kinds and p.default is p.empty]
    if len(required) > 2:
        raise TypeError("a handler takes the payload, or the payload and the Call")
    return len(required) == 2

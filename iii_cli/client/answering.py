"""Calls of others, answered: each in a task of its own, a bounded number at once."""

from __future__ import annotations

import inspect
import re
import traceback
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple, final

import anyio

from iii_cli.client.live import Ends, without_ends
from iii_cli.client.session import Call, split_caller
from iii_cli.errors import EngineUnreachable, Failure, FunctionFailed
from iii_cli.wire.messages import ErrorBody, InvocationResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from iii_cli.client.link import Link
    from iii_cli.client.reader import ChannelReader
    from iii_cli.client.session import Functions, Registration
    from iii_cli.client.writer import ChannelWriter
    from iii_cli.wire.messages import InvokeFunction
    from iii_cli.wire.ref import ChannelRef

__all__ = ("BUSY", "Answering", "error_body", "unwrapped")

BUSY = "too_many_calls"
_WORD = re.compile(r"(?<!^)(?=[A-Z])")


class _Running(NamedTuple):
    call: Call
    ends: Ends


_current: ContextVar[_Running | None] = ContextVar("iii_current_call", default=None)


@final
class Answering:
    """Runs the handlers of one worker."""

    def __init__(
        self,
        functions: Functions,
        open_one: Callable[[ChannelRef], ChannelReader | ChannelWriter],
        *,
        limit: int,
    ) -> None:
        self._functions = functions
        self._open_one = open_one
        self._limit = limit
        self._scopes: set[anyio.CancelScope] = set()
        self._fewer = anyio.Event()
        self.running = 0  # accepted, and not yet done with its clean-up
        self.answered = 0
        self.refused = 0

    @property
    def current(self) -> Call | None:
        """The call that the running handler answers; None outside of handlers."""
        running = _current.get()
        return running.call if running else None

    def hand_on(self, end: Any) -> None:
        """The running handler passed a live end on."""
        running = _current.get()
        if running is not None:
            running.ends.hand_on(end)

    def stop(self) -> None:
        """Cancel every handler: its caller is gone, or has been told so."""
        for scope in self._scopes:
            scope.cancel()

    def accept(self) -> bool:
        """May one more be answered? Then `answer` has to be run."""
        if self.running >= self._limit:
            return False
        self.running += 1
        return True

    async def answer(self, link: Link, message: InvokeFunction) -> None:
        """Run the handler and send what came of it. Nothing that a handler raises gets out of here."""
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                reply = await self._outcome(message)
                self.answered += 1
                if reply is not None:
                    await _send_reply(link, reply)
            except EngineUnreachable:
                return  # nobody is there to hear it
            finally:
                self._scopes.discard(scope)
                self.running -= 1
                self._fewer.set()

    async def idle(self) -> None:
        """Wait until no call is being answered."""
        while self.running:
            self._fewer = anyio.Event()
            await self._fewer.wait()

    async def refuse(self, link: Link, message: InvokeFunction) -> None:
        """Say that there are too many. Raises EngineUnreachable."""
        self.refused += 1
        if message.invocation_id is not None:
            body = ErrorBody(BUSY, f"this worker answers {self._limit} calls at once; try again later")
            await link.send(InvocationResult(message.invocation_id, message.function_id, error=body))

    async def _outcome(self, message: InvokeFunction) -> InvocationResult | None:
        result: Any = None
        error: ErrorBody | None = None
        registration = self._functions.get(message.function_id)
        if registration is None:
            error = ErrorBody("function_not_found", "Function not found")
        else:
            try:
                result = await self._run(registration, message)
            except Exception as problem:
                error = error_body(problem)
        if message.invocation_id is None:
            return None
        return InvocationResult(message.invocation_id, message.function_id, result, error)

    async def _run(self, registration: Registration, message: InvokeFunction) -> Any:
        data, caller = split_caller(message.data)
        call = Call(
            function_id=message.function_id,
            invocation_id=message.invocation_id,
            caller_worker_id=caller,
            metadata=message.metadata,
            traceparent=message.traceparent,
            baggage=message.baggage,
        )
        ends = Ends(self._open_one)
        reset = _current.set(_Running(call, ends))
        left = "the function failed"
        try:
            payload = ends.enliven(data) if registration.live else data
            result = (
                registration.handler(payload, call)
                if registration.wants_call
                else registration.handler(payload)
            )
            if inspect.isawaitable(result):
                result = await result
            result = without_ends(result, ends.hand_on)
            left = "" if registration.keep_ends else "the function ended without finishing its stream"
        finally:
            _current.reset(reset)
            if left:
                await ends.close(left)
        return result


def unwrapped(error: BaseException) -> BaseException:
    """The one exception in a group of one, however deep; otherwise the error itself."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _send_reply(link: Link, reply: InvocationResult) -> None:
    try:
        await link.send(reply)
    except (FunctionFailed, TypeError, ValueError) as problem:
        error = error_body(problem)
        if not isinstance(problem, FunctionFailed):
            error = ErrorBody("invocation_failed", f"the result is not JSON: {problem}")
        await link.send(InvocationResult(reply.invocation_id, reply.function_id, error=error))


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

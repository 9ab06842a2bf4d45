"""Calls and their answers (protocol.md 2.3-2.5): who hears what, decided without sending anything.

Theory of operation. A call gets an Invocation, which is kept under the id that its executor was told until
somebody answers that id or either side is gone. The caller's own id is used where it gave one, so ids are
unique engine-wide: a second call of the same id takes the place of the first, whose caller is told, as on the
real engine (14.4). Nobody is told an id for a built-in, so those have one that no worker can know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii_cli.engine.baggage import baggage_for
from iii_cli.engine.call import LATER, Call, Refusal
from iii_cli.engine.invocation import Invocation
from iii_cli.engine.spans import parse_traceparent
from iii_cli.engine.worker import DEFAULT_NAMESPACE, Worker
from iii_cli.protocol.messages import Enqueue, ErrorBody, InvocationResult, InvokeFunction

if TYPE_CHECKING:
    from iii_cli.engine.registry import Function
    from iii_cli.engine.spans import Span, TraceContext
    from iii_cli.engine.state import EngineState

__all__ = ("Router",)

QUEUE_FUNCTION = "engine::queue::enqueue"
STOPPED = ErrorBody("invocation_stopped", "Invocation stopped")
REPLACED = ErrorBody("invocation_error", "channel closed")


class Router:
    """The calls under way."""

    def __init__(self, state: EngineState) -> None:
        self._state = state
        self._pending: dict[str, Invocation] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def invoke(self, caller: Worker, message: InvokeFunction, now: int) -> None:
        """A worker calls a function."""
        namespace = message.namespace
        if namespace is None:
            namespace = DEFAULT_NAMESPACE
        elif not namespace.strip():
            self._refuse(caller, message, ErrorBody("INVALID_NAMESPACE", "namespace must not be blank"))
            return
        if len(caller.calling) >= self._state.settings.max_in_flight:
            text = "Too many calls are in flight"
            self._state.notice("call refused", worker=caller.id, reason=text)
            self._refuse(caller, message, ErrorBody("too_many_invocations", text))
            return
        if type(message.action) is Enqueue:
            self._enqueue(caller, message, message.action.queue, now)
            return
        function = self._state.registry.find(namespace, message.function_id)
        if function is None:
            self._refuse(caller, message, self._not_found(message.function_id, namespace))
            return
        reply_id = None if message.action is not None else message.invocation_id
        invocation = Invocation(
            (function.run is None and message.invocation_id) or self._state.new_id(),
            reply_id,
            message.function_id,
            caller,
            function.owner,
            message.traceparent,
            message.baggage,
            parse_traceparent(message.traceparent),
        )
        self._begin(invocation, function, now)
        if type(message.data) is dict:
            message.data["_caller_worker_id"] = caller.id
        if function.run is not None:
            self._run(function, Call(invocation, caller, message.data, now))
            return
        self._forward(function, invocation, message.data, message.metadata)

    def answered(self, message: InvocationResult, now: int) -> None:
        """Somebody answers a call; nobody checks that it is the executor. An unknown id means nothing."""
        invocation = self._pending.get(message.invocation_id)
        if invocation is not None:
            self.answer(invocation, now, message.result, message.error)

    def answer(
        self, invocation: Invocation, now: int, result: Any = None, error: ErrorBody | None = None
    ) -> None:
        """The call is over. Means nothing where it was over before."""
        if self._pending.get(invocation.id) is not invocation:
            return
        self._forget(invocation, now, error)
        caller = invocation.caller
        if caller is None or invocation.reply_id is None:
            return
        if invocation.receipt is not None:
            result = {"messageReceiptId": invocation.receipt}
            error = None if error is None else ErrorBody("enqueue_error", error.message)
        self._state.send(
            caller,
            InvocationResult(
                invocation.reply_id,
                invocation.function_id,
                None if error is not None else result,
                error,
                invocation.traceparent,
                invocation.baggage,
            ),
        )

    def halt(self, worker: Worker, now: int) -> None:
        """A worker is gone: what it called is forgotten, what it executed is stopped (2.5)."""
        for invocation in list(worker.calling):
            self._forget(invocation, now, STOPPED)  # it may be among the executed ones too
        for invocation in list(worker.executing):
            self.answer(invocation, now, error=STOPPED)

    def _begin(self, invocation: Invocation, function: Function, now: int) -> None:
        """Keep the invocation, in the place of another one of its id."""
        replaced = self._pending.get(invocation.id)
        if replaced is not None:
            self.answer(replaced, now, error=REPLACED)
        if invocation.trace is not None and invocation.caller is not None:
            invocation.span = self._begin_span(invocation.caller, invocation.trace, invocation, function, now)
        self._pending[invocation.id] = invocation
        if invocation.caller is not None:
            invocation.caller.calling.add(invocation)
        if invocation.executor is not None:
            invocation.executor.executing.add(invocation)
            if invocation.trace is not None:
                invocation.executor.executing_in[invocation.trace] = invocation

    def _begin_span(
        self, caller: Worker, trace: TraceContext, invocation: Invocation, function: Function, now: int
    ) -> Span:
        """The span of a call, beneath the one that it happens in.

        Workers pass on the traceparent that they were given. So a call from a worker that is executing
        another one of the same traceparent belongs into that one's span.
        """
        running = caller.executing_in.get(trace)
        parent = trace if running is None or running.span is None else running.span.context
        owner = function.owner
        return self._state.spans.begin(
            parent,
            f"call {function.id}",
            now,
            ("iii.function.id", function.id),
            ("iii.namespace", function.namespace),
            ("iii.worker.name", function.worker_name),
            ("iii.worker.id", owner.id if owner else None),
            ("iii.caller.name", caller.name),
            ("iii.caller.id", caller.id),
            ("iii.invocation.id", invocation.reply_id or invocation.id),
        )

    def _forget(self, invocation: Invocation, now: int, error: ErrorBody | None) -> None:
        del self._pending[invocation.id]
        if invocation.caller is not None:
            invocation.caller.calling.discard(invocation)
        if invocation.executor is not None:
            invocation.executor.executing.discard(invocation)
            if (trace := invocation.trace) and invocation.executor.executing_in.get(trace) is invocation:
                del invocation.executor.executing_in[trace]
        if invocation.span is not None:
            text = None if error is None else f"{error.code}: {error.message}"
            self._state.spans.end(invocation.span, now, error=text)

    def _run(self, function: Function, call: Call) -> None:
        assert function.run is not None
        try:
            result = function.run(call)
        except Refusal as refusal:
            self.answer(call.invocation, call.now, error=refusal.body)
        else:
            if result is not LATER:
                self.answer(call.invocation, call.now, result)

    def _forward(self, function: Function, invocation: Invocation, data: Any, metadata: Any) -> None:
        assert function.owner is not None
        traced = invocation.baggage is not None or invocation.traceparent is not None
        call = InvokeFunction(
            function.id,
            data,
            invocation.id,
            metadata=metadata,
            traceparent=None if invocation.trace is None else invocation.trace.traceparent,
            baggage=baggage_for(function.id, invocation.baggage) if traced else None,
        )
        self._state.send(function.owner, call)

    def _enqueue(self, caller: Worker, message: InvokeFunction, queue: str, now: int) -> None:
        """2.3, `enqueue`: a queue worker takes the call, and its receipt is the answer."""
        function = self._state.registry.find(DEFAULT_NAMESPACE, QUEUE_FUNCTION)
        if function is None or function.owner is None:
            text = f"Function {QUEUE_FUNCTION} not found: no queue worker is connected"
            self._refuse(caller, message, ErrorBody("enqueue_error", text))
            return
        receipt = self._state.new_id()
        data: dict[str, Any] = {
            "queue": queue,
            "function_id": message.function_id,
            "data": message.data,
            "messageReceiptId": receipt,
            "traceparent": message.traceparent,
            "baggage": message.baggage,
        }
        if message.namespace is not None:
            data["namespace"] = message.namespace
        invocation = Invocation(
            self._state.new_id(),
            message.invocation_id,
            message.function_id,
            caller,
            function.owner,
            message.traceparent,
            message.baggage,
            parse_traceparent(message.traceparent),
            receipt=receipt,
        )
        self._begin(invocation, function, now)
        self._forward(function, invocation, data, None)

    def _not_found(self, function_id: str, namespace: str) -> ErrorBody:
        text = f"Function {function_id} not found in namespace {namespace}."
        if others := self._state.registry.namespaces_of(function_id):
            text += f" It is registered in namespace(s): {', '.join(others)}."
        return ErrorBody("function_not_found", text)

    def _refuse(self, caller: Worker, message: InvokeFunction, error: ErrorBody) -> None:
        """A call that does not begin. Nobody hears of a void one."""
        if message.invocation_id is None or (
            message.action is not None and type(message.action) is not Enqueue
        ):
            return
        self._state.send(
            caller,
            InvocationResult(
                message.invocation_id,
                message.function_id,
                error=error,
                traceparent=message.traceparent,
                baggage=message.baggage,
            ),
        )

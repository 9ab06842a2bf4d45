"""The whole engine without a socket: something happens, deliveries come back.

`now` is in nanoseconds since the epoch and never goes backwards. Connections are numbers that the caller
chooses and does not use twice. Channels are opened through `channels`; everything else is a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from iii_cli.engine.channels import ChannelTable
from iii_cli.engine.model import (
    BLANK_NAMESPACE,
    DEFAULT_NAMESPACE,
    Announcement,
    Binding,
    Close,
    Drop,
    Function,
    Invocation,
    Send,
    Settings,
    TriggerType,
    Worker,
    is_blank,
    keep_quiet,
    worker_name,
)
from iii_cli.engine.registry import Registry, function_row
from iii_cli.engine.spans import (
    Remembered,
    SpanStore,
    baggage_for,
    context_of,
    parse_traceparent,
    traceparent_of,
)
from iii_cli.engine.triggers import FUNCTIONS_AVAILABLE, WORKERS_AVAILABLE, TriggerTable
from iii_cli.protocol.json_text import MalformedJson, parse, render, with_key
from iii_cli.protocol.messages import (
    NULL,
    Enqueue,
    ErrorBody,
    ErrorMessage,
    InvocationResult,
    InvokeFunction,
    MalformedMessage,
    Ping,
    Pong,
    Reattach,
    RegisterFunction,
    RegisterTrigger,
    RegisterTriggerType,
    RegistrationRejected,
    TriggerRegistrationResult,
    UnregisterFunction,
    UnregisterTrigger,
    UnregisterTriggerType,
    Void,
    WorkerRegistered,
    decode,
    encode,
)
from iii_cli.protocol.refs import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from iii_cli.engine.model import Delivery, Notice, Registration
    from iii_cli.protocol.messages import Message

__all__ = ("LATER", "Call", "Core", "Refusal")

TELEMETRY = (b"OTLP", b"MTRC", b"LOGS")  # how binary frames begin that are no messages
QUEUE_FUNCTION = "engine::queue::enqueue"
STOPPED = ErrorBody("invocation_stopped", "Invocation stopped")
REPLACED = ErrorBody("invocation_error", "channel closed")


LATER: Any = object()
"""What a built-in function returns when the core will be told the answer in its time."""


class Refusal(Exception):
    """A call ends with this error."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.body = ErrorBody(code, message)


class Call(Struct, eq=False):
    """What a built-in function gets to work with."""

    core: Core
    invocation: Invocation
    caller: Worker
    data: Any
    now: int


class Core:
    """One engine, which starts at `now`. `new_id` makes UUIDs; it is the only source of randomness.

    It knows the `builtins` from the start: functions of its own.
    """

    def __init__(
        self,
        new_id: Callable[[], str],
        now: int,
        builtins: Iterable[Function],
        *,
        settings: Settings | None = None,
        notice: Notice = keep_quiet,
    ) -> None:
        self.new_id = new_id
        self.settings = settings = settings or Settings()
        self.notice = notice
        self.started_at = now
        self.registry = Registry()
        self.triggers = TriggerTable(self._send)
        self.spans = SpanStore(new_id, settings.max_span_bytes)
        self.logs: Remembered[dict[str, Any]] = Remembered(settings.max_log_bytes)
        self.channels = ChannelTable(new_id, settings, self.spans)
        self._pending: dict[str, Invocation] = {}  # by the id that the executor was told
        self._outbox: list[Delivery] = []
        self._polled_at = now
        self._functions_told: int | None = None  # a hash of the listing, which can be large
        for function in builtins:
            self.registry.register(function)
        self.registry.changed = False

    def __repr__(self) -> str:
        return f"<Core with {len(self.registry.workers)} workers, {len(self.channels)} channels>"

    # What happens

    def connected(self, connection: int, ip: str, now: int) -> list[Delivery]:
        """A worker socket was opened."""
        worker = Worker(connection, self.new_id(), Secret(self.new_id()), ip, now)
        self.registry.add(worker)
        self._send(worker, WorkerRegistered(worker.id, worker.reattach_token.reveal()))
        self.notice("worker connected", worker=worker.id, ip=ip)
        self._fire_about("worker_connected", worker)
        return self._deliveries()

    def disconnected(self, connection: int, now: int) -> list[Delivery]:
        """A worker socket is gone, whoever ended it. Saying so twice does no harm."""
        worker = self.registry.workers.get(connection)
        if worker is not None:
            self._leave(worker, now)
        return self._deliveries()

    def dropping(self, connection: int, reason: str) -> None:
        """The server is about to let go of a worker. For the log: `disconnected` follows."""
        worker = self.registry.workers.get(connection)
        if worker is not None:
            self.notice("worker dropped", worker=worker.id, reason=reason)

    def received(self, connection: int, frame: bytes, now: int) -> list[Delivery]:
        """A text or binary frame came. What is no message is dropped (docs: protocol, "Messages")."""
        worker = self.registry.workers.get(connection)
        if worker is None or frame.startswith(TELEMETRY):
            return []
        try:
            message = decode(frame)
            self._handle(worker, message, len(frame), now)
        except (MalformedMessage, MalformedJson) as error:
            if frame.strip():
                self.notice("frame dropped", worker=worker.id, reason=str(error))
            return []
        return self._deliveries()

    def _handle(self, worker: Worker, message: Message, size: int, now: int) -> None:
        match message:
            case InvokeFunction():
                self._invoke(worker, message, now)
            case InvocationResult():
                # Nobody checks that it is the executor. An unknown id means nothing.
                if (invocation := self._pending.get(message.invocation_id)) is not None:
                    self._answer(invocation, now, message.result, message.error)
            case Ping():
                self._send(worker, Pong())
            case Reattach():
                self._reattach(worker, message, now)
            case TriggerRegistrationResult():
                if (waiting := self.triggers.answered(worker, message)) is not None:
                    self._answer(waiting, now, {"id": message.id}, message.error)
            case WorkerRegistered() | RegistrationRejected() | Pong() | ErrorMessage():
                pass  # what only the engine says means nothing to it
            case _:
                self._register(worker, message, size, now)

    # Time

    def next_deadline(self) -> int:
        """When `tick` has something to do."""
        first = next(iter(self.registry.unsettled.values()), None)
        due = (
            self._polled_at + self.settings.poll_every,
            None if first is None else first.connected_at + self.settings.grace,
            self.channels.next_sweep,
            self.triggers.next_due,
        )
        return min(deadline for deadline in due if deadline is not None)

    def tick(self, now: int) -> list[Delivery]:
        """Do what is due."""
        for worker in list(self.registry.unsettled.values()):
            if worker.connected_at + self.settings.grace > now:
                break
            self._settle(worker, DEFAULT_NAMESPACE)
        for channel in self.channels.sweep(now):
            self.notice("channel swept", channel=channel.id)
        for invocation, binding in self.triggers.overdue(now):
            self._answer(invocation, now, {"id": binding.about.id})
        if now >= self._polled_at + self.settings.poll_every:
            self._polled_at = now
            self._look_at_functions()
        return self._deliveries()

    def _look_at_functions(self) -> None:
        """Fire functions-available after a change. A change that nobody watched is told to nobody later, and
        what comes and goes between two looks is none.
        """
        if not self.registry.changed:
            return
        self.registry.changed = False
        before, self._functions_told = self._functions_told, None
        if not any(self.triggers.own_bindings(FUNCTIONS_AVAILABLE)):
            return
        rows = [function_row(function) for function in self.registry.functions()]
        self._functions_told = hash(render(rows))
        if before != self._functions_told:
            self._fire(FUNCTIONS_AVAILABLE, {"event": "functions_changed", "functions": rows})

    # Telling workers

    def _send(self, worker: Worker, message: Message) -> None:
        """Tell a worker, unless it is gone."""
        if not worker.gone:
            self._outbox.append(Send(worker.connection, encode(message)))

    def _deliveries(self) -> list[Delivery]:
        """What was decided since the last time."""
        outbox, self._outbox = self._outbox, []
        return outbox

    def _fire_about(self, event: str, worker: Worker) -> None:
        self._fire(WORKERS_AVAILABLE, {"event": event, "worker_id": worker.id})

    def _fire(self, type_id: str, payload: dict[str, Any]) -> None:
        """Invoke everything that is bound to one of the engine's own types. Answers are not waited for."""
        for binding in self.triggers.own_bindings(type_id):
            function = self.registry.find(binding.namespace, binding.about.function_id)
            if function is not None and function.owner is not None:
                call = InvokeFunction.of(
                    function.id, payload, invocation_id=self.new_id(), metadata=binding.about.metadata
                )
                self._send(function.owner, call)

    # Sessions: from a worker's connecting to its leaving

    def _leave(self, worker: Worker, now: int) -> None:
        """The worker is gone, whatever the reason: everything that was its is free."""
        if worker.gone:
            return
        self.registry.remove(worker)
        for invocation in list(worker.calling):
            self._forget(invocation, now, STOPPED)  # it may be among the executed ones too
        for invocation in list(worker.executing):
            self._answer(invocation, now, error=STOPPED)
        self.triggers.drop_worker(worker)
        self.notice("worker left", worker=worker.id, name=worker.about.name)
        self._fire_about("worker_disconnected", worker)

    def _reattach(self, worker: Worker, message: Reattach, now: int) -> None:
        """A worker that was here before evicts what is left of it, whatever it said before."""
        old = self.registry.workers_by_id.get(message.previous_worker_id)
        if old is None or old is worker or old.reattach_token != Secret(message.reattach_token or ""):
            return
        self._outbox.append(Drop(old.connection))
        self._leave(old, now)

    def announce(self, worker: Worker, about: Announcement, now: int) -> bool:
        """Take the namespace and the name, then replay what was registered before.

        False where somebody else has the name: the worker is told and closed.
        """
        namespace = worker.namespace
        if worker.connection in self.registry.unsettled:
            namespace = about.namespace or DEFAULT_NAMESPACE
        if about.name is not None:
            owner = self.registry.names.get((namespace, about.name))
            if owner is not None and owner is not worker:
                code = "WORKER_NAMESPACE_CONFLICT"
                self._send(worker, RegistrationRejected(code, namespace, owner.id, worker_name=about.name))
                self._outbox.append(Close(worker.connection))
                self._leave(worker, now)
                return False
        worker.about = about
        self._settle(worker, namespace)
        if about.name is not None:
            self.registry.claim_name(worker, about.name)
        self.notice("worker announced", worker=worker.id, name=about.name, namespace=namespace)
        self._fire_about("worker_metadata_updated", worker)
        self._drop_if_greedy(worker, now)
        return True

    def _settle(self, worker: Worker, namespace: str) -> None:
        """The namespace is final: what was registered before is applied."""
        if self.registry.unsettled.pop(worker.connection, None) is None:
            return
        worker.namespace = namespace
        parked, worker.parked = worker.parked, []
        for message, size in parked:
            worker.let_go(size)
            self._apply(worker, message, size)

    # Registrations

    def _register(self, worker: Worker, message: Registration, size: int, now: int) -> None:
        """Apply a registration, or park it until the namespace is known."""
        if worker.connection in self.registry.unsettled:
            worker.parked.append((message, size))
            worker.hold(size)
        else:
            self._apply(worker, message, size)
        self._drop_if_greedy(worker, now)

    def _drop_if_greedy(self, worker: Worker, now: int) -> None:
        """A worker beyond its bounds is dropped."""
        settings = self.settings
        if worker.held_bytes > settings.max_held_bytes or worker.held_count > settings.max_registrations:
            self.notice("worker dropped", worker=worker.id, reason="too many registrations")
            self._outbox.append(Drop(worker.connection))
            self._leave(worker, now)

    def _apply(self, worker: Worker, message: Registration, size: int) -> None:
        match message:
            case RegisterFunction():
                self._register_function(worker, message, size)
            case UnregisterFunction():
                self.registry.unregister(worker, message.id)
            case RegisterTrigger():
                self._register_trigger(worker, message, size)
            case UnregisterTrigger():
                binding = self.triggers.find_binding(message.id)
                if binding is not None and binding.owner is worker:
                    self.triggers.unbind(binding)
            case RegisterTriggerType():
                if not is_blank(message.namespace):  # there is no answer to it that could refuse
                    home = message.namespace or worker.namespace
                    self.triggers.provide(TriggerType(message, home, worker, size))
            case UnregisterTriggerType():
                kind = self.triggers.find_type(message.namespace or worker.namespace, message.id)
                if kind is not None and kind.provider is worker:
                    self.triggers.withdraw(kind)
            case _:
                pass  # registerservice: for a dashboard that we do not have

    def _register_function(self, worker: Worker, message: RegisterFunction, size: int) -> None:
        reserved = worker.namespace != DEFAULT_NAMESPACE and message.id.startswith("engine::")
        function = Function(message, worker.namespace, worker, size=size)
        taken = None if reserved else self.registry.register(function)
        if reserved or taken is not None:
            owner_id = taken.owner.id if taken is not None and taken.owner is not None else ""
            code = "FUNCTION_NAMESPACE_CONFLICT"
            self._send(worker, RegistrationRejected(code, worker.namespace, owner_id, function_id=message.id))

    def _register_trigger(self, worker: Worker, message: RegisterTrigger, size: int) -> None:
        homes = worker.homes(message.trigger_namespace)
        binding = Binding(message, homes, message.namespace or DEFAULT_NAMESPACE, worker, size=size)
        error = None
        if is_blank(message.namespace) or is_blank(message.trigger_namespace):
            error = ErrorBody(*BLANK_NAMESPACE)
        elif not self.triggers.bind(binding):
            error = ErrorBody("trigger_registration_failed", "the id is another worker's")
        if error is not None:
            ids = message.id, message.trigger_type, message.function_id
            self._send(worker, TriggerRegistrationResult(*ids, error))

    # Calls (docs: protocol, "Calls")
    #
    # An Invocation is kept under the id that its executor was told until somebody answers that id or either
    # side is gone. The caller's own id is used where it gave one, so ids are unique engine-wide: a second
    # call of the same id takes the place of the first, whose caller is told. Nobody is told an id for
    # a built-in, so those have one that no worker can know.

    def _invoke(self, caller: Worker, message: InvokeFunction, now: int) -> None:
        """A worker calls a function, or wants the call queued: then a queue worker takes it, and a receipt is
        the answer.
        """
        reply_id = None if type(message.action) is Void else message.invocation_id
        invocation = Invocation(
            "", reply_id, message.function_id, caller, message.traceparent, message.baggage
        )
        try:
            function = self._callee(caller, message)
        except Refusal as refusal:
            self._reply(invocation, error=refusal.body)
            return
        data: Any
        metadata, told_id = message.metadata, message.invocation_id
        if isinstance(message.action, Enqueue):
            metadata, told_id, invocation.receipt = NULL, None, self.new_id()
            data = {
                "queue": message.action.queue,
                "function_id": message.function_id,
                "data": message.data,
                "messageReceiptId": invocation.receipt,
                "traceparent": message.traceparent,
                "baggage": message.baggage,
            }
            if message.namespace is not None:
                data["namespace"] = message.namespace
        else:
            data = with_key(message.data, "_caller_worker_id", caller.id)
        invocation.id = (function.run is None and told_id) or self.new_id()
        self._begin(invocation, function, now)
        if function.run is None:
            self._forward(function, invocation, data, metadata)
            return
        try:
            result = function.run(Call(self, invocation, caller, parse(data), now))
        except MalformedJson as fault:
            self._answer(invocation, now, error=ErrorBody("deserialization_error", str(fault)))
        except Refusal as refusal:
            self._answer(invocation, now, error=refusal.body)
        else:
            if result is not LATER:
                self._answer(invocation, now, result)

    def _callee(self, caller: Worker, message: InvokeFunction) -> Function:
        """Who gets the call. Raises Refusal."""
        namespace = DEFAULT_NAMESPACE if message.namespace is None else message.namespace
        if is_blank(namespace):
            raise Refusal(*BLANK_NAMESPACE)
        if len(caller.calling) >= self.settings.max_in_flight:
            self.notice("call refused", worker=caller.id, reason="too many calls are in flight")
            raise Refusal("too_many_invocations", "Too many calls are in flight")
        if type(message.action) is Enqueue:
            function = self.registry.find(DEFAULT_NAMESPACE, QUEUE_FUNCTION)
            if function is None:
                text = f"Function {QUEUE_FUNCTION} not found: no queue worker is connected"
                raise Refusal("enqueue_error", text)
            return function
        function = self.registry.find(namespace, message.function_id)
        if function is None:
            text = f"Function {message.function_id} not found in namespace {namespace}."
            if others := self.registry.namespaces_of(message.function_id):
                text += f" It is registered in namespace(s): {', '.join(others)}."
            raise Refusal("function_not_found", text)
        return function

    def _begin(self, invocation: Invocation, function: Function, now: int) -> None:
        """Keep the call until it is answered, in the place of another one of its id."""
        replaced = self._pending.get(invocation.id)
        if replaced is not None:
            self._answer(replaced, now, error=REPLACED)
        self._pending[invocation.id] = invocation
        caller, executor = invocation.caller, function.owner
        invocation.executor = executor
        caller.calling.add(invocation)
        if executor is not None:
            executor.executing.add(invocation)
        trace = invocation.trace = parse_traceparent(invocation.traceparent)
        if trace is None:
            return
        # Workers pass on the traceparent that they were given. So a call from a worker that is executing
        # another one of the same traceparent belongs into that one's span.
        running = caller.executing_in.get(trace)
        invocation.span = self.spans.begin(
            trace if running is None or running.span is None else context_of(running.span),
            f"call {function.id}",
            now,
            ("iii.function.id", function.id),
            ("iii.namespace", function.namespace),
            ("iii.worker.name", worker_name(executor, function.id)),
            ("iii.worker.id", executor.id if executor else None),
            ("iii.caller.name", caller.about.name),
            ("iii.caller.id", caller.id),
            ("iii.invocation.id", invocation.reply_id or invocation.id),
        )
        if executor is not None:
            executor.executing_in[trace] = invocation

    def _forward(self, function: Function, invocation: Invocation, data: Any, metadata: Any) -> None:
        assert function.owner is not None
        traced = invocation.baggage is not None or invocation.traceparent is not None
        call = InvokeFunction(
            function.id,
            data,
            invocation.id,
            metadata=NULL if metadata == NULL else metadata,
            traceparent=None if invocation.trace is None else traceparent_of(invocation.trace),
            baggage=baggage_for(function.id, invocation.baggage) if traced else None,
        )
        self._send(function.owner, call)

    def _answer(
        self, invocation: Invocation, now: int, result: Any = None, error: ErrorBody | None = None
    ) -> None:
        """The call is over. Means nothing where it was over before."""
        if self._pending.get(invocation.id) is invocation:
            self._forget(invocation, now, error)
            self._reply(invocation, result, error)

    def _forget(self, invocation: Invocation, now: int, error: ErrorBody | None) -> None:
        del self._pending[invocation.id]
        invocation.caller.calling.discard(invocation)
        if (executor := invocation.executor) is not None:
            executor.executing.discard(invocation)
            if (trace := invocation.trace) and executor.executing_in.get(trace) is invocation:
                del executor.executing_in[trace]
        if invocation.span is not None:
            text = None if error is None else f"{error.code}: {error.message}"
            self.spans.end(invocation.span, now, error=text)

    def _reply(self, invocation: Invocation, result: Any = None, error: ErrorBody | None = None) -> None:
        """Tell the caller, unless it wants to hear nothing."""
        if invocation.reply_id is None:
            return
        if invocation.receipt is not None:
            result = {"messageReceiptId": invocation.receipt}
            error = None if error is None else ErrorBody("enqueue_error", error.message)
        answer = InvocationResult(
            invocation.reply_id,
            invocation.function_id,
            NULL if error is not None or result is None or result == NULL else result,
            error,
            invocation.traceparent,
            invocation.baggage,
        )
        self._send(invocation.caller, answer)

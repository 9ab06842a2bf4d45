"""A worker: it registers functions, answers calls and reconnects."""

from __future__ import annotations

import inspect
import random
import re
import traceback
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, final
from weakref import WeakSet

import anyio
from anyio import TASK_STATUS_IGNORED
from msgspec import Struct
from msgspec.structs import replace

from iii_cli.client.call import CALL_SECONDS, new_stream_id, new_uuid, read_created
from iii_cli.client.channels import ABORT_SECONDS, ChannelReader, ChannelWriter
from iii_cli.client.connection import DEAD_SECONDS, PING_SECONDS, Call, Calls, Functions, Link, split_caller
from iii_cli.errors import EngineUnreachable, Failure, FunctionFailed, TimedOut
from iii_cli.protocol.messages import (
    NULL,
    ErrorBody,
    InvocationResult,
    InvokeFunction,
    Raw,
    RegisterFunction,
    RegistrationRejected,
    UnregisterFunction,
    Void,
    parse,
    render,
    to_raw,
)
from iii_cli.protocol.refs import ChannelRef, Direction, MalformedRef, is_ref
from iii_cli.protocol.seal import BEAT_AFTER, Sealer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import TaskGroup, TaskStatus

    from iii_cli.client.connection import Handler, Identity, Registration
    from iii_cli.protocol.messages import Action, Message
    from iii_cli.protocol.refs import Endpoint

__all__ = (
    "BUSY",
    "CALLS_MAX",
    "Answering",
    "Channel",
    "Connection",
    "Ends",
    "Pace",
    "Worker",
    "WorkerStatistics",
    "error_body",
    "open_end",
    "open_worker",
    "unwrapped",
    "without_ends",
)


def open_end(endpoint: Endpoint, ref: ChannelRef, *, seal: bool = True) -> ChannelReader | ChannelWriter:
    """The live end that `ref` names. It connects at its first use."""
    if ref.direction is Direction.READ:
        return ChannelReader(endpoint, ref)
    return ChannelWriter(endpoint, ref, Sealer(new_stream_id()) if seal else None)


def without_ends(value: Any, handed_on: Callable[[Any], None] = lambda end: None) -> Any:
    """`value` with every live end and ref as the plain object that goes over the wire.

    `handed_on` hears of each live end: from now on somebody else uses it.
    """
    if isinstance(value, ChannelRef):
        return value.to_json()
    if isinstance(value, (ChannelReader, ChannelWriter)):
        handed_on(value)
        return value.ref.to_json()
    if isinstance(value, dict):
        return {key: without_ends(item, handed_on) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_ends(item, handed_on) for item in value]
    return value


class Ends:
    """The ends that came with one call."""

    def __init__(self, open_one: Callable[[ChannelRef], ChannelReader | ChannelWriter]) -> None:
        self._open_one = open_one
        self._readers: list[ChannelReader] = []
        self._writers: list[ChannelWriter] = []

    def enliven(self, value: Any) -> Any:
        """`value` with every ref, at any depth, as a ChannelReader or ChannelWriter."""
        if is_ref(value):
            try:
                return self._open(ChannelRef.from_json(value))
            except MalformedRef:
                return value
        if isinstance(value, dict):
            return {key: self.enliven(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.enliven(item) for item in value]
        return value

    def hand_on(self, end: Any) -> None:
        """The handler passed this end on: it is no longer ours to close."""
        if end in self._readers:
            self._readers.remove(end)
        if end in self._writers:
            self._writers.remove(end)

    async def close(self, reason: str) -> None:
        """Let go of what the handler left open. A writer that was not finished is aborted with `reason`.

        Also one that was never used: a reader somewhere would wait for it until the engine's sweep. Bounded
        in time, also where it is cancelled.
        """
        for reader in self._readers:
            reader.leave()
        for writer in self._writers:
            if not writer.ended:
                with anyio.CancelScope(shield=True), anyio.move_on_after(ABORT_SECONDS), suppress(Failure):
                    await writer.open()
                await writer.abort(1, reason)

    def _open(self, ref: ChannelRef) -> ChannelReader | ChannelWriter:
        end = self._open_one(ref)
        if isinstance(end, ChannelReader):
            self._readers.append(end)
        else:
            self._writers.append(end)
        return end


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
        result = NULL
        error: ErrorBody | None = None
        registration = self._functions.get(message.function_id)
        if registration is None:
            error = ErrorBody("function_not_found", "Function not found")
        else:
            try:
                returned = await self._run(registration, message)
                result = _result_json(returned)
            except Exception as problem:
                error = error_body(problem)
        if message.invocation_id is None:
            return None
        return InvocationResult(message.invocation_id, message.function_id, result, error)

    async def _run(self, registration: Registration, message: InvokeFunction) -> Any:
        data, caller = split_caller(parse(message.data))
        call = Call(
            function_id=message.function_id,
            invocation_id=message.invocation_id,
            caller_worker_id=caller,
            metadata=parse(message.metadata),
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


def _result_json(result: Any) -> Raw:
    try:
        return to_raw(result)
    except (TypeError, ValueError) as problem:
        raise FunctionFailed("invocation_failed", f"the result is not JSON: {problem}") from None


async def _send_reply(link: Link, reply: InvocationResult) -> None:
    try:
        await link.send(reply)
    except FunctionFailed as problem:  # it is too large
        await link.send(InvocationResult(reply.invocation_id, reply.function_id, error=error_body(problem)))


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


class Pace(Struct, frozen=True):
    """How a connection is watched and won back, in seconds (protocol.md 1.5)."""

    ping_every: float = PING_SECONDS
    dead_after: float = DEAD_SECONDS
    retry_first: float = 1.0
    retry_max: float = 30.0
    jitter: float = 0.3  # a fraction: many workers must not come back at the same moment

    def pause(self, attempt: int) -> float:
        """How long to wait before the next attempt; the first is number 0."""
        pause = min(self.retry_first * 2.0 ** min(attempt, 30), self.retry_max)
        return pause * random.uniform(1 - self.jitter, 1 + self.jitter)


@final
class Connection:
    """Links to one engine, one after the other. `functions` is what they announce."""

    def __init__(
        self,
        endpoint: Endpoint,
        identity: Identity,
        functions: Functions,
        answering: Answering,
        *,
        reconnect: bool,
        on_lost: Callable[[Failure], None] | None,
        on_back: Callable[[], None] | None,
        pace: Pace,
    ) -> None:
        self.link: Link | None = None
        self.calls = Calls()
        self.made = 0  # how often a connection was made
        self.failure: Failure | None = None  # what ended it for good
        self._endpoint = endpoint
        self._identity = identity
        self._functions = functions
        self._answering = answering
        self._reconnect = reconnect
        self._on_lost = on_lost or (lambda failure: None)
        self._on_back = on_back or (lambda: None)
        self._pace = pace
        self._announced: set[str] = set()  # ids of the functions that the present link knows
        self._registering = anyio.Lock(fast_acquire=True)
        self._fresh = anyio.Event()  # a function was added
        self._changed = anyio.Event()  # connected, failed for good, or a function was refused

    def announce_soon(self) -> None:
        """A function was added."""
        self._fresh.set()

    async def withdraw(self, function_id: str) -> None:
        """A function was removed. Raises EngineUnreachable."""
        if function_id in self._announced and self.link is not None:
            self._announced.discard(function_id)
            await self.link.send(UnregisterFunction(function_id))

    async def ready(self) -> Link:
        """The present link, or the next one, once it knows every function so far.

        Raises EngineUnreachable where it is lost meanwhile, and what ended the connection for good.
        """
        while self.link is None:
            if self.failure is not None:
                raise self.failure
            await self._changed.wait()
        link = self.link
        await self._register(link)
        return link

    async def announce_again(self) -> None:
        """Give the functions that were refused another chance, and wait for the engine's word on all of them.

        Raises as `ready`.
        """
        for registration in self._functions:
            if registration.taken is not None:
                registration.taken = None
                self._announced.discard(registration.message.id)
        link = await self.ready()
        await link.barrier()

    async def trouble(self) -> Failure:
        """Wait until a function is refused, or the connection has failed for good."""
        while True:
            changed = self._changed
            failure = self.failure or self._functions.first_rejection()
            if failure is not None:
                return failure
            await changed.wait()

    async def exchange(self, link: Link, request: InvokeFunction) -> Any:
        """Send a call and wait for its answer; without an invocation id there is none.

        Raises FunctionFailed, EngineUnreachable.
        """
        if request.invocation_id is None:
            await link.send(request)
            return None
        self.calls.begin(request.invocation_id)
        try:
            await link.send(request)
            return await self.calls.outcome(request.invocation_id)
        finally:
            self.calls.end(request.invocation_id)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Connect and stay connected until cancelled. `started` once announced.

        Raises what made the first connection fail.
        """
        link = await self._open(self._endpoint, None)
        async with anyio.create_task_group() as handlers:
            try:
                task_status.started()
                while True:
                    lost = await self._live(link, handlers)
                    if not self._reconnect:
                        self._fail(lost)
                        return
                    self._on_lost(lost)
                    link = await self._again(link, lost)
            finally:
                handlers.cancel_scope.cancel()

    async def _open(self, endpoint: Endpoint, previous: Link | None) -> Link:
        pace = self._pace
        link = await Link.open(
            endpoint,
            self._identity,
            previous=previous,
            ping_every=pace.ping_every,
            dead_after=pace.dead_after,
        )
        self.made += 1
        return link

    async def _again(self, previous: Link, lost: Failure) -> Link:
        """Win the connection back, however long it takes. A refusal may be over soon: the engine's auth
        function is a worker that has to come back, too.
        """
        attempt = 0
        while True:
            await anyio.sleep(self._pace.pause(attempt))
            attempt += 1
            try:
                return await self._open(replace(self._endpoint, wait_engine=None), previous)
            except Failure as failure:
                if type(failure) is not type(lost):
                    lost = failure
                    self._on_lost(failure)

    async def _live(self, link: Link, handlers: TaskGroup) -> Failure:
        """Serve one link until it is lost, and say how."""
        self.link, self._announced = link, set()
        self._functions.forget_rejections()
        self._note_change()
        lost: Failure = EngineUnreachable("the connection was closed")
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.attend)
                tasks.start_soon(partial(self._keep_registered, link, back=self.made > 1))
                try:
                    while True:
                        for message in await link.receive():
                            await self._dispatch(link, message, handlers)
                except Failure as failure:
                    lost = failure
                tasks.cancel_scope.cancel()
        finally:
            self.link = None
            self.calls.fail_all(lost)
            self._answering.stop()
            link.close()
        return lost

    async def _dispatch(self, link: Link, message: Message, handlers: TaskGroup) -> None:
        match message:
            case InvocationResult():
                self.calls.settle(message)
            case InvokeFunction():
                if self._answering.accept():
                    handlers.start_soon(self._answering.answer, link, message)
                else:
                    with anyio.move_on_after(self._pace.dead_after):
                        await self._answering.refuse(link, message)
            case RegistrationRejected() if message.function_id is not None:
                self._functions.rejected(message)
                self._note_change()
            case _:
                return

    async def _keep_registered(self, link: Link, *, back: bool) -> None:
        """Announce what is there and what is added; say that we are `back` when the engine has all of it."""
        with suppress(EngineUnreachable):  # `receive` sees the same, and says so
            if back:
                await self._register(link)
                await link.barrier()
                self._on_back()
            while True:
                fresh = self._fresh = anyio.Event()
                await self._register(link)
                await fresh.wait()

    async def _register(self, link: Link) -> None:
        """Announce the functions that the link does not know yet."""
        async with self._registering:
            if self.link is not link:
                return
            for registration in self._functions:
                if registration.message.id not in self._announced:
                    self._announced.add(registration.message.id)
                    await link.send(registration.message)

    def _fail(self, failure: Failure) -> None:
        self.failure = failure
        self._note_change()

    def _note_change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


CHANNEL_BUFFER = 16  # messages; times our largest frame, 1 MiB, the 16 MiB of design.md section 4
CALLS_MAX = 256  # answered at once; what comes beyond is refused, so that a flood cannot exhaust memory

HandlerT = TypeVar("HandlerT", bound="Handler")
USUAL_PACE = Pace()
SETTLE_SECONDS = 2.0
_NOTHING: dict[str, Any] = {}


class WorkerStatistics(NamedTuple):
    """What a worker is at, and what it has done."""

    connected: bool
    connections: int  # how often one was made
    answering: int  # calls of others that run now
    answered: int  # calls of others that ran to their end
    refused: int  # calls of others that came beyond the limit
    waiting: int  # calls of ours without an answer yet


class Channel(Struct, frozen=True):
    """A new channel: its two refs, to hand over, and its two ends, to use here."""

    writer_ref: ChannelRef
    reader_ref: ChannelRef
    writer: ChannelWriter
    reader: ChannelReader


@final
class Worker:
    """A worker. Use `iii_cli.connect`, or `open_worker` where the settings are known."""

    def __init__(
        self,
        endpoint: Endpoint,
        identity: Identity,
        *,
        seal: bool = True,
        reconnect: bool = True,
        max_calls: int = CALLS_MAX,
        on_lost: Callable[[Failure], None] | None = None,
        on_back: Callable[[], None] | None = None,
        pace: Pace = USUAL_PACE,
    ) -> None:
        self.identity = identity
        self.endpoint = endpoint
        self._seal = seal
        self._functions = Functions()
        self._answering = Answering(self._functions, self.open, limit=max_calls)
        self._beating: WeakSet[ChannelWriter] = WeakSet()
        self._connection = Connection(
            endpoint,
            identity,
            self._functions,
            self._answering,
            reconnect=reconnect,
            on_lost=on_lost,
            on_back=on_back,
            pace=pace,
        )

    def __repr__(self) -> str:
        connection = self._connection
        state = "connected" if connection.link else "failed" if connection.failure else "not connected"
        return f"<Worker {self.identity.name} {state}>"

    @property
    def worker_id(self) -> str | None:
        """The engine's id for the present connection; None while there is none."""
        link = self._connection.link
        return link.worker_id if link else None

    def statistics(self) -> WorkerStatistics:
        """As of now."""
        connection, answering = self._connection, self._answering
        return WorkerStatistics(
            connection.link is not None,
            connection.made,
            answering.running,
            answering.answered,
            answering.refused,
            len(connection.calls),
        )

    # functions of ours

    def function(
        self,
        function_id: str,
        *,
        description: str | None = None,
        request_format: Any = None,
        response_format: Any = None,
        metadata: Any = None,
        live: bool = True,
        keep_ends: bool = False,
    ) -> Callable[[HandlerT], HandlerT]:
        """Serve the decorated function as `function_id`.

        It is called with the payload, and with the `Call` if it takes two arguments, in a task of its own.
        Refs in the payload are ChannelReaders and ChannelWriters by then, at any depth, not yet connected.
        What it returns is the result: JSON, in which live ends become refs again. What it raises is the
        caller's error: `FunctionFailed(code, message)` as it is, anything else as `invocation_failed`.

        The ends live as long as the call. A writer that was not finished by then is aborted, so its reader
        does not take half a stream for a whole one; `keep_ends` leaves the ends to whoever the handler gave
        them to. Without `live` refs stay as they came. The schemas are JSON Schema.

        Raises ValueError for an id that is empty or already ours, and for what is not JSON.
        """

        def register(handler: HandlerT) -> HandlerT:
            message = RegisterFunction(function_id, description, request_format, response_format, metadata)
            render([description, request_format, response_format, metadata])
            self._functions.add(message, handler, live=live, keep_ends=keep_ends)
            self._connection.announce_soon()
            return handler

        return register

    async def unregister(self, function_id: str) -> None:
        """Take no further calls. Those that run go on. Does nothing for a function that is not ours.

        Raises EngineUnreachable when the connection is lost meanwhile, and the function with it. Cancelled,
        the function is ours no more, but the engine may not have heard of it.
        """
        if self._functions.remove(function_id):
            await self._connection.withdraw(function_id)

    async def wait_registered(self) -> None:
        """Wait until the engine has taken every function so far; what was refused before is tried again.

        Raises NameTaken for the first one that another worker has, and EngineUnreachable. Cancelling loses
        nothing.
        """
        await self._connection.announce_again()
        refused = self._functions.first_rejection()
        if refused is not None:
            raise refused

    async def serve(self) -> None:
        """Answer calls until cancelled.

        Raises NameTaken when another worker has one of the functions, and what ended the connection where
        it is not won back.
        """
        raise await self._connection.trouble()

    async def wait_idle(self) -> None:
        """Wait until no call is being answered any more, and the engine has read every answer.

        Cancelling loses nothing; never raises.
        """
        await self._answering.idle()
        await self.settle()

    async def settle(self) -> None:
        """Wait until the engine has read what was sent before, for two seconds at most.

        Cancelling loses nothing; never raises.
        """
        link = self._connection.link
        if link is not None:
            with anyio.move_on_after(SETTLE_SECONDS), suppress(EngineUnreachable):
                await link.barrier()

    # calls of ours

    async def trigger(
        self,
        function_id: str,
        data: Any = _NOTHING,
        *,
        namespace: str | None = None,
        timeout: float | None = CALL_SECONDS,  # noqa: ASYNC109 - the engine has none, callers expect one
        metadata: Any = None,
        action: Action | None = None,
        traceparent: str | None = None,
        baggage: str | None = None,
    ) -> Any:
        """Call a function and return its result, plain JSON. Live ends and refs in `data` go as refs.

        `timeout` in seconds, None waits for ever. `namespace` None is the worker's own, and `default` for
        the engine's functions. Inside a handler the call belongs to the trace of the handler's. Cancelled,
        the function runs on and its result is dropped (protocol.md 2.5).

        Raises FunctionFailed, TimedOut; EngineUnreachable when the connection is lost during the call, or is
        not won back in time; TypeError and ValueError for data that is not JSON.
        """
        call = self._answering.current
        request = InvokeFunction.of(
            function_id,
            without_ends(data, self._answering.hand_on),
            invocation_id=None if isinstance(action, Void) else new_uuid(),
            action=action,
            metadata=metadata,
            namespace=namespace or self._namespace_for(function_id),
            traceparent=traceparent or (call.traceparent if call else None),
            baggage=baggage or (call.baggage if call else None),
        )
        link = None
        with anyio.move_on_after(timeout):
            link = await self._connection.ready()
            return await self._connection.exchange(link, request)
        if link is None:
            raise EngineUnreachable(f"no connection to the engine at {self.endpoint.address.url}")
        raise TimedOut(f"no answer from {function_id} within {timeout:g} s")

    async def functions(self, *, search: str | None = None, include_internal: bool = False) -> list[Any]:
        """The engine's functions, its own rows (protocol.md 3.2). Raises as `trigger`."""
        query: dict[str, Any] = {"include_internal": include_internal}
        if search is not None:
            query["search"] = search
        found = await self.trigger("engine::functions::list", query)
        rows = found.get("functions") if isinstance(found, dict) else None
        return rows if isinstance(rows, list) else []

    async def create_channel(self, buffer_size: int = CHANNEL_BUFFER) -> Channel:
        """A new channel of so many messages, 1 to 1024. It expires if an end is not used within 5 minutes.

        Raises as `trigger`.
        """
        created = await self.trigger("engine::channels::create", {"buffer_size": buffer_size})
        writer_ref, reader_ref = read_created(created)
        writer, reader = self.open(writer_ref), self.open(reader_ref)
        assert isinstance(writer, ChannelWriter)
        assert isinstance(reader, ChannelReader)
        return Channel(writer_ref, reader_ref, writer, reader)

    def open(self, ref: ChannelRef) -> ChannelReader | ChannelWriter:
        """The live end of a ref, such as one in the result of a call. It connects at its first use."""
        end = open_end(self.endpoint, ref, seal=self._seal)
        if isinstance(end, ChannelWriter):
            self._beating.add(end)
        return end

    async def beat(self) -> None:
        """Let every open writer say that it is alive, and look whether its network is.

        Runs until cancelled, which loses nothing; never raises.
        """
        while True:
            await anyio.sleep(BEAT_AFTER / 3)
            for writer in list(self._beating):
                writer.beat()
                writer.look()

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Connect and stay connected until cancelled. `started` once announced.

        Raises what made the first connection fail.
        """
        await self._connection.run(task_status=task_status)

    def _namespace_for(self, function_id: str) -> str | None:
        """As the SDKs do (protocol.md 1.4)."""
        return "default" if function_id.startswith("engine::") else self.identity.namespace


@asynccontextmanager
async def open_worker(worker: Worker) -> AsyncIterator[Worker]:
    """Run `worker` beside the body. Leaving it drops the connection and cancels handlers that run.

    What the body raises comes out as it is, not in a group. Raises what made the first connection fail.
    """
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(worker.run)
            tasks.start_soon(worker.beat)
            yield worker
            await worker.settle()  # a socket that is closed with unread input takes unread output with it
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        sole = unwrapped(group)
        if sole is group:
            raise
        raise sole from sole.__cause__

"""A worker: it registers functions, answers calls, makes calls, and reconnects.

Theory of operation. `Worker.run` holds one connection after the other. Beside each one, `_keep_registered`
announces functions, and every call that comes gets a task of its own, which is cancelled with the connection:
its caller is gone, or has been told so.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager, suppress
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, final
from weakref import WeakSet

import anyio
from anyio import TASK_STATUS_IGNORED
from msgspec import Struct
from msgspec.structs import replace

from iii_cli.client.call import CALL_SECONDS, new_stream_id, new_uuid, read_created
from iii_cli.client.channels import CHANNEL_BUFFER, ChannelReader, ChannelWriter
from iii_cli.client.connection import DEAD_SECONDS, Connection
from iii_cli.client.function import Function, current_call, error_body, unwrapped, with_refs
from iii_cli.errors import EngineUnreachable, Failure, FunctionFailed, NameTaken, TimedOut
from iii_cli.protocol.json_text import render
from iii_cli.protocol.messages import (
    NULL,
    ErrorBody,
    InvocationResult,
    InvokeFunction,
    RegisterFunction,
    RegistrationRejected,
    UnregisterFunction,
    Void,
)
from iii_cli.protocol.refs import ChannelRef, Direction
from iii_cli.protocol.seal import BEAT_AFTER, Sealer

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence

    from anyio.abc import ByteSendStream, TaskGroup, TaskStatus

    from iii_cli.client.connection import Identity
    from iii_cli.client.function import Handler
    from iii_cli.protocol.messages import Action, Message
    from iii_cli.protocol.refs import Endpoint

__all__ = (
    "BUSY",
    "CALLS_MAX",
    "Channel",
    "Worker",
    "WorkerStatistics",
    "open_worker",
    "pause_before",
)

BUSY = "too_many_calls"
CALLS_MAX = 256  # answered at once; what comes beyond is refused, so that a flood cannot exhaust memory
SETTLE_SECONDS = 2.0
_NOTHING: dict[str, Any] = {}

HandlerT = TypeVar("HandlerT", bound="Handler")


class Channel(Struct, frozen=True):
    """A new channel: its two refs, to hand over, and its two ends, to use here."""

    writer_ref: ChannelRef
    reader_ref: ChannelRef
    writer: ChannelWriter
    reader: ChannelReader


class WorkerStatistics(NamedTuple):
    """What a worker is at, and what it has done."""

    connected: bool
    connections: int  # how often one was made
    answering: int  # calls of others that run now
    answered: int  # calls of others that ran to their end
    refused: int  # calls of others that came beyond the limit
    waiting: int  # calls of ours without an answer yet


# How a lost connection is won back, in seconds (docs: protocol, "Keepalive").
RETRY_FIRST = 1.0
RETRY_MAX = 30.0
JITTER = 0.3  # a fraction: many workers must not come back at the same moment


def pause_before(attempt: int) -> float:
    """How long to wait before the next attempt, in seconds; the first is number 0."""
    pause = min(RETRY_FIRST * 2.0 ** min(attempt, 30), RETRY_MAX)
    return pause * random.uniform(1 - JITTER, 1 + JITTER)


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
    ) -> None:
        self.identity = identity
        self.endpoint = endpoint
        self._seal = seal
        self._reconnect = reconnect
        self._max_calls = max_calls
        self._on_lost = on_lost or (lambda failure: None)
        self._on_back = on_back or (lambda: None)
        self._functions: dict[str, Function] = {}
        self._beating: WeakSet[ChannelWriter] = WeakSet()
        # the connection
        self._connection: Connection | None = None
        self._made = 0  # how often a connection was made
        self._failure: Failure | None = None  # what ended it for good
        self._changed = anyio.Event()  # connected, failed for good, or a function was refused
        self._fresh = anyio.Event()  # a function was added
        self._registering = anyio.Lock(fast_acquire=True)
        # calls of others
        self._scopes: set[anyio.CancelScope] = set()
        self._fewer = anyio.Event()  # one has ended
        self._answering = 0  # accepted, and not yet done with their clean-up
        self._answered = 0
        self._refused = 0

    def __repr__(self) -> str:
        state = "connected" if self._connection else "failed" if self._failure else "not connected"
        return f"<Worker {self.identity.name} {state}>"

    @property
    def worker_id(self) -> str | None:
        """The engine's id for the present connection; None while there is none."""
        return self._connection.worker_id if self._connection else None

    def statistics(self) -> WorkerStatistics:
        """As of now."""
        connection = self._connection
        return WorkerStatistics(
            connection is not None,
            self._made,
            self._answering,
            self._answered,
            self._refused,
            connection.in_flight if connection else 0,
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
            if not function_id.strip():
                raise ValueError("a function needs an id")
            if function_id in self._functions:
                raise ValueError(f"{function_id} is registered already")
            self._functions[function_id] = Function(message, handler, live, keep_ends)
            self._fresh.set()
            return handler

        return register

    async def unregister(self, function_id: str) -> None:
        """Take no further calls. Those that run go on. Does nothing for a function that is not ours.

        Raises EngineUnreachable when the connection is lost meanwhile, and the function with it. Cancelled,
        the function is ours no more, but the engine may not have heard of it.
        """
        function = self._functions.pop(function_id, None)
        if function is not None and function.announced and self._connection is not None:
            await self._connection.send(UnregisterFunction(function_id))

    async def wait_registered(self) -> None:
        """Wait until the engine has taken every function so far; what was refused before is tried again.

        Raises NameTaken for the first one that another worker has, and EngineUnreachable. Cancelling loses
        nothing.
        """
        for function in self._functions.values():
            if function.taken is not None:
                function.taken, function.announced = None, False
        connection = await self._ready()
        await connection.ping()
        taken = self._first_taken()
        if taken is not None:
            raise taken

    async def serve(self) -> None:
        """Answer calls until cancelled.

        Raises NameTaken when another worker has one of the functions, and what ended the connection where
        it is not won back.
        """
        while True:
            failure = self._failure or self._first_taken()
            if failure is not None:
                raise copy(failure)
            await self._changed.wait()

    async def wait_idle(self) -> None:
        """Wait until no call is being answered any more, and the engine has read every answer.

        Cancelling loses nothing; never raises.
        """
        while self._answering:
            self._fewer = anyio.Event()
            await self._fewer.wait()
        await self.settle()

    async def settle(self) -> None:
        """Wait until the engine has read what was sent before, for two seconds at most.

        Cancelling loses nothing; never raises.
        """
        if self._connection is not None:
            with anyio.move_on_after(SETTLE_SECONDS), suppress(Failure):
                await self._connection.ping()

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
        the function runs on and its result is dropped.

        Raises FunctionFailed, TimedOut; EngineUnreachable when the connection is lost during the call, or is
        not won back in time; TypeError and ValueError for data that is not JSON.
        """
        call = current_call()
        own_namespace = "default" if function_id.startswith("engine::") else self.identity.namespace
        request = InvokeFunction.of(
            function_id,
            with_refs(data),
            invocation_id=None if isinstance(action, Void) else new_uuid(),
            action=action,
            metadata=metadata,
            namespace=namespace or own_namespace,
            traceparent=traceparent or (call.traceparent if call else None),
            baggage=baggage or (call.baggage if call else None),
        )
        connection = None
        with anyio.move_on_after(timeout):
            connection = await self._ready()
            return await connection.exchange(request)
        if connection is None:
            raise EngineUnreachable(f"no connection to the engine at {self.endpoint.address.url}")
        raise TimedOut(f"no answer from {function_id} within {timeout:g} s")

    async def pipe(
        self,
        stages: Sequence[str],
        source: AsyncIterable[bytes] | None = None,
        sink: ByteSendStream | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - as of `trigger`
        require_seal: bool = False,
        notice: Callable[[str], None] = lambda text: None,
    ) -> list[Any]:
        """Run functions as one pipeline, as `iii pipe` does: each of `stages` is a STAGE word. Their results.

        `source`, such as a ByteReceiveStream, feeds the first stage, None: it is a source itself. The output
        of the last goes to `sink`, None: it is a sink itself. What went there is all that there is only once
        this returns. `timeout` in seconds, None: no limit. `notice` hears what is no failure.

        Raises StageFailed, whose `failure` says what became of its call, UsageProblem for a pipeline that
        cannot run, TimedOut, EngineUnreachable, StreamTruncated and ContentDiffers for the streams, and what
        the source and the sink raise. Cancelled, it aborts all streams; calls that do not end are left.
        """
        from iii_cli.client.pipe import pipe
        from iii_cli.protocol.pipeline import parse_stages

        return await pipe(
            await self._ready(),
            self.endpoint,
            parse_stages(stages, self.identity.namespace),
            source,
            sink,
            timeout=timeout,
            require_seal=require_seal,
            notice=notice,
        )

    async def functions(self, *, search: str | None = None, include_internal: bool = False) -> list[Any]:
        """The engine's rows of its functions (docs: protocol, "Built-in functions"). Raises as `trigger`."""
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
        writer, reader = read_created(created)
        return Channel(writer, reader, self._writer(writer), ChannelReader(self.endpoint, reader))

    def open(self, ref: ChannelRef) -> ChannelReader | ChannelWriter:
        """The live end of a ref, such as one in the result of a call. It connects at its first use."""
        return self._writer(ref) if ref.direction is Direction.WRITE else ChannelReader(self.endpoint, ref)

    def _writer(self, ref: ChannelRef) -> ChannelWriter:
        writer = ChannelWriter(self.endpoint, ref, Sealer(new_stream_id()) if self._seal else None)
        self._beating.add(writer)
        return writer

    async def beat(self) -> None:
        """Let every open writer say that it is alive, and look whether its network is.

        Runs until cancelled, which loses nothing; never raises.
        """
        while True:
            await anyio.sleep(BEAT_AFTER / 3)
            for writer in list(self._beating):
                writer.beat()
                writer.look()

    # the connection

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Connect and stay connected until cancelled. `started` once announced.

        Raises what made the first connection fail.
        """
        connection = await self._connect(self.endpoint, None)
        async with anyio.create_task_group() as handlers:
            try:
                task_status.started()
                while True:
                    lost = await self._attend(connection, handlers)
                    if not self._reconnect:
                        self._failure = lost
                        self._note_change()
                        return
                    self._on_lost(lost)
                    connection = await self._connect_again(connection, lost)
            finally:
                handlers.cancel_scope.cancel()

    async def _connect(self, endpoint: Endpoint, previous: Connection | None) -> Connection:
        connection = await Connection.open(endpoint, self.identity, previous=previous)
        self._made += 1
        return connection

    async def _connect_again(self, previous: Connection, lost: Failure) -> Connection:
        """Win the connection back, however long it takes. A refusal may be over soon: the engine's auth
        function is a worker that has to come back, too.
        """
        attempt = 0
        while True:
            await anyio.sleep(pause_before(attempt))
            attempt += 1
            try:
                return await self._connect(replace(self.endpoint, wait_engine=None), previous)
            except Failure as failure:
                if type(failure) is not type(lost):
                    lost = failure
                    self._on_lost(failure)

    async def _attend(self, connection: Connection, handlers: TaskGroup) -> Failure:
        """Serve one connection until it is lost, and say how."""
        self._connection = connection
        for function in self._functions.values():
            function.announced, function.taken = False, None
        self._note_change()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_registered, connection)
                await connection.attend(partial(self._handle, connection, handlers))
                tasks.cancel_scope.cancel()
        finally:
            self._connection = None
            for scope in self._scopes:
                scope.cancel()
        assert connection.lost is not None
        return connection.lost

    async def _handle(self, connection: Connection, handlers: TaskGroup, message: Message) -> None:
        if isinstance(message, InvokeFunction):
            if self._answering < self._max_calls:
                self._answering += 1
                handlers.start_soon(self._answer, connection, message)
                return
            self._refused += 1
            if message.invocation_id is not None:
                body = ErrorBody(
                    BUSY, f"this worker answers {self._max_calls} calls at once; try again later"
                )
                with anyio.move_on_after(DEAD_SECONDS):
                    await connection.send(
                        InvocationResult(message.invocation_id, message.function_id, error=body)
                    )
        elif isinstance(message, RegistrationRejected) and message.function_id is not None:
            function = self._functions.get(message.function_id)
            if function is not None:
                reason = f"may not be registered in namespace {message.namespace}"
                if message.owner_worker_id:
                    reason = f"is taken in namespace {message.namespace} by worker {message.owner_worker_id}"
                function.taken = NameTaken(f"the function {message.function_id} {reason}")
            self._note_change()

    async def _ready(self) -> Connection:
        """The present connection, or the next one, once it knows every function so far.

        Raises EngineUnreachable where it is lost meanwhile, and what ended the connection for good.
        """
        while self._connection is None or self._connection.lost is not None:
            if self._failure is not None:
                raise copy(self._failure)
            await self._changed.wait()
        connection = self._connection
        await self._register(connection)
        return connection

    async def _keep_registered(self, connection: Connection) -> None:
        """Announce what is there and what is added; say that we are back when the engine has all of it."""
        with suppress(Failure):  # `attend` sees the same, and says so
            if self._made > 1:
                await self._register(connection)
                await connection.ping()
                self._on_back()
            while True:
                fresh = self._fresh = anyio.Event()
                await self._register(connection)
                await fresh.wait()

    async def _register(self, connection: Connection) -> None:
        """Announce the functions that the connection does not know yet."""
        async with self._registering:
            for function in list(self._functions.values()):
                if self._connection is connection and not function.announced:
                    function.announced = True
                    await connection.send(function.message)

    def _first_taken(self) -> NameTaken | None:
        return next((function.taken for function in self._functions.values() if function.taken), None)

    def _note_change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    # calls of others

    async def _answer(self, connection: Connection, message: InvokeFunction) -> None:
        """Run the handler and send what came of it. Nothing that a handler raises gets out of here."""
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                result, error = NULL, None
                try:
                    function = self._functions.get(message.function_id)
                    if function is None:
                        raise FunctionFailed("function_not_found", "Function not found")
                    result = await function.answer(message, self.open)
                except Exception as problem:
                    error = error_body(problem)
                self._answered += 1
                if message.invocation_id is None:
                    return
                reply = InvocationResult(message.invocation_id, message.function_id, result, error)
                try:
                    await connection.send(reply)
                except FunctionFailed as problem:  # it is too large
                    await connection.send(replace(reply, result=NULL, error=error_body(problem)))
            except Failure:
                return  # the connection is lost: nobody is there to hear it
            finally:
                self._scopes.discard(scope)
                self._answering -= 1
                self._fewer.set()


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

"""A worker: functions of ours that others call, and calls of ours to others, over one connection."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, final
from weakref import WeakSet

import anyio
from anyio import TASK_STATUS_IGNORED

from iii_cli.client.answering import Answering, unwrapped
from iii_cli.client.call import CALL_SECONDS, read_created
from iii_cli.client.connection import Connection, Pace
from iii_cli.client.identity import new_uuid
from iii_cli.client.live import open_end, without_ends
from iii_cli.client.reader import ChannelReader
from iii_cli.client.session import Functions
from iii_cli.client.writer import ChannelWriter
from iii_cli.errors import EngineUnreachable, Failure, TimedOut
from iii_cli.wire.messages import (
    InvokeFunction,
    RegisterFunction,
    Void,
    encode,
)
from iii_cli.wire.seal import BEAT_AFTER
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import TaskStatus

    from iii_cli.client.link import Identity
    from iii_cli.client.session import Handler
    from iii_cli.wire.address import Endpoint
    from iii_cli.wire.messages import Action
    from iii_cli.wire.ref import ChannelRef

__all__ = ("CALLS_MAX", "Channel", "Worker", "WorkerStatistics", "open_worker")

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


class Channel(Value):
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
            encode(message)
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
        request = InvokeFunction(
            function_id=function_id,
            data=without_ends(data, self._answering.hand_on),
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

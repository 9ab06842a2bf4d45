"""What an engine carries: bytes, calls, round trips."""

from __future__ import annotations

import math
import os
from array import array
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, final

import anyio
from msgspec import Struct

from iii_cli.client.call import new_stream_id, new_uuid
from iii_cli.client.channels import ABORT_SECONDS, ChannelReader, ChannelWriter
from iii_cli.client.connection import Identity, open_caller, unique_name
from iii_cli.client.worker import Worker, open_worker
from iii_cli.errors import Failure, FunctionFailed, TimedOut
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.seal import Mode, Sealer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from iii_cli.client.connection import Caller
    from iii_cli.protocol.refs import ChannelRef, Endpoint

__all__ = (
    "CALLS_MAX",
    "WAYS",
    "ChannelBench",
    "ChannelPlan",
    "Pair",
    "RttBench",
    "RttPlan",
    "Spread",
    "TriggerBench",
    "TriggerPlan",
    "echo_served",
    "open_pair",
    "percentile",
    "read_to_the_end",
    "spread_of",
)


CREATE_SECONDS = 5.0  # an engine that is there answers in milliseconds


class Pair(NamedTuple):
    """Two open ends of one channel, sealed."""

    writer: ChannelWriter
    reader: ChannelReader


@asynccontextmanager
async def open_pair(caller: Caller, endpoint: Endpoint, mode: Mode, buffer_size: int) -> AsyncIterator[Pair]:
    """Create a channel and take both its ends. Nothing of it is left behind, cancelled or not.

    `caller` is one of `open_caller`. Raises as `ChannelWriter.open`, and as `Caller.create_channel`.
    """
    writer_ref, reader_ref = await _created(caller, buffer_size)
    pair = Pair(
        ChannelWriter(endpoint, writer_ref, Sealer(new_stream_id(), mode=mode)),
        ChannelReader(endpoint, reader_ref),
    )
    try:
        await _take(pair)
        yield pair
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(ABORT_SECONDS), suppress(Failure):
            if not pair.writer.ended:
                await _take(pair)  # an end that nobody took keeps the channel for five minutes
        pair.reader.leave()
        await pair.writer.abort(1, "stopped")


async def read_to_the_end(reader: ChannelReader) -> None:
    """Read and forget. Raises the Failure of a stream that does not end well."""
    while await reader.pull():
        pass
    failure = await reader.failure()
    if failure is not None:
        raise failure


async def _created(caller: Caller, buffer_size: int) -> tuple[ChannelRef, ChannelRef]:
    """Cancelled or not, the answer is waited for: a channel whose refs nobody has stays for five minutes."""
    with anyio.CancelScope(shield=True), anyio.move_on_after(CREATE_SECONDS):
        return await caller.create_channel(buffer_size)
    raise TimedOut(f"the engine made no channel within {CREATE_SECONDS:g} s")


async def _take(pair: Pair) -> None:
    await pair.reader.open()
    await pair.writer.open()


class Spread(Struct, frozen=True):
    """Times in seconds. Each is one that was measured, but for the mean."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


def spread_of(times: Iterable[float]) -> Spread | None:
    """The figures of `times`; None where there are none."""
    ordered = sorted(times)
    if not ordered:
        return None
    p50, p90, p99 = (percentile(ordered, percent) for percent in (50, 90, 99))
    return Spread(len(ordered), math.fsum(ordered) / len(ordered), p50, p90, p99, ordered[-1])


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` of a hundred of the values do not exceed (the nearest rank).

    `ordered` is not empty, in ascending order; `percent` from 1 to 100.
    """
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1]


HELD_BYTES = 16 << 20  # that a channel may hold back (design.md section 4)
BUFFER_MAX = 1024  # messages; the engine takes no more
BATCH_BYTES = 64 << 10  # of lines that are sent together, as `channel write --lines` reads them from a pipe
PATIENCE = 10.0  # seconds that what is on its way may take when the time is over


class ChannelPlan(Struct, frozen=True):
    """`size` is the bytes of all clients together, None as much as the time allows. `seconds` is how long is
    written; what is on its way then is still read and verified.
    """

    endpoint: Endpoint
    clients: int
    seconds: float
    size: int | None
    message_bytes: int
    lines: bool

    @property
    def buffer_size(self) -> int:
        """Messages that a channel may hold back."""
        return max(1, min(BUFFER_MAX, HELD_BYTES // self.message_bytes))


@final
class ChannelBench:
    """One run of a plan. Its figures can be read at any time, after a cancelled `run` too."""

    def __init__(self, plan: ChannelPlan) -> None:
        self.plan = plan
        self.verified = 0  # streams that arrived whole
        self._readers: list[ChannelReader] = []
        self._began: float | None = None
        self._took: float | None = None
        self._everybody_there = anyio.Event()

    @property
    def bytes(self) -> int:
        """What was read: payload of binary frames, or of lines."""
        if self.plan.lines:
            return self.messages * self.plan.message_bytes
        return sum(reader.statistics().bytes for reader in self._readers)

    @property
    def messages(self) -> int:
        """Frames or lines that were read; frames are counted by their size."""
        if self.plan.lines:
            return sum(reader.statistics().messages for reader in self._readers)
        return sum(-(-reader.statistics().bytes // self.plan.message_bytes) for reader in self._readers)

    @property
    def seconds(self) -> float:
        """From the first write to the last read; 0 before."""
        return self._took or 0.0

    async def run(self) -> None:
        """Write and read. Raises EngineUnreachable, NotAuthorised, what became of a stream, and TimedOut
        where the engine does not carry everything in time.
        """
        async with open_caller(self.plan.endpoint) as caller:
            with anyio.CancelScope() as scope:
                await self._all(caller, scope)
        if scope.cancelled_caught:
            missing = f"{self.plan.clients - self.verified} of {self.plan.clients}"
            raise TimedOut(f"{missing} streams were not read to their end {PATIENCE:g} s after the time")

    async def _all(self, caller: Caller, scope: anyio.CancelScope) -> None:
        try:
            async with anyio.create_task_group() as clients:
                for number in range(self.plan.clients):
                    clients.start_soon(self._client, caller, number, scope)
        finally:
            if self._began is not None:
                self._took = self._took or anyio.current_time() - self._began

    async def _client(self, caller: Caller, number: int, scope: anyio.CancelScope) -> None:
        plan = self.plan
        mode = Mode.LINES if plan.lines else Mode.BYTES
        async with open_pair(caller, plan.endpoint, mode, plan.buffer_size) as pair:
            self._readers.append(pair.reader)
            end = await self._start(scope)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write, pair.writer, self._share(number), end)
                await read_to_the_end(pair.reader)
            self.verified += 1
            if self.verified == plan.clients:
                self._took = anyio.current_time() - (end - plan.seconds)

    async def _start(self, scope: anyio.CancelScope) -> float:
        """Wait until all ends of all clients are open; when the writing ends. `scope` ends everything."""
        plan = self.plan
        if len(self._readers) == plan.clients:
            self._began = anyio.current_time()
            scope.deadline = self._began + plan.seconds + PATIENCE
            self._everybody_there.set()
        await self._everybody_there.wait()
        assert self._began is not None
        return self._began + plan.seconds

    def _share(self, number: int) -> float:
        """The bytes of one client: the first ones take what cannot be divided."""
        plan = self.plan
        if plan.size is None:
            return math.inf
        return plan.size // plan.clients + (number < plan.size % plan.clients)

    async def _write(self, writer: ChannelWriter, left: float, end: float) -> None:
        data = memoryview(os.urandom(self.plan.message_bytes))
        line = b"x" * self.plan.message_bytes
        batch = max(1, BATCH_BYTES // len(line))
        while left > 0 and anyio.current_time() < end:
            if self.plan.lines:
                count = int(min(batch, -(-left // len(line))))
                await writer.push_messages([line] * count)
                left -= count * len(line)
            else:
                chunk = data[: int(min(left, len(data)))]
                await writer.push(chunk)
                left -= len(chunk)
        await writer.finish()


CALLS_MAX = 1_000_000  # every time that was measured is kept, 8 bytes each


class TriggerPlan(Struct, frozen=True):
    """`function_id` None: one that we serve ourselves, which answers at once. `timeout` is of each call."""

    endpoint: Endpoint
    function_id: str | None
    data: Any
    namespace: str | None
    in_flight: int
    seconds: float
    calls: int
    timeout: float


@final
class TriggerBench:
    """One run of a plan. Its figures can be read at any time, after a cancelled `run` too."""

    def __init__(self, plan: TriggerPlan) -> None:
        self.plan = plan
        self.failed = 0
        self.first_failure: Failure | None = None
        self._begun = 0
        self._times = array("d")  # of the calls that were answered with a result
        self._took: float | None = None

    @property
    def answered(self) -> int:
        """Calls that brought a result."""
        return len(self._times)

    @property
    def seconds(self) -> float:
        """From the first call to the last answer; 0 before."""
        return self._took or 0.0

    @property
    def latency(self) -> Spread | None:
        """Of the calls that brought a result, in seconds; None without any."""
        return spread_of(self._times)

    async def run(self) -> None:
        """Call once to see that it works, then as often as the plan says. Calls that fail later are counted.

        Raises what the first call fails with, EngineUnreachable, NotAuthorised.
        """
        plan = self.plan
        if plan.function_id is not None:
            await self._call_it(plan.function_id)
            return
        async with echo_served(plan.endpoint, plan.namespace) as function_id:
            await self._call_it(function_id)

    async def _call_it(self, function_id: str) -> None:
        async with open_caller(self.plan.endpoint) as caller:
            await self._call(caller, function_id)
            await self._measure(caller, function_id)

    async def _measure(self, caller: Caller, function_id: str) -> None:
        began = anyio.current_time()
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(self.plan.in_flight):
                    tasks.start_soon(self._lane, caller, function_id, began + self.plan.seconds)
        finally:
            self._took = anyio.current_time() - began

    async def _lane(self, caller: Caller, function_id: str, end: float) -> None:
        """One call after the other."""
        while self._begun < self.plan.calls and (sent := anyio.current_time()) < end:
            self._begun += 1
            try:
                await self._call(caller, function_id)
            except (FunctionFailed, TimedOut) as failure:
                self.failed += 1
                self.first_failure = self.first_failure or failure
            else:
                self._times.append(anyio.current_time() - sent)

    async def _call(self, caller: Caller, function_id: str) -> None:
        plan = self.plan
        await caller.call(function_id, plan.data, namespace=plan.namespace, timeout=plan.timeout)


@asynccontextmanager
async def echo_served(endpoint: Endpoint, namespace: str | None) -> AsyncIterator[str]:
    """A worker of our own with one function that answers what it is given: the function's id.

    Both are gone when this ends. Raises EngineUnreachable, NotAuthorised, NameTaken.
    """
    worker = Worker(endpoint, Identity(unique_name(), namespace), reconnect=False)
    function_id = f"iii-bench::echo-{new_uuid()[:8]}"

    @worker.function(function_id, description="Answers what it is given, for iii bench", live=False)
    async def echo(payload: Any) -> Any:
        return payload

    async with open_worker(worker):
        await worker.wait_registered()
        yield function_id


WAYS = ("engine", "call", "channels")
WARM_UP = 5  # round trips that are not counted: the first ones pay for what is loaded and allocated then
RTT_PATIENCE = 10.0  # seconds that one round trip may take
BUFFER = 16


class RttPlan(Struct, frozen=True):
    """`seconds` is the time for all the ways, `count` the round trips on each."""

    endpoint: Endpoint
    namespace: str | None
    seconds: float
    count: int
    message_bytes: int


@final
class RttBench:
    """One run of a plan. Its figures can be read at any time, after a cancelled `run` too."""

    def __init__(self, plan: RttPlan) -> None:
        self.plan = plan
        self._times = {way: array("d") for way in WAYS}
        self._message = b"x" * plan.message_bytes

    def latency(self, way: str) -> Spread | None:
        """Of the round trips on one of WAYS, in seconds; None before."""
        return spread_of(self._times[way])

    async def run(self) -> None:
        """One way after the other, one message at a time.

        Raises EngineUnreachable, NotAuthorised, what became of a stream or a call, and TimedOut for a message
        that does not come back.
        """
        async with open_caller(self.plan.endpoint) as caller:
            await self._measure("engine", caller.ping)
            await self._through_a_call(caller)
            await self._through_channels(caller)

    async def _through_a_call(self, caller: Caller) -> None:
        plan = self.plan
        data = {"message": self._message.decode()}
        async with echo_served(plan.endpoint, plan.namespace) as function_id:

            async def there_and_back() -> None:
                await caller.call(function_id, data, namespace=plan.namespace)

            await self._measure("call", there_and_back)

    async def _through_channels(self, caller: Caller) -> None:
        endpoint = self.plan.endpoint
        async with (
            open_pair(caller, endpoint, Mode.LINES, BUFFER) as there,
            open_pair(caller, endpoint, Mode.LINES, BUFFER) as back,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(_echo, there.reader, back)

            async def there_and_back() -> None:
                await there.writer.push_message(self._message)
                await _next_message(back.reader)

            await self._measure("channels", there_and_back)
            await there.writer.finish()
            await read_to_the_end(back.reader)

    async def _measure(self, way: str, there_and_back: Callable[[], Awaitable[object]]) -> None:
        times, plan = self._times[way], self.plan
        for _ in range(WARM_UP):
            await _once(way, there_and_back)
        end = anyio.current_time() + plan.seconds / len(WAYS)
        while len(times) < plan.count and (sent := anyio.current_time()) < end:
            await _once(way, there_and_back)
            times.append(anyio.current_time() - sent)


async def _once(way: str, there_and_back: Callable[[], Awaitable[object]]) -> None:
    with anyio.move_on_after(RTT_PATIENCE):
        await there_and_back()
        return
    raise TimedOut(f"a message did not come back within {PATIENCE:g} s ({way})")


async def _echo(source: ChannelReader, back: Pair) -> None:
    """The far side: send back what comes, and end when it ends."""
    while events := await source.pull():
        for opcode, payload, _ in events:
            if opcode == Opcode.TEXT:
                await back.writer.push_message(payload)
    failure = await source.failure()
    if failure is not None:
        raise failure
    await back.writer.finish()


async def _next_message(reader: ChannelReader) -> None:
    if not await reader.pull():
        failure = await reader.failure()
        assert failure is not None, "the echo ended before we did"
        raise failure

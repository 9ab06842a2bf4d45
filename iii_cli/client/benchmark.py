"""What an engine carries: bytes, calls, round trips.

Each bench is one run. Its figures can be read at any time, after a cancelled `run` too.
"""

from __future__ import annotations

import math
import os
import time
from array import array
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct, field

from iii_cli.client.call import new_stream_id, new_uuid
from iii_cli.client.channels import ABORT_SECONDS, ChannelReader, ChannelWriter
from iii_cli.client.connection import Identity, open_connection, unique_name
from iii_cli.client.worker import Worker, open_worker
from iii_cli.errors import Failure, FunctionFailed, TimedOut
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.seal import Mode, Sealer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from iii_cli.client.connection import Connection
    from iii_cli.protocol.frames import Event
    from iii_cli.protocol.refs import Endpoint

__all__ = ("WAYS", "ChannelBench", "RttBench", "TriggerBench", "spread_of")

CREATE_SECONDS = 5.0  # an engine that is there answers in milliseconds
PATIENCE = 10.0  # seconds that what is on its way may take when the time is over; one round trip, too
HELD_BYTES = 16 << 20  # that a channel may hold back
BUFFER_MAX = 1024  # messages; the engine takes no more
BATCH_BYTES = 64 << 10  # of lines that are sent together, as `channel write --lines` reads them from a pipe
WAYS = ("engine", "call", "channels")
WARM_UP = 5  # round trips that are not counted: the first ones pay for what is loaded and allocated then


class ChannelBench(Struct, kw_only=True, eq=False):
    """Write into channels and read from them.

    `size` is the bytes of all clients together, None: as much as the time allows. `seconds` is how long is
    written; what is on its way then is still read and verified.
    """

    endpoint: Endpoint
    clients: int
    seconds: float
    size: int | None
    message_bytes: int
    lines: bool
    verified: int = 0  # streams that arrived whole
    took: float = 0.0  # seconds from the first write to the last read
    readers: list[ChannelReader] = field(default_factory=list)
    everybody_there: anyio.Event = field(default_factory=anyio.Event)

    @property
    def bytes(self) -> int:
        """What was read: payload of binary frames, or of lines."""
        if self.lines:
            return self.messages * self.message_bytes
        return sum(reader.statistics().bytes for reader in self.readers)

    @property
    def messages(self) -> int:
        """Frames or lines that were read; frames are counted by their size."""
        if self.lines:
            return sum(reader.statistics().messages for reader in self.readers)
        return sum(-(-reader.statistics().bytes // self.message_bytes) for reader in self.readers)

    async def run(self) -> None:
        """Write and read. Raises EngineUnreachable, NotAuthorised, what became of a stream, and TimedOut
        where the engine does not carry everything in time.
        """
        began = math.inf
        with anyio.CancelScope() as scope:
            try:
                async with open_connection(self.endpoint) as caller, anyio.create_task_group() as tasks:
                    for number in range(self.clients):
                        tasks.start_soon(self._client, caller, number)
                    await self.everybody_there.wait()
                    began = time.monotonic()
                    scope.deadline = anyio.current_time() + self.seconds + PATIENCE
            finally:
                self.took = self.took or max(time.monotonic() - began, 0.0)
        if scope.cancelled_caught:
            missing = f"{self.clients - self.verified} of {self.clients}"
            raise TimedOut(f"{missing} streams were not read to their end {PATIENCE:g} s after the time")

    async def _client(self, caller: Connection, number: int) -> None:
        share = math.inf  # bytes; the first clients take what cannot be divided
        if self.size is not None:
            share = self.size // self.clients + (number < self.size % self.clients)
        mode = Mode.LINES if self.lines else Mode.BYTES
        buffer_size = max(1, min(BUFFER_MAX, HELD_BYTES // self.message_bytes))
        async with _open_pair(caller, self.endpoint, mode, buffer_size) as (writer, reader):
            self.readers.append(reader)
            if len(self.readers) == self.clients:
                self.everybody_there.set()
            await self.everybody_there.wait()
            began = time.monotonic()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write, writer, share, began + self.seconds)
                while await _pull(reader):
                    pass
            self.verified += 1
            if self.verified == self.clients:
                self.took = time.monotonic() - began

    async def _write(self, writer: ChannelWriter, left: float, end: float) -> None:
        data = memoryview(os.urandom(self.message_bytes))
        line = b"x" * self.message_bytes
        batch = max(1, BATCH_BYTES // len(line))
        while left > 0 and time.monotonic() < end:
            if self.lines:
                count = int(min(batch, -(-left // len(line))))
                await writer.push_messages([line] * count)
                left -= count * len(line)
            else:
                chunk = data[: int(min(left, len(data)))]
                await writer.push(chunk)
                left -= len(chunk)
        await writer.finish()


class TriggerBench(Struct, kw_only=True, eq=False):
    """Call a function again and again.

    `function_id` None: one that we serve ourselves, which answers at once. `timeout` is of each call.
    """

    endpoint: Endpoint
    function_id: str | None
    data: Any
    namespace: str | None
    in_flight: int
    seconds: float
    calls: int
    timeout: float
    failed: int = 0
    first_failure: Failure | None = None
    took: float = 0.0  # seconds from the first call to the last answer
    begun: int = 0
    times: array[float] = field(default_factory=lambda: array("d"))  # of calls that brought a result

    async def run(self) -> None:
        """Call once to see that it works, then as often as wanted. Calls that fail later are counted.

        Raises what the first call fails with, EngineUnreachable, NotAuthorised.
        """
        async with AsyncExitStack() as stack:
            function_id = self.function_id
            if function_id is None:
                function_id = await stack.enter_async_context(_echo_served(self.endpoint, self.namespace))
            caller = await stack.enter_async_context(open_connection(self.endpoint))
            call = partial(
                caller.call, function_id, self.data, namespace=self.namespace, timeout=self.timeout
            )
            await call()
            began = time.monotonic()
            try:
                async with anyio.create_task_group() as tasks:
                    for _ in range(self.in_flight):
                        tasks.start_soon(self._call_again, call, began + self.seconds)
            finally:
                self.took = time.monotonic() - began

    async def _call_again(self, call: Callable[[], Awaitable[object]], end: float) -> None:
        while self.begun < self.calls and (sent := time.monotonic()) < end:
            self.begun += 1
            try:
                await call()
            except (FunctionFailed, TimedOut) as failure:
                self.failed += 1
                self.first_failure = self.first_failure or failure
            else:
                self.times.append(time.monotonic() - sent)


class RttBench(Struct, kw_only=True, eq=False):
    """Send one message at a time there and back, on one of WAYS after the other.

    `seconds` is the time for all the ways, `count` the round trips on each.
    """

    endpoint: Endpoint
    namespace: str | None
    seconds: float
    count: int
    message_bytes: int
    times: dict[str, array[float]] = field(default_factory=lambda: {way: array("d") for way in WAYS})

    async def run(self) -> None:
        """Raises EngineUnreachable, NotAuthorised, what became of a stream or a call, and TimedOut for a
        message that does not come back.
        """
        message = b"x" * self.message_bytes
        async with open_connection(self.endpoint) as caller:
            await self._measure("engine", caller.ping)

            async with _echo_served(self.endpoint, self.namespace) as function_id:
                data = {"message": message.decode()}
                await self._measure("call", partial(caller.call, function_id, data, namespace=self.namespace))

            async with (
                _open_pair(caller, self.endpoint, Mode.LINES, 16) as (writer, far_reader),
                _open_pair(caller, self.endpoint, Mode.LINES, 16) as (far_writer, reader),
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(_echo, far_reader, far_writer)

                async def there_and_back() -> None:
                    await writer.push_messages([message])
                    if not await _pull(reader):
                        raise AssertionError("the echo ended before we did")

                await self._measure("channels", there_and_back)
                await writer.finish()
                while await _pull(reader):
                    pass

    async def _measure(self, way: str, there_and_back: Callable[[], Awaitable[object]]) -> None:
        times, warm_up, end = self.times[way], WARM_UP, math.inf
        while len(times) < self.count and (sent := time.monotonic()) < end:
            with anyio.move_on_after(PATIENCE) as scope:
                await there_and_back()
            if scope.cancelled_caught:
                raise TimedOut(f"a message did not come back within {PATIENCE:g} s ({way})")
            if warm_up:
                warm_up -= 1
                end = time.monotonic() + self.seconds / len(WAYS) if warm_up == 0 else math.inf
            else:
                times.append(time.monotonic() - sent)


def spread_of(times: Iterable[float]) -> dict[str, float] | None:
    """Count, mean, percentiles (the nearest rank) and maximum of `times`: seconds in, milliseconds out. None:
    no times.
    """
    ordered = sorted(times)
    if not ordered:
        return None
    count = len(ordered)
    figures = {"mean": math.fsum(ordered) / count}
    figures |= {f"p{percent}": ordered[-(-count * percent // 100) - 1] for percent in (50, 90, 99)}
    figures["max"] = ordered[-1]
    return {"count": count} | {name: round(value * 1000, 4) for name, value in figures.items()}


@asynccontextmanager
async def _open_pair(
    caller: Connection, endpoint: Endpoint, mode: Mode, buffer_size: int
) -> AsyncIterator[tuple[ChannelWriter, ChannelReader]]:
    """The open ends of a channel of its own, sealed. Nothing of it is left behind, cancelled or not.

    Raises as `ChannelWriter.open`, and as `Connection.create_channel`.
    """
    refs = None
    with anyio.CancelScope(shield=True), anyio.move_on_after(CREATE_SECONDS):
        refs = await caller.create_channel(buffer_size)  # without its refs it would stay for five minutes
    if refs is None:
        raise TimedOut(f"the engine made no channel within {CREATE_SECONDS:g} s")
    writer = ChannelWriter(endpoint, refs[0], Sealer(new_stream_id(), mode=mode))
    reader = ChannelReader(endpoint, refs[1])
    try:
        await reader.open()
        await writer.open()
        yield writer, reader
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(ABORT_SECONDS), suppress(Failure):
            await reader.open()  # an end that nobody took keeps the channel for five minutes
        reader.leave()
        await writer.give_up(1, "stopped")


async def _pull(reader: ChannelReader) -> list[Event]:
    """What came next, nothing after a good end. Raises the Failure of any other."""
    events = await reader.pull()
    if not events and (failure := await reader.failure()) is not None:
        raise failure
    return events


async def _echo(source: ChannelReader, back: ChannelWriter) -> None:
    """The far side: send back what comes, and end when it ends."""
    while events := await _pull(source):
        await back.push_messages([bytes(payload) for opcode, payload, _ in events if opcode == Opcode.TEXT])
    await back.finish()


@asynccontextmanager
async def _echo_served(endpoint: Endpoint, namespace: str | None) -> AsyncIterator[str]:
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

"""How much goes through channels: written and read here, carried by the engine, verified by the seal."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, final

import anyio

from iii_cli.client.caller import open_caller
from iii_cli.client.pair import open_pair, read_to_the_end
from iii_cli.errors import TimedOut
from iii_cli.wire.seal import Mode
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from iii_cli.client.caller import Caller
    from iii_cli.client.reader import ChannelReader
    from iii_cli.client.writer import ChannelWriter
    from iii_cli.wire.address import Endpoint

__all__ = ("ChannelBench", "ChannelPlan")

HELD_BYTES = 16 << 20  # that a channel may hold back (design.md section 4)
BUFFER_MAX = 1024  # messages; the engine takes no more
BATCH_BYTES = 64 << 10  # of lines that are sent together, as `channel write --lines` reads them from a pipe
PATIENCE = 10.0  # seconds that what is on its way may take when the time is over


class ChannelPlan(Value):
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

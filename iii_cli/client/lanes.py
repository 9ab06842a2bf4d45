"""The streams of one call: each end of ours, with what feeds it or what it feeds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, final

from iii_cli.client.draining import ReadOrder, read_stream
from iii_cli.client.sending import WriteOrder, abort_words, write_stream
from iii_cli.client.stream_rules import Way
from iii_cli.errors import ContentDiffers, Failure
from iii_cli.wire.frames import FRAME_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager

    import anyio

    from iii_cli.client.draining import ByteSink
    from iii_cli.client.reader import ChannelReader
    from iii_cli.client.sending import ByteSource
    from iii_cli.client.writer import ChannelWriter
    from iii_cli.wire.frames import Buffer
    from iii_cli.wire.ref import ChannelRef
    from iii_cli.wire.seal import Mode
    from iii_cli.wire.verdict import Verdict

__all__ = ("CHANNEL_BYTES", "Demand", "InLane", "Lane", "OutLane", "Supply", "frame_bytes")

CHANNEL_BYTES = 16 << 20  # what a channel of ours may hold in the engine: frames times buffer (design.md 4)
NOT_STARTED = (1, "the call was not made")


def frame_bytes(buffer_size: int) -> int:
    """How large our frames may be in a channel that holds so many of them."""
    return min(FRAME_BYTES_MAX, CHANNEL_BYTES // max(buffer_size, 1))


class Lane(Protocol):
    """One stream of a call. `theirs` is the end that the function gets."""

    label: str
    theirs: ChannelRef
    way: Way
    settled: bool  # the stream is over, only the call's success is awaited

    async def open(self) -> None:
        """Take our end, before the call is made."""

    async def move(self, gate: anyio.Event) -> Verdict | None:
        """Move the whole stream. `gate` is the call's success. Raises Failure and BrokenPipeError."""

    def give_up_as(self, code: int, reason: str) -> None:
        """What a reader of ours hears if the stream is cancelled from now on."""

    def moved(self) -> int:
        """Grows while anything moves."""

    def byte_count(self) -> int:
        """Payload bytes so far."""

    def waits_for_us(self) -> bool:
        """Is it our side that stands still?"""

    async def close(self) -> None:
        """Let go of an end that never got to move."""


@dataclass(slots=True)
class Supply:
    """What feeds a stream; `conclude` as in WriteOrder."""

    sources: Sequence[ByteSource]
    conclude: Callable[[], Awaitable[None]] | None = None


@dataclass(slots=True)
class Demand:
    """What a stream feeds; `beside` and `conclude` as in ReadOrder."""

    sink: ByteSink
    beside: Callable[[], Awaitable[None]] | None = None
    conclude: Callable[[], Awaitable[None]] | None = None


@final
class _PacedSource:
    """A source that gives no more than a frame at a time, and shows when it is waited for."""

    def __init__(self, inner: ByteSource, longest: int) -> None:
        self._inner = inner
        self._longest = longest
        self.name = inner.name
        self.awaited = False

    @property
    def short_by(self) -> int:
        return self._inner.short_by

    async def read_into(self, view: memoryview) -> int:
        self.awaited = True
        count = await self._inner.read_into(view[: self._longest])
        self.awaited = False
        return count


@final
class _GatedSink:
    """A sink that does not finish an unverified stream before the call has succeeded (item 3 of issue 6)."""

    def __init__(self, inner: ByteSink, lane: OutLane, gate: anyio.Event) -> None:
        self._inner = inner
        self._lane = lane
        self._gate = gate
        self.awaited = False

    @property
    def durable(self) -> bool:
        return self._inner.durable

    async def open(self) -> None:
        await self._inner.open()

    def expect_text(self) -> None:
        self._inner.expect_text()

    async def write(self, chunk: Buffer) -> None:
        self.awaited = True
        await self._inner.write(chunk)
        self.awaited = False

    def has_readers(self) -> bool:
        return self._inner.has_readers()

    async def write_many(self, chunks: Iterable[Buffer]) -> None:
        self.awaited = True
        await self._inner.write_many(chunks)
        self.awaited = False

    def judge(self, status: int, *, verified: bool, count: int) -> None:
        self._inner.judge(status, verified=verified, count=count)

    async def finish(self) -> None:
        verdict = self._lane.reader.verdict
        expected, arrived = self._lane.expected_bytes, self._lane.reader.statistics().bytes
        if expected is not None and expected != arrived:
            raise ContentDiffers(f"the result says {expected} bytes, {arrived} arrived")
        if verdict is not None and not verdict.verified:
            self._lane.settled = True
            await self._gate.wait()
        await self._inner.finish()

    def discard(self) -> None:
        self._inner.discard()


@final
@dataclass(slots=True, eq=False)
class InLane:
    """`--in`: we write, the function reads. `supply` is entered when the call is under way."""

    label: str
    theirs: ChannelRef  # the end that the function gets
    writer: ChannelWriter
    supply: Callable[[], AbstractAsyncContextManager[Supply]]
    mode: Mode
    longest_frame: int = FRAME_BYTES_MAX
    way: Way = Way.IN
    settled: bool = False
    _sources: list[_PacedSource] = field(default_factory=list)
    _words: tuple[int, str] | None = None

    async def open(self) -> None:
        await self.writer.open()

    async def move(self, gate: anyio.Event) -> Verdict | None:
        """Write the whole stream. Raises as `write_stream`."""
        async with self.supply() as supply:
            self._sources = [_PacedSource(source, self.longest_frame) for source in supply.sources]
            order = WriteOrder(
                writer=self.writer,
                sources=self._sources,
                mode=self.mode,
                conclude=supply.conclude,
                words=self._words_for,
            )
            await write_stream(order)
        return None

    def give_up_as(self, code: int, reason: str) -> None:
        self._words = (code, reason)

    def moved(self) -> int:
        counted = self.writer.statistics()
        return counted.bytes + counted.messages - counted.unsent_bytes

    def byte_count(self) -> int:
        return self.writer.statistics().bytes

    def waits_for_us(self) -> bool:
        return any(source.awaited for source in self._sources)

    async def close(self) -> None:
        await self.writer.abort(*(self._words or NOT_STARTED))

    def _words_for(self, cause: BaseException) -> tuple[int, str]:
        cancelled = not isinstance(cause, Failure)
        return self._words if cancelled and self._words is not None else abort_words(cause)


@final
@dataclass(slots=True, eq=False)
class OutLane:
    """`--out` and `--read`: the function writes, we read. `order` is complete but for its sink."""

    label: str
    theirs: ChannelRef
    reader: ChannelReader
    demand: Callable[[], AbstractAsyncContextManager[Demand]]
    order: Callable[[ByteSink], ReadOrder]
    ready: Callable[[], Awaitable[None]]  # opens what can be opened before the call
    dismiss: Callable[[], None]  # undoes that
    expected_bytes: int | None = None
    way: Way = Way.OUT
    settled: bool = False  # the stream is over, only the call's success is awaited
    _sink: _GatedSink | None = None

    async def open(self) -> None:
        """Open the target and take our end, before the call is made."""
        await self.ready()
        await self.reader.open()

    async def move(self, gate: anyio.Event) -> Verdict | None:
        """Read the whole stream. Raises as `read_stream`."""
        async with self.demand() as demand:
            self._sink = _GatedSink(demand.sink, self, gate)
            order = self.order(self._sink)
            order.beside, order.conclude = demand.beside, demand.conclude
            return await read_stream(order)

    def give_up_as(self, code: int, reason: str) -> None:
        """A reader has no way to say anything."""

    def moved(self) -> int:
        counted = self.reader.statistics()
        return counted.bytes + counted.messages

    def byte_count(self) -> int:
        return self.reader.statistics().bytes

    def waits_for_us(self) -> bool:
        return self._sink is not None and self._sink.awaited

    async def close(self) -> None:
        self.reader.leave()
        self.dismiss()

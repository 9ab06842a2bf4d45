"""From a channel into a sink: the reading half of every pipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import anyio

from iii_cli.client.limits import Limits, within
from iii_cli.client.receipts import HeldReceipt
from iii_cli.errors import ContentDiffers, Failure, Interrupted, sole_cause
from iii_cli.wire.frames import ENGINE_MESSAGE_MAX, Opcode, text_runs
from iii_cli.wire.records import chunk_to_jsonl, follow, messages_to_data
from iii_cli.wire.seal import Mode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from iii_cli.client.reader import ChannelReader
    from iii_cli.wire.address import Endpoint
    from iii_cli.wire.frames import Buffer, Event
    from iii_cli.wire.seal import Open
    from iii_cli.wire.verdict import Verdict

__all__ = ("ByteSink", "ReadOrder", "read_stream")


class ByteSink(Protocol):
    """Where bytes go; `terminal.sinks.Sink` is one."""

    @property
    def durable(self) -> bool:
        """Is what was written kept once `finish` has returned?"""

    def has_readers(self) -> bool:
        """Does anybody hold the other end, as far as it can be known?"""

    async def open(self) -> None: ...

    async def write(self, chunk: Buffer) -> None: ...

    async def write_many(self, chunks: Iterable[Buffer]) -> None: ...

    async def finish(self) -> None: ...

    def discard(self) -> None: ...


@dataclass(slots=True)
class ReadOrder:
    """One stream to be read.

    `mode`: as asked, None to follow the stream. `message` takes text messages that are no data in byte mode.
    `beside` runs during the transfer and may end it by returning: the consumer has had enough, unless the
    sink still has readers. `conclude` runs after a good end and a finished sink, and raises where the
    consumer failed.
    """

    reader: ChannelReader
    sink: ByteSink
    endpoint: Endpoint
    mode: Mode | None = None
    limits: Limits = field(default_factory=Limits)
    moved: Callable[[int], None] = lambda count: None
    message: Callable[[bytes], None] = lambda text: None
    beside: Callable[[], Awaitable[None]] | None = None
    conclude: Callable[[], Awaitable[None]] | None = None
    deliver_partial: bool = False


async def read_stream(order: ReadOrder) -> Verdict | None:
    """Read the stream to its end, and finish the sink only after a good one.

    Returns the verdict, None where the consumer had enough before the end. Every other end discards the sink
    and is raised: one Failure where it is ours, BrokenPipeError where the sink's reader left.
    """
    drain = _Drain(order)
    try:
        return await within(order.limits, drain.progress, drain.run, "the stream")
    except BaseException as error:
        cause = sole_cause(error)
        order.sink.discard()
        order.reader.leave()
        await drain.refuse(cause)
        if cause is error:
            raise
        raise cause from None


class _Drain:
    """One run of an order."""

    def __init__(self, order: ReadOrder) -> None:
        self.order = order
        self.reader = order.reader
        self.sink = order.sink
        self.mode: Mode | None = None
        self.written = 0
        self._whole = bytearray()  # a binary message of --jsonl whose rest is still to come
        self._receipt: HeldReceipt | None = None

    def progress(self) -> int:
        """Grows while bytes come in or go out."""
        counted = self.reader.statistics()
        return counted.bytes + counted.messages + self.written

    async def run(self) -> Verdict | None:
        """The story: open, move everything, judge, commit, confirm."""
        await self.sink.open()
        await self.reader.open()
        if self.order.beside is None:
            await self._move()
        elif await self._enough():
            return None
        verdict = self.reader.verdict
        assert verdict is not None
        failure = await self.reader.failure()
        if failure is not None:
            if self.order.deliver_partial:
                await self._conclude()
            raise failure
        await self._conclude()
        if self._receipt is not None:
            await self._receipt.send(verdict.figures, None, durable=self.sink.durable)
            self._receipt = None
        return verdict

    async def _conclude(self) -> None:
        await self.sink.finish()
        if self.order.conclude is not None:
            await self.order.conclude()

    async def refuse(self, cause: BaseException) -> None:
        """Tell a writer that waits for a receipt why there is none."""
        if self._receipt is None:
            return
        failure = cause if isinstance(cause, Failure) else Interrupted(2)
        if isinstance(cause, BrokenPipeError):
            failure = Failure("what read its output left")
        await self._receipt.send(self.reader.figures, failure, durable=False)

    async def _enough(self) -> bool:
        """Move everything beside the consumer's end. True when that came first, and was a good one."""
        beside = self.order.beside
        assert beside is not None
        moved = False
        async with anyio.create_task_group() as tasks:

            async def move() -> None:
                nonlocal moved
                try:
                    await self._move()
                except BrokenPipeError:
                    return  # its stdin is closed: how it ends decides
                moved = True
                tasks.cancel_scope.cancel()

            tasks.start_soon(move)
            await beside()
            if not self.sink.has_readers():  # else a child that it left behind reads on
                tasks.cancel_scope.cancel()
        if moved:
            return False
        self.reader.leave()
        return True

    async def _move(self) -> None:
        self.reader.on_open = self._begin
        while events := await self.reader.pull():
            if self.mode is None:
                self.mode = self.order.mode or Mode.BYTES  # a foreign stream
            if self.mode is Mode.BYTES:
                await self._deliver_bytes(events)
            else:
                await self._deliver_records(events)

    async def _begin(self, opened: Open) -> None:
        """Settle how to read, before anything is written; take the receipt's end while it is there."""
        if opened.receipt is not None:
            self._receipt = HeldReceipt(self.order.endpoint, opened.receipt)
            await self._receipt.open()
        self.mode = follow(self.order.mode, opened.mode)

    async def _deliver_bytes(self, events: list[Event]) -> None:
        for opcode, payload, _ in events:
            if opcode == Opcode.BINARY:
                await self._write(payload)
            else:
                self.order.message(bytes(payload))

    async def _deliver_records(self, events: list[Event]) -> None:
        assert self.mode is not None
        for are_texts, run in text_runs(events):
            if are_texts:
                texts = [bytes(payload) for _, payload, _ in run]
                await self._write(messages_to_data(self.mode, texts))
            elif self.mode is Mode.JSONL:
                for _, payload, whole in run:
                    await self._collect(payload, whole)

    async def _collect(self, payload: Buffer, whole: bool) -> None:
        self._whole += payload
        if len(self._whole) > ENGINE_MESSAGE_MAX:
            raise ContentDiffers(f"a binary message longer than {ENGINE_MESSAGE_MAX} bytes")
        if whole:
            await self._write(chunk_to_jsonl(self._whole))
            self._whole.clear()

    async def _write(self, data: Buffer) -> None:
        await self.sink.write(data)
        self.written += len(data)
        self.order.moved(len(data))

"""From a channel into a sink: the reading half of every pipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import anyio

from iii_cli.client.limits import Limits, within
from iii_cli.client.receipts import HeldReceipt
from iii_cli.errors import ContentDiffers, Failure, Interrupted, TimedOut, sole_cause
from iii_cli.wire.frames import ENGINE_MESSAGE_MAX, Opcode, text_runs
from iii_cli.wire.receipt import STOPPED_EARLY
from iii_cli.wire.records import chunk_to_jsonl, follow, messages_to_data
from iii_cli.wire.seal import Mode
from iii_cli.wire.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from iii_cli.client.reader import ChannelReader
    from iii_cli.wire.address import Endpoint
    from iii_cli.wire.frames import Buffer, Event
    from iii_cli.wire.seal import Open
    from iii_cli.wire.verdict import Verdict

__all__ = ("ByteSink", "ReadOrder", "read_stream")

KEPT_BYTES = 16 << 20  # of messages that may turn out to be all that there is
NOTICE_SECONDS = 1.0  # of reading on behind a consumer's back, before a person hears of it


class ByteSink(Protocol):
    """Where bytes go; `terminal.sinks.Sink` is one."""

    @property
    def durable(self) -> bool:
        """Is what was written kept once `finish` has returned?"""

    def has_readers(self) -> bool:
        """Does anybody hold the other end, as far as it can be known?"""

    async def open(self) -> None: ...

    def expect_text(self) -> None:
        """From now on every chunk is whole text messages."""

    async def write(self, chunk: Buffer) -> None: ...

    async def write_many(self, chunks: Iterable[Buffer]) -> None: ...

    def judge(self, status: int, *, verified: bool, count: int) -> None:
        """Hears of the verdict before `finish`."""

    async def finish(self) -> None: ...

    def discard(self) -> None: ...


@dataclass(slots=True)
class ReadOrder:
    """One stream to be read.

    `mode`: as asked, None to follow the stream. `message` takes text messages that are no data in byte mode.
    A writer that is not ours and sends nothing but those has meant them: they are kept, at most 16 MiB, and
    given to the sink after its clean end.
    `beside` runs during the transfer, where a consumer takes the data: it returns when the consumer has ended
    well, and raises where it failed. `conclude` runs after a good end and a finished sink, and raises where
    the consumer failed.

    A consumer that wants no more does not end the judgement: the rest is read and dropped, for at most
    `drain_limit` seconds (None: no limit). With `stop_early` the connection ends at once instead. `early`
    hears of it: None, once the rest has been read for a second; the bytes read, where it was stopped.
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
    stop_early: bool = False
    drain_limit: float | None = None
    early: Callable[[int | None], None] = lambda count: None


async def read_stream(order: ReadOrder) -> Verdict | None:
    """Read the stream to its end, and finish the sink only after a good one.

    Returns the verdict, None where `stop_early` ended it. Every other end discards the sink and is raised:
    one Failure where it is ours, BrokenPipeError where the reader of a sink without a consumer left.
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
        self._kept = bytearray()  # the messages of a foreign stream without bytes
        self._receipt: HeldReceipt | None = None
        self._enough = anyio.Event()  # the consumer takes no more

    def progress(self) -> int:
        """Grows while bytes come in or go out."""
        counted = self.reader.statistics()
        return counted.bytes + counted.messages + self.written

    async def run(self) -> Verdict | None:
        """The story: open, move everything, judge, commit, confirm."""
        async with anyio.create_task_group() as self._tasks:
            verdict = await self._read()
            self._tasks.cancel_scope.cancel()
        return verdict

    async def _read(self) -> Verdict | None:
        await self.sink.open()
        await self.reader.open()
        if self.order.beside is None:
            await self._move()
        elif await self._move_beside(self.order.beside):
            await self._stopped_early()
            return None
        verdict = self.reader.verdict
        assert verdict is not None
        failure = await self.reader.failure()
        self.sink.judge(
            0 if failure is None else failure.exit_status,
            verified=verdict.verified,
            count=verdict.figures.bytes,
        )
        if failure is not None:
            if self.order.deliver_partial:
                await self._conclude()
            raise failure
        await self._conclude()
        if self._receipt is not None:
            await self._receipt.send(verdict.figures, None, durable=self.sink.durable)
            self._receipt = None
        if self._is_all_messages(verdict):
            count = verdict.figures.messages
            late = f"its {count} text messages were written at the end, --text writes them as they come"
            return verdict.replace(text=f"{verdict.text}; {late}")
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

    async def _move_beside(self, beside: Callable[[], Awaitable[None]]) -> bool:
        """Move everything while the consumer runs. True: stopped before the end. Raises where it failed."""
        stopped = True
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await beside()
                if not self.sink.has_readers():  # else a child that it left behind reads on
                    self._enough.set()

            async def move() -> None:
                nonlocal stopped
                await self._move()
                stopped = False
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            tasks.start_soon(move)
            await self._enough.wait()
            if self.order.stop_early:
                tasks.cancel_scope.cancel()
            else:
                await self._bound_draining()
        return stopped

    async def _bound_draining(self) -> None:
        limit = self.order.drain_limit
        await anyio.sleep(NOTICE_SECONDS if limit is None else min(NOTICE_SECONDS, limit))
        self.order.early(None)
        if limit is not None:
            await anyio.sleep(max(limit - NOTICE_SECONDS, 0))
            raise TimedOut(
                f"COMMAND finished early, and its input did not end within {limit:g} s",
                hint="`serve --stop-early` does not wait for it",
            )

    async def _stopped_early(self) -> None:
        self.reader.leave()
        self.order.early(self.reader.statistics().bytes)
        if self._receipt is not None:
            await self._receipt.send(self.reader.figures, None, durable=False, reason=STOPPED_EARLY)
            self._receipt = None
        self.sink.judge(0, verified=False, count=self.reader.statistics().bytes)
        await self._conclude()

    async def _move(self) -> None:
        self.reader.on_open = self._begin
        while events := await self.reader.pull():
            if self.mode is None:
                self._follow(self.order.mode or Mode.BYTES)  # a foreign stream
            if self.mode is Mode.BYTES:
                await self._deliver_bytes(events)
            else:
                await self._deliver_records(events)
        await self._deliver_kept()

    async def _begin(self, opened: Open) -> None:
        """Settle how to read, before anything is written; take the receipt's end while it is there."""
        if opened.receipt is not None:
            self._receipt = HeldReceipt(self.order.endpoint, opened.receipt)
            await self._receipt.open()
            if opened.receipt_beat is not None:
                self._tasks.start_soon(self._beat, self._receipt, opened.receipt_beat)
        self._follow(follow(self.order.mode, opened.mode))

    def _follow(self, mode: Mode) -> None:
        self.mode = mode
        if mode is not Mode.BYTES:
            self.sink.expect_text()

    async def _beat(self, receipt: HeldReceipt, every: float) -> None:
        await receipt.beat(every, lambda: self.reader.statistics().bytes, will_confirm=self.sink.durable)

    async def _deliver_bytes(self, events: list[Event]) -> None:
        for opcode, payload, _ in events:
            if opcode == Opcode.BINARY:
                await self._write(payload)
                if self.written:
                    self._kept.clear()
            else:
                self.order.message(bytes(payload))
                if self.reader.opened is None and not self.written:
                    self._kept += payload[: KEPT_BYTES + 1 - len(self._kept)]

    async def _deliver_kept(self) -> None:
        verdict = self.reader.verdict
        assert verdict is not None
        if not self._is_all_messages(verdict):
            return
        if len(self._kept) > KEPT_BYTES:
            raise ContentDiffers(
                f"the stream has {verdict.figures.messages} text messages of more than 16 MiB and no bytes",
                hint="read it with --text, --lines or --jsonl",
            )
        self.sink.expect_text()
        await self._write(self._kept)

    def _is_all_messages(self, verdict: Verdict) -> bool:
        """Did a foreign writer, read as bytes, end well without any?"""
        figures = verdict.figures
        foreign = verdict.outcome is Outcome.FOREIGN and self.mode is Mode.BYTES
        return foreign and figures.messages > 0 and not figures.bytes

    async def _deliver_records(self, events: list[Event]) -> None:
        assert self.mode is not None
        for are_texts, run in text_runs(events):
            if are_texts:
                texts = [bytes(payload) for _, payload, _ in run]
                await self._write(messages_to_data(self.mode, texts))
            elif self.mode in (Mode.RECORDS, Mode.JSONL):
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
        """Give it to the sink; count and drop it once a consumer has closed its input."""
        if not self._enough.is_set():
            try:
                await self.sink.write(data)
            except BrokenPipeError:
                if self.order.beside is None:
                    raise
                self._enough.set()
        self.written += len(data)
        self.order.moved(len(data))

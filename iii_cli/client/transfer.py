"""Uploads and downloads: a source into a channel, a channel into a sink."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from mmap import mmap
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, final

import anyio
from anyio import TASK_STATUS_IGNORED
from msgspec import Struct
from msgspec.structs import replace

from iii_cli.client.channels import HeldReceipt
from iii_cli.errors import (
    ContentDiffers,
    Failure,
    Interrupted,
    LocalProblem,
    ProducerFailed,
    TimedOut,
    gravest,
    sole_cause,
)
from iii_cli.protocol.frames import ENGINE_MESSAGE_MAX, FRAME_BYTES_MAX, Opcode, text_runs
from iii_cli.protocol.records import (
    LONGEST_JSONL,
    LineSplitter,
    chunk_to_jsonl,
    follow,
    jsonl_to_record,
    messages_to_data,
)
from iii_cli.protocol.seal import STOPPED_EARLY, Mode
from iii_cli.protocol.verifier import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from anyio.abc import TaskStatus

    from iii_cli.client.channels import AwaitedReceipt, ChannelReader, ChannelWriter, WriterStatistics
    from iii_cli.protocol.frames import Buffer, Event
    from iii_cli.protocol.refs import Endpoint
    from iii_cli.protocol.seal import Open
    from iii_cli.protocol.verifier import Verdict

__all__ = (
    "CONNECTING",
    "MOVING",
    "Branch",
    "ByteSink",
    "ByteSource",
    "FanOut",
    "Limits",
    "ReadOrder",
    "WriteOrder",
    "abort_words",
    "look_every",
    "opened_within",
    "read_stream",
    "reading",
    "span_words",
    "within",
    "write_stream",
    "writing",
)


CONNECTING = "still connecting to the engine"
MOVING = "it was still moving"


def span_words(seconds: float) -> str:
    """For how long, as the rest of a sentence."""
    return f" for {seconds:.0f} s" if seconds >= 1 else f" for {seconds:.1g} s"


def writing(
    order: WriteOrder,
    writers: Mapping[str, ChannelWriter],
    span: str,
    *,
    receipts: Sequence[AwaitedReceipt] = (),
    reader: str = "the reader",
) -> str:
    """Of a stream that is written. `writers` by what people call them, which is not said of a single one."""
    blocked = [name for name, each in writers.items() if each.statistics().unsent_bytes]
    if blocked:
        there = any(receipt.confirmed is not None for receipt in receipts)  # it has said how much it has
        return _blocked(blocked if len(writers) > 1 else [], span, reader, there=there)
    closing = [name for name, each in writers.items() if each.closing]
    if closing and len(writers) > 1:
        return f"all is sent;{span} the readers of {', '.join(closing)} have not taken the rest"
    if closing:
        return f"all is sent;{span} {reader} has not taken the rest"
    if receipts and all(each.ended for each in writers.values()):
        return f"all is sent; {reader} has not confirmed it{span}"
    source = order.sources[0].name if len(order.sources) == 1 else "the input"
    if order.stage == "opening":
        return CONNECTING
    if order.stage == "ended":
        return f"all is sent; {source} has ended, what gave it runs on"
    if order.unfinished:
        return f"nothing to send{span}: {order.unfinished} bytes of {source} are a line without an end"
    more = " more" if order.given else ""
    return f"nothing to send{span}: {source} gives nothing{more}"


def _blocked(names: list[str], span: str, reader: str, *, there: bool) -> str:
    if there:
        return f"{reader} takes nothing{span}"
    if reader == "the function":
        return f"nothing accepted{span}: the function does not read"
    if names:
        return f"{', '.join(names)}: nothing taken{span}: no reader yet, or a slow one"
    return f"the engine accepts nothing{span}: no reader yet, or a slow one"


def reading(order: ReadOrder, span: str, *, writer: str = "the writer") -> str:
    """Of a stream that is read."""
    reader = order.reader
    output = "our output" if order.beside is None else "COMMAND"
    if order.delivering:
        return f"{output} takes nothing{span}"
    if reader.verdict is not None:
        return "all has come; " + ("it is not yet kept" if order.beside is None else "COMMAND runs on")
    if reader.writer_alive:
        return f"no data{span}, {writer} is alive"
    if reader.opened is not None:
        return f"no data{span}, and no other word of {writer}"
    if any(reader.statistics()):
        return f"no more data{span}"
    if writer == "the function":
        return f"nothing has come{span}: the function has not begun to write"
    return f"nothing has come{span}: no writer yet, or a silent one"


T = TypeVar("T")

LOOKS = 4  # in each limit, at least
LOOK_SECONDS = 1.0  # between looks at the count; what moved since the last one moves


class Limits(Struct, frozen=True):
    """In seconds; None: no limit. `since`, on anyio's clock, is when the whole began; None: it begins now."""

    whole: float | None = None
    stall: float | None = None
    since: float | None = None


def look_every(*limits: float | None) -> float:
    """How often to look whether anything moves, for the sake of these limits: several times in each."""
    return min([LOOK_SECONDS, *(limit / LOOKS for limit in limits if limit is not None)])


async def within(
    limits: Limits,
    progress: Callable[[], int],
    body: Callable[[], Awaitable[T]],
    what: str,
    standing: Callable[[str], str] | None = None,
) -> T:
    """Run `body` under the limits. `progress` is any count that grows while something moves.

    Raises TimedOut, for which `what` names the transfer and `standing` says why nothing moves (standing.py),
    and what `body` raises, of several the gravest.
    """
    if limits.whole is None and limits.stall is None:
        return await body()
    result: list[T] = []
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, limits, progress, what, standing)
            result.append(await body())
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole_cause(group) from None
    return result[0]


async def opened_within(
    limits: Limits,
    body: Callable[[], Awaitable[None]],
    standing: Callable[[str], str] = lambda span: CONNECTING,
) -> None:
    """Run what opens a transfer, for which only the limit of the whole counts. Raises as `within`."""
    await within(replace(limits, stall=None), lambda: 0, body, "the stream", standing)


async def _watch(
    limits: Limits, progress: Callable[[], int], what: str, standing: Callable[[str], str] | None
) -> None:
    now = anyio.current_time()
    began = now if limits.since is None else limits.since
    end = math.inf if limits.whole is None else began + limits.whole
    stall = math.inf if limits.stall is None else limits.stall
    look = look_every(limits.whole, limits.stall)
    count, moved_at = progress(), now
    while True:
        await anyio.sleep(min(look, max(end - now, 0), max(moved_at + stall - now, 0)))
        now = anyio.current_time()
        if progress() != count:
            count, moved_at = progress(), now
        if now >= end:
            text = f"{what} took longer than {limits.whole:g} s (--timeout)"
            raise TimedOut(text + _reason(standing, now - moved_at, still_after=look))
        if now >= moved_at + stall:
            text = f"{what}: nothing moved for {limits.stall:g} s (--stall-timeout)"
            raise TimedOut(text + _reason(standing, None))


def _reason(standing: Callable[[str], str] | None, seconds: float | None, *, still_after: float = 0.0) -> str:
    """The rest of the sentence. `seconds` without a movement, None: as many as the sentence says."""
    if standing is None:
        return ""
    if seconds is None:
        return f"; {standing('')}"
    return f"; {standing(span_words(seconds)) if seconds > still_after else MOVING}"


class ByteSource(Protocol):
    """Where bytes come from; `terminal.sources.Source` is one."""

    name: str

    @property
    def short_by(self) -> int:
        """Bytes that the source promised and did not have."""

    async def read_into(self, view: memoryview) -> int:
        """Fill some of `view` and say how much; 0 is the end."""


@dataclass(slots=True)
class WriteOrder:
    """One stream to be written.

    `conclude` runs after the last byte and before the stream is ended: it raises where the producer failed,
    so that the stream is aborted instead. Other than `size` bytes abort it too, in byte mode. `moved` hears
    of every payload byte. `words` finds the code and reason of an abort, for whoever knows more of the cause
    than that the writing was cancelled. `standing` says why nothing moves (standing.py), `span` as there.

    `given`: bytes that the sources gave. `unfinished`: those of a line whose end has not come. `stage`
    `ended`: all sources have, maybe not their producer.
    """

    writer: ChannelWriter | FanOut
    sources: Sequence[ByteSource]
    mode: Mode = Mode.BYTES
    size: int | None = None
    limits: Limits = field(default_factory=Limits)
    moved: Callable[[int], None] = lambda count: None
    conclude: Callable[[], Awaitable[None]] | None = None
    words: Callable[[BaseException], tuple[int, str]] = field(default_factory=lambda: abort_words)
    standing: Callable[[str], str] | None = None
    given: int = 0
    unfinished: int = 0
    stage: Literal["opening", "sending", "ended"] = "opening"

    def messages(self) -> int | None:
        """How many are sent, where it is messages that are sent."""
        counted = self.writer.statistics()
        frames = counted.frames if self.mode is Mode.RECORDS else 0
        return None if self.mode is Mode.BYTES else counted.messages + frames


async def write_stream(order: WriteOrder) -> None:
    """Write the sources, in order, as one stream, and end it.

    Returns when the writer has finished: the engine has everything, or the reader has confirmed it. Whatever
    else happens, cancellation included, aborts the stream and is raised: one Failure where it is ours.
    """
    writer = order.writer
    try:
        await within(
            order.limits, lambda: _progress(writer), lambda: _write(order), "the stream", order.standing
        )
    except BaseException as error:
        cause = sole_cause(error)
        await writer.abort(*order.words(cause))
        if isinstance(cause, Failure):
            cause = await writer.cause_of(cause)
        if cause is error:
            raise
        raise cause from None


async def _write(order: WriteOrder) -> None:
    writer = order.writer
    await writer.open()
    async with anyio.create_task_group() as tasks:
        await tasks.start(writer.attend)
        order.stage = "sending"
        for source in order.sources:
            await _PUMPS[order.mode](source, order)
            if source.short_by > 0:
                raise LocalProblem(f"{source.name} ended {source.short_by} bytes before its size")
        order.stage = "ended"
        if order.conclude is not None:
            await order.conclude()
        if order.size is not None and (count := writer.statistics().bytes) < order.size:
            raise LocalProblem(f"the input ended after {count} bytes, --size promised {order.size}")
        await writer.finish()
        tasks.cancel_scope.cancel()


def abort_words(cause: BaseException) -> tuple[int, str]:
    """The code and reason that an abort frame carries."""
    if isinstance(cause, Interrupted):
        return cause.exit_status, "interrupted"
    if isinstance(cause, ProducerFailed):
        return cause.exit_status, cause.reason
    if isinstance(cause, Failure):
        return cause.exit_status, cause.message
    if isinstance(cause, anyio.get_cancelled_exc_class()):
        return 130, "interrupted"
    return 1, "internal error"


def _progress(writer: ChannelWriter | FanOut) -> int:
    """Grows while the socket takes anything, even the rest of a frame."""
    counted = writer.statistics()
    return counted.bytes + counted.messages - counted.unsent_bytes


async def _pump_bytes(source: ByteSource, order: WriteOrder) -> None:
    """The fast path: one buffer, and frames as large as what the source has at hand."""
    # On a page of its own: a copy to an address that is none of a cache line's takes the kernel nearly twice
    # as long, and that copy is half of what a writer of files does.
    buffer = memoryview(mmap(-1, FRAME_BYTES_MAX))
    while count := await source.read_into(buffer):
        order.given += count
        if order.size is not None and order.writer.statistics().bytes + count > order.size:
            raise LocalProblem(f"{source.name} gave more than the {order.size} bytes that --size promised")
        await order.writer.push(buffer[:count])
        order.moved(count)


async def _pump_lines(source: ByteSource, order: WriteOrder) -> None:
    splitter = LineSplitter(what=source.name)
    buffer = memoryview(bytearray(LINES_BYTES))
    while count := await source.read_into(buffer):
        order.given += count
        lines = splitter.feed(buffer[:count])
        order.unfinished = splitter.held
        await order.writer.push_messages(lines)
        order.moved(count)
    last = splitter.finish()
    order.unfinished = 0
    if last is not None:
        await order.writer.push_messages([last])


async def _pump_jsonl(source: ByteSource, order: WriteOrder) -> None:
    splitter = LineSplitter(longest=LONGEST_JSONL, what=source.name)
    buffer = memoryview(bytearray(LINES_BYTES))
    number = 0
    while True:
        count = await source.read_into(buffer)
        order.given += count
        lines = splitter.feed(buffer[:count]) if count else [splitter.finish()]
        order.unfinished = splitter.held
        for line in lines:
            if line is None:
                return
            number += 1
            is_text, payload = jsonl_to_record(line, number, source.name)
            if is_text:
                await order.writer.push_message(payload)
            else:
                await order.writer.push_whole(payload)
        order.moved(count)
        if not count:
            return


LINES_BYTES = 256 << 10  # many short lines at once; each becomes a Python object, so not a megabyte of them

_PUMPS = {Mode.BYTES: _pump_bytes, Mode.LINES: _pump_lines, Mode.TEXT: _pump_lines, Mode.RECORDS: _pump_jsonl}


@dataclass(slots=True, eq=False)
class Branch:
    """One of the channels. `name` is for people; `failure` is why it was given up."""

    name: str
    writer: ChannelWriter
    failure: Failure | None = None


@final
class FanOut:
    """Writes the same stream into every branch, at the pace of the slowest reader.

    A branch that fails is given up and the others go on; only when none is left does a method raise, the
    gravest of their failures.
    """

    def __init__(self, branches: Sequence[Branch]) -> None:
        self.branches = list(branches)

    @property
    def living(self) -> list[Branch]:
        """The branches that have not failed."""
        return [branch for branch in self.branches if branch.failure is None]

    @property
    def failures(self) -> list[Failure]:
        """Why the others were given up."""
        return [branch.failure for branch in self.branches if branch.failure is not None]

    def statistics(self) -> WriterStatistics:
        """Of the branch that got furthest."""
        return max(branch.writer.statistics() for branch in self.branches)

    async def open(self) -> None:
        """Connect them all. Raises the gravest failure where none can be opened."""
        await self._each(lambda writer: writer.open())

    async def push(self, data: Buffer) -> None:
        """`ChannelWriter.push` on each."""
        await self._each(lambda writer: writer.push(data))

    async def push_whole(self, data: bytes) -> None:
        """`ChannelWriter.push_whole` on each."""
        await self._each(lambda writer: writer.push_whole(data))

    async def push_message(self, text: Buffer) -> None:
        """`ChannelWriter.push_message` on each."""
        await self._each(lambda writer: writer.push_message(text))

    async def push_messages(self, texts: Sequence[bytes]) -> None:
        """`ChannelWriter.push_messages` on each."""
        await self._each(lambda writer: writer.push_messages(texts))

    async def finish(self) -> None:
        """`ChannelWriter.finish` on each, at once: a slow reader keeps none of the others open."""
        await self._each(lambda writer: writer.finish())

    async def abort(self, code: int, reason: str) -> None:
        """`ChannelWriter.abort` on each; together they take no longer than one."""
        async with anyio.create_task_group() as tasks:
            for branch in self.branches:
                tasks.start_soon(branch.writer.abort, code, reason)

    async def cause_of(self, failure: Failure) -> Failure:
        """The branches have asked, each for its own."""
        return failure

    async def attend(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """`ChannelWriter.attend` for each. Raises the gravest failure when none is left."""
        try:
            async with anyio.create_task_group() as tasks:
                for branch in self.living:
                    await tasks.start(self._attend_one, branch)
                task_status.started()
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None

    async def _attend_one(self, branch: Branch, *, task_status: TaskStatus[None]) -> None:
        under_way = _Once(task_status)
        await self._guarded(branch, lambda: branch.writer.attend(task_status=under_way))
        under_way.started()  # also where it failed before it could attend to anything
        self._check_living()

    async def _each(self, act: Callable[[ChannelWriter], Awaitable[None]]) -> None:
        living = self.living
        if len(living) == 1:
            await self._guarded(living[0], lambda: act(living[0].writer))
        else:
            async with anyio.create_task_group() as tasks:
                for branch in living:
                    tasks.start_soon(self._guarded, branch, lambda branch=branch: act(branch.writer))
        self._check_living()

    async def _guarded(self, branch: Branch, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except (Failure, BaseExceptionGroup) as error:
            cause = sole_cause(error)
            if not isinstance(cause, Failure):
                raise
            if branch.failure is None:
                branch.failure = cause
                await branch.writer.abort(*abort_words(cause))
                branch.failure = await branch.writer.cause_of(cause)
        except anyio.ClosedResourceError:
            if branch.failure is None:  # given up by its attendant a moment ago, or a mistake of ours
                raise

    def _check_living(self) -> None:
        if not self.living:
            raise gravest(self.failures)


class _Once:
    """A task status that may be told twice."""

    def __init__(self, task_status: TaskStatus[None]) -> None:
        self._task_status: TaskStatus[None] | None = task_status

    def started(self, value: None = None) -> None:
        if self._task_status is not None:
            self._task_status.started()
            self._task_status = None


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
    `standing` says why nothing moves (standing.py), `span` as there. `delivering`: the sink is waited for.
    `followed`: how it is read, once that is known. `records`: binary messages that came as such.
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
    standing: Callable[[str], str] | None = None
    delivering: bool = False
    followed: Mode | None = None
    records: int = 0

    def messages(self) -> int | None:
        """How many have come, where they are the data."""
        if self.followed in (None, Mode.BYTES):
            return None
        return self.reader.statistics().messages + self.records


async def read_stream(order: ReadOrder) -> Verdict | None:
    """Read the stream to its end, and finish the sink only after a good one.

    Returns the verdict, None where `stop_early` ended it. Every other end discards the sink and is raised:
    one Failure where it is ours, BrokenPipeError where the reader of a sink without a consumer left.
    """
    drain = _Drain(order)
    try:
        return await within(order.limits, drain.progress, drain.run, "the stream", order.standing)
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
        self.written = 0
        self._whole = bytearray()  # a binary message of --jsonl whose rest is still to come
        self._kept = bytearray()  # the messages of a foreign stream without bytes
        self._receipt: HeldReceipt | None = None
        self._enough = anyio.Event()  # the consumer takes no more

    def progress(self) -> int:
        """Grows while bytes come in or go out."""
        counted = self.reader.statistics()
        return counted.bytes + counted.messages + self.written

    @property
    def mode(self) -> Mode | None:
        """How the stream is read; None until it has begun."""
        return self.order.followed

    def amount(self) -> int:
        """Bytes that have come, of payload or of the text that is the data."""
        in_bytes = self.mode in (None, Mode.BYTES)
        return self.reader.statistics().bytes if in_bytes else self.written

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
            count=self.amount(),
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
            return replace(verdict, text=f"{verdict.text}; {late}")
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
        self.order.early(self.amount())
        if self._receipt is not None:
            await self._receipt.send(self.reader.figures, None, durable=False, reason=STOPPED_EARLY)
            self._receipt = None
        self.sink.judge(0, verified=False, count=self.amount())
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
        self.order.followed = mode
        if mode is not Mode.BYTES:
            self.sink.expect_text()

    async def _beat(self, receipt: HeldReceipt, every: float) -> None:
        await receipt.beat(every, self.amount, will_confirm=self.sink.durable)

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
            self.order.records += 1
            await self._write(chunk_to_jsonl(self._whole))
            self._whole.clear()

    async def _write(self, data: Buffer) -> None:
        """Give it to the sink; count and drop it once a consumer has closed its input."""
        if not self._enough.is_set():
            self.order.delivering = True
            try:
                await self.sink.write(data)
            except BrokenPipeError:
                if self.order.beside is None:
                    raise
                self._enough.set()
            self.order.delivering = False
        self.written += len(data)
        self.order.moved(len(data))

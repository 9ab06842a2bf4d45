"""Uploads and downloads: sources into a channel, a channel into a sink.

`channel write`, `channel tee`, `trigger --in` and `serve` write by `upload`; `channel read`, `trigger --out`
and `serve` read by `download`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from mmap import mmap
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, final

import anyio
from anyio import TASK_STATUS_IGNORED
from msgspec import Struct
from msgspec.structs import replace

from iii_cli.client.receipts import ConfirmedWriter, HeldReceipt
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
from iii_cli.protocol.frames import FRAME_BYTES_MAX, Opcode, text_runs
from iii_cli.protocol.records import (
    LONGEST_JSONL,
    LONGEST_MESSAGE,
    LineSplitter,
    chunk_to_jsonl,
    follow,
    jsonl_to_record,
    messages_to_data,
)
from iii_cli.protocol.seal import STDOUT, STOPPED_EARLY, Mode
from iii_cli.protocol.verifier import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from anyio.abc import TaskGroup, TaskStatus

    from iii_cli.client.channels import ChannelReader, ChannelWriter, WriterStatistics
    from iii_cli.protocol.frames import Buffer, Event
    from iii_cli.protocol.seal import Open
    from iii_cli.protocol.verifier import Verdict

__all__ = (
    "CONNECTING",
    "FUNCTION",
    "MOVING",
    "Branch",
    "ByteSink",
    "ByteSource",
    "Clock",
    "DownloadStatus",
    "FanOut",
    "Limits",
    "UploadStatus",
    "abort_words",
    "download",
    "look_every",
    "opened_within",
    "span_words",
    "upload",
)


T = TypeVar("T")


class Limits(Struct, frozen=True):
    """In seconds; None: no limit. `since`, on anyio's clock, is when the whole began; None: it begins now."""

    whole: float | None = None
    stall: float | None = None
    since: float | None = None


NO_LIMITS = Limits()


LOOKS = 4  # in each limit, at least
LOOK_SECONDS = 1.0  # between looks at the count; what moved since the last one moves
MOVING = "it was still moving"
CONNECTING = "still connecting to the engine"


def look_every(*limits: float | None) -> float:
    """How often to look whether anything moves, for the sake of these limits: several times in each."""
    return min([LOOK_SECONDS, *(limit / LOOKS for limit in limits if limit is not None)])


def span_words(seconds: float) -> str:
    """For how long, as the rest of a sentence."""
    return f" for {seconds:.0f} s" if seconds >= 1 else f" for {seconds:.1g} s"


async def _within(
    limits: Limits,
    progress: Callable[[], int],
    body: Callable[[], Awaitable[T]],
    reason: Callable[[str], str],
) -> T:
    """Run `body` under the limits. `progress` is any count that grows while something moves.

    Raises TimedOut, for which `reason` says why nothing moves (given ` for 5 s`, or nothing), and
    what `body` raises, of several the gravest.
    """
    if limits.whole is None and limits.stall is None:
        return await body()
    result: list[T] = []
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, limits, progress, reason)
            result.append(await body())
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole_cause(group) from None
    return result[0]


async def opened_within(
    limits: Limits,
    body: Callable[[], Awaitable[None]],
    reason: Callable[[str], str] = lambda span: CONNECTING,
) -> None:
    """Run what opens a transfer, for which only the limit of the whole counts.

    Raises TimedOut, and what `body` raises.
    """
    await _within(replace(limits, stall=None), lambda: 0, body, reason)


@final
class Clock:
    """How long a count has not grown, as far as somebody looked."""

    def __init__(self, count: Callable[[], int], excused: Callable[[], bool] | None = None) -> None:
        """While it is `excused` it is taken to move."""
        self._count = count
        self._excused = excused
        self._seen = count()
        self._since = anyio.current_time()

    def look(self) -> float:
        """Seconds without a movement."""
        now, count = anyio.current_time(), self._count()
        if count != self._seen or (self._excused is not None and self._excused()):
            self._seen, self._since = count, now
        return now - self._since


async def _watch(limits: Limits, progress: Callable[[], int], reason: Callable[[str], str]) -> None:
    now = anyio.current_time()
    end = math.inf if limits.whole is None else (limits.since or now) + limits.whole
    stall = math.inf if limits.stall is None else limits.stall
    look = look_every(limits.whole, limits.stall)
    clock, still = Clock(progress), 0.0
    while True:
        await anyio.sleep(min(look, max(end - anyio.current_time(), 0), max(stall - still, 0)))
        still = clock.look()
        if anyio.current_time() >= end:
            why = reason(span_words(still)) if still > look else MOVING
            raise TimedOut(f"the stream took longer than {limits.whole:g} s (--timeout); {why}")
        if still >= stall:
            raise TimedOut(
                f"the stream: nothing moved for {limits.stall:g} s (--stall-timeout); {reason('')}"
            )


def _ignore(_: Any) -> None:
    """Nobody wants to hear of it."""


class ByteSource(Protocol):
    """Where bytes come from; `io.sources.Source` is one."""

    name: str

    @property
    def short_by(self) -> int:
        """Bytes that the source promised and did not have."""

    async def read_into(self, view: memoryview) -> int:
        """Fill some of `view` and say how much; 0 is the end."""


@dataclass(slots=True, eq=False)
class UploadStatus:
    """How an upload stands, for a progress line or a time limit to ask. `upload` keeps it up to date.

    `writers` by what people call them, which is not said of a single one. `given`: bytes that the sources
    gave; `moved`: those that were handed over; `unfinished`: those of a line whose end has not come.
    `messages`: how many were sent, None where bytes are. `ended`: all sources have, maybe not what gave them.
    """

    writers: Mapping[str, ChannelWriter]
    reader: str = "the reader"
    sources: Sequence[ByteSource] = ()
    stage: Literal["opening", "sending", "ended"] = "opening"
    given: int = 0
    moved: int = 0
    unfinished: int = 0
    messages: int | None = None

    def reason(self, span: str) -> str:
        """Why nothing moves, `span` for how long."""
        writers, several = self.writers, len(self.writers) > 1
        confirming = [each for each in writers.values() if isinstance(each, ConfirmedWriter)]
        blocked = [name for name, each in writers.items() if each.statistics().unsent_bytes]
        if blocked and any(each.confirmed is not None for each in confirming):
            return f"{self.reader} takes nothing{span}"  # it is there: it has said how much it has
        if blocked and self.reader == FUNCTION:
            return f"nothing accepted{span}: the function does not read"
        if blocked:
            what = f"{', '.join(blocked)}: nothing taken" if several else "the engine accepts nothing"
            return f"{what}{span}: no reader yet, or a slow one"
        closing = [name for name, each in writers.items() if each.closing]
        if closing and several:
            return f"all is sent;{span} the readers of {', '.join(closing)} have not taken the rest"
        if closing:
            return f"all is sent;{span} {self.reader} has not taken the rest"
        if confirming and all(each.ended for each in writers.values()):
            return f"all is sent; {self.reader} has not confirmed it{span}"
        if self.stage == "opening":
            return "its source has not started" if self.reader == FUNCTION else CONNECTING
        source = self.sources[0].name if len(self.sources) == 1 else "the input"
        if self.stage == "ended":
            return f"all is sent; {source} has ended, what gave it runs on"
        if self.unfinished:
            return f"nothing to send{span}: {self.unfinished} bytes of {source} are a line without an end"
        more = " more" if self.given else ""
        return f"nothing to send{span}: {source} gives nothing{more}"

    @property
    def waits_for_us(self) -> bool:
        """Is it our side that stands still?"""
        return not any(each.statistics().unsent_bytes or each.closing for each in self.writers.values())


FUNCTION = "the function"  # who is at the other end of the streams of a call


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


async def upload(
    sources: Sequence[ByteSource],
    writer: ChannelWriter | FanOut,
    *,
    mode: Mode = Mode.BYTES,
    size: int | None = None,
    frame_bytes: int = FRAME_BYTES_MAX,
    limits: Limits = NO_LIMITS,
    status: UploadStatus | None = None,
    check_end: Callable[[], Awaitable[None]] | None = None,
    words: Callable[[BaseException], tuple[int, str]] = abort_words,
) -> None:
    """Write the sources, in order, as one stream, and end it.

    In byte mode other than `size` bytes abort the stream, and no frame is longer than `frame_bytes`. `status`
    is kept up to date. `check_end` runs after the last byte and before the stream is ended: it raises where
    the producer failed, so that the stream is aborted instead. `words` finds the code and reason of an abort,
    for a caller that knows more of the cause than that the writing was cancelled.

    Returns when the writer has finished: the engine has everything, or the reader has confirmed it. Whatever
    else happens, cancellation included, aborts the stream and is raised: one Failure where it is ours.
    """
    now = status or UploadStatus({})
    now.sources = sources
    now.messages = None if mode is Mode.BYTES else 0

    async def copy(source: ByteSource) -> None:
        if mode is Mode.BYTES:
            await _copy_bytes(source, writer, now, size, frame_bytes)
        else:
            await _copy_lines(source, writer, now, are_records=mode is Mode.RECORDS)

    async def write() -> None:
        await writer.open()
        async with anyio.create_task_group() as tasks:
            await tasks.start(writer.attend)
            now.stage = "sending"
            for source in sources:
                await copy(source)
                if source.short_by > 0:
                    raise LocalProblem(f"{source.name} ended {source.short_by} bytes before its size")
            now.stage = "ended"
            if check_end is not None:
                await check_end()
            if size is not None and (count := writer.statistics().bytes) < size:
                raise LocalProblem(f"the input ended after {count} bytes, --size promised {size}")
            await writer.finish()
            tasks.cancel_scope.cancel()

    try:
        await _within(limits, lambda: writer.statistics().progress, write, now.reason)
    except BaseException as error:
        cause = sole_cause(error)
        await writer.abort(*words(cause))
        if isinstance(cause, Failure):
            cause = await writer.cause_of(cause)
        if cause is error:
            raise
        raise cause from None


async def _copy_bytes(
    source: ByteSource, writer: ChannelWriter | FanOut, now: UploadStatus, size: int | None, frame_bytes: int
) -> None:
    """The fast path: one buffer, and frames as large as what the source has at hand."""
    # On a page of its own: a copy to an address that is none of a cache line's takes the kernel nearly twice
    # as long, and that copy is half of what a writer of files does. Released here: a cancelled task keeps its
    # frames until garbage is collected.
    with memoryview(mmap(-1, FRAME_BYTES_MAX))[:frame_bytes] as buffer:
        while count := await source.read_into(buffer):
            now.given += count
            if size is not None and writer.statistics().bytes + count > size:
                raise LocalProblem(f"{source.name} gave more than the {size} bytes that --size promised")
            await writer.push(buffer[:count])
            now.moved += count


LINES_BYTES = 256 << 10  # many short lines at once; each becomes a Python object, so not a megabyte of them


async def _copy_lines(
    source: ByteSource, writer: ChannelWriter | FanOut, now: UploadStatus, *, are_records: bool
) -> None:
    splitter = LineSplitter(longest=LONGEST_JSONL if are_records else LONGEST_MESSAGE, what=source.name)
    buffer = memoryview(bytearray(LINES_BYTES))
    while True:
        count = await source.read_into(buffer)
        now.given += count
        lines = splitter.feed(buffer[:count]) if count else splitter.finish()
        now.unfinished = splitter.held
        if are_records:
            await _push_records(lines, splitter.count - len(lines), source.name, writer, now)
        else:
            await writer.push_messages(lines)
            now.messages = (now.messages or 0) + len(lines)
        now.moved += count
        if not count:
            return


async def _push_records(
    lines: list[bytes], before: int, name: str, writer: ChannelWriter | FanOut, now: UploadStatus
) -> None:
    for number, line in enumerate(lines, start=before + 1):
        is_text, payload = jsonl_to_record(line, number, name)
        await (writer.push_messages([payload]) if is_text else writer.push_whole(payload))
        now.messages = (now.messages or 0) + 1


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
    gravest of their failures. The methods are those of a ChannelWriter, on each.
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
        await self._each(lambda writer: writer.open())

    async def push(self, data: Buffer) -> None:
        await self._each(lambda writer: writer.push(data))

    async def push_whole(self, data: bytes) -> None:
        await self._each(lambda writer: writer.push_whole(data))

    async def push_messages(self, texts: Sequence[bytes]) -> None:
        await self._each(lambda writer: writer.push_messages(texts))

    async def finish(self) -> None:
        """At once: a slow reader keeps none of the others open."""
        await self._each(lambda writer: writer.finish())

    async def abort(self, code: int, reason: str) -> None:
        """Together they take no longer than one."""
        async with anyio.create_task_group() as tasks:
            for branch in self.branches:
                tasks.start_soon(branch.writer.abort, code, reason)

    async def cause_of(self, failure: Failure) -> Failure:
        """The branches have asked, each for its own."""
        return failure

    async def attend(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Raises the gravest failure when none is left."""
        try:
            async with anyio.create_task_group() as tasks:
                for branch in self.living:
                    await tasks.start(self._attend_one, branch)
                task_status.started()
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None

    async def _attend_one(self, branch: Branch, *, task_status: TaskStatus[None]) -> None:
        await self._guarded(branch, lambda: branch.writer.attend(task_status=task_status))
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


class ByteSink(Protocol):
    """Where bytes go; `io.sinks.Sink` is one."""

    @property
    def durable(self) -> bool:
        """Is what was written kept once `finish` has returned?"""

    def has_readers(self) -> bool:
        """Does anybody hold the other end, as far as it can be known?"""

    async def open(self) -> None: ...

    def expect_text(self) -> None:
        """From now on every chunk is whole text messages."""

    async def write(self, chunk: Buffer) -> None: ...

    def judge(self, status: int, *, verified: bool, count: int) -> None:
        """Hears of the verdict before `finish`."""

    async def finish(self) -> None: ...

    def discard(self) -> None: ...


@dataclass(slots=True, eq=False)
class DownloadStatus:
    """How a download stands, for a progress line or a time limit to ask. `download` keeps it up to date.

    `moved`: bytes that went into the sink. `messages`: how many have come, where they are the data.
    `delivering`: the sink is waited for.
    """

    reader: ChannelReader
    writer: str = "the writer"
    output: Literal["our output", "COMMAND"] = "our output"
    stage: Literal["opening", "moving"] = "opening"
    moved: int = 0
    messages: int | None = None
    delivering: bool = False

    def reason(self, span: str) -> str:
        """Why nothing moves, `span` for how long."""
        if self.stage == "opening":
            return "its target has not started" if self.writer == FUNCTION else CONNECTING
        if self.delivering:
            return f"{self.output} takes nothing{span}"
        if self.reader.ended:
            rest = "COMMAND runs on" if self.output == "COMMAND" else "it is not yet kept"
            return f"all has come; {rest}"
        if self.reader.writer_alive:
            return f"no data{span}, {self.writer} is alive"
        if self.reader.opened is not None:
            return f"no data{span}, and no other word of {self.writer}"
        if any(self.reader.statistics()):
            return f"no more data{span}"
        if self.writer == FUNCTION:
            return f"nothing has come{span}: the function has not begun to write"
        return f"nothing has come{span}: no writer yet, or a silent one"

    @property
    def waits_for_us(self) -> bool:
        """Is it our side that stands still?"""
        return self.stage == "opening" or self.delivering or self.reader.ended


async def download(
    reader: ChannelReader,
    sink: ByteSink,
    *,
    mode: Mode | None = None,
    limits: Limits = NO_LIMITS,
    status: DownloadStatus | None = None,
    message: Callable[[bytes], None] = _ignore,
    consumer: Callable[[], Awaitable[None]] | None = None,
    deliver_partial: bool = False,
    stop_early: bool = False,
    drain_limit: float | None = None,
    early: Callable[[int | None], None] = _ignore,
    before_finish: Callable[[Verdict], Awaitable[None]] | None = None,
) -> Verdict | None:
    """Read the stream to its end, and finish the sink only after a good one.

    `mode`: as asked, None to follow the stream. `status` is kept up to date. `message` takes text messages
    that are no data in byte mode; where a writer that is not ours sends nothing else, it meant them: they are
    kept, at most 16 MiB, and given to the sink after its clean end. `before_finish` runs after a good end,
    and raises where the sink is not to be finished all the same.

    `consumer` belongs to a sink that is a COMMAND's stdin: it returns when the COMMAND has ended well, and
    raises where it failed. One that wants no more does not end the judgement: the rest is read and dropped,
    for at most `drain_limit` seconds (None: no limit). With `stop_early` the connection ends at once instead.
    `early` hears of it: None, once the rest has been read for a second; the bytes read, where it was stopped.
    With `deliver_partial` the COMMAND sees the end of a stream that failed, too.

    Returns the verdict, None where `stop_early` ended the stream. Every other end discards the sink and is
    raised: one Failure where it is ours, BrokenPipeError where the reader of a sink without a consumer left.
    """
    now = status or DownloadStatus(reader)
    now.output = "our output" if consumer is None else "COMMAND"
    delivery = _Delivery(reader, sink, mode, now, message)

    async def finish() -> None:
        await sink.finish()
        if consumer is not None:
            await consumer()

    async def stopped() -> None:
        reader.leave()
        early(delivery.amount())
        await delivery.answer(None, durable=False, reason=STOPPED_EARLY)
        sink.judge(0, verified=False, count=delivery.amount())
        await finish()

    async def read() -> Verdict | None:
        await sink.open()
        await reader.open()
        now.stage = "moving"
        if consumer is None:
            await delivery.move()
        elif not await _move_beside(delivery, consumer, stop_early, drain_limit, early):
            await stopped()
            return None
        verdict, failure = reader.verdict, await reader.failure()
        assert verdict is not None
        status = 0 if failure is None else failure.exit_status
        sink.judge(status, verified=verdict.verified, count=delivery.amount())
        if failure is not None:
            if deliver_partial:
                await finish()
            raise failure
        if before_finish is not None:
            await before_finish(verdict)
        await finish()
        await delivery.answer(None, durable=sink.durable)
        return delivery.remarked(verdict)

    async def read_and_beat() -> Verdict | None:
        async with anyio.create_task_group() as tasks:
            reader.on_open = partial(delivery.begin, tasks)
            verdict = await read()
            tasks.cancel_scope.cancel()
        return verdict

    try:
        return await _within(limits, delivery.progress, read_and_beat, now.reason)
    except BaseException as error:
        cause = sole_cause(error)
        sink.discard()
        reader.leave()
        await delivery.answer(cause, durable=False)
        if cause is error:
            raise
        raise cause from None


NOTICE_SECONDS = 1.0  # of reading on behind a consumer's back, before a person hears of it


async def _move_beside(
    delivery: _Delivery,
    consumer: Callable[[], Awaitable[None]],
    stop_early: bool,
    drain_limit: float | None,
    early: Callable[[int | None], None],
) -> bool:
    """Move everything while the consumer runs. False: stopped before the end. Raises where it failed."""
    to_the_end = False
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            await consumer()
            if not delivery.sink.has_readers():  # else a child that it left behind reads on
                delivery.unwanted.set()

        async def move() -> None:
            nonlocal to_the_end
            await delivery.move()
            to_the_end = True
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        tasks.start_soon(move)
        await delivery.unwanted.wait()
        if stop_early:
            tasks.cancel_scope.cancel()
            return to_the_end
        await anyio.sleep(NOTICE_SECONDS if drain_limit is None else min(NOTICE_SECONDS, drain_limit))
        early(None)
        if drain_limit is not None:
            await anyio.sleep(max(drain_limit - NOTICE_SECONDS, 0))
            raise TimedOut(
                f"COMMAND finished early, and its input did not end within {drain_limit:g} s",
                hint="`serve --stop-early` does not wait for it",
            )
    return to_the_end


KEPT_BYTES = 16 << 20  # of messages that may turn out to be all that there is


@final
class _Delivery:
    """The data of one stream on its way into the sink, and the receipt that its writer may have asked for."""

    def __init__(
        self,
        reader: ChannelReader,
        sink: ByteSink,
        asked: Mode | None,
        status: DownloadStatus,
        message: Callable[[bytes], None],
    ) -> None:
        self.sink = sink
        self.unwanted = anyio.Event()  # the consumer takes no more
        self._reader = reader
        self._asked = asked
        self._now = status
        self._message = message
        self._mode: Mode | None = None
        self._kept = bytearray()  # the messages of a foreign stream without bytes
        self._receipt: HeldReceipt | None = None
        reader.collect = asked is Mode.RECORDS

    def progress(self) -> int:
        """Grows while bytes come in or go out."""
        return self._reader.statistics().progress + self._now.moved

    def amount(self) -> int:
        """Bytes that have come, of payload or of the text that is the data."""
        in_bytes = self._mode in (None, Mode.BYTES)
        return self._reader.statistics().bytes if in_bytes else self._now.moved

    async def begin(self, tasks: TaskGroup, opened: Open) -> None:
        """Decide how to read, before anything is written; take the receipt's end while it is there."""
        if opened.receipt is not None:
            self._receipt = receipt = HeldReceipt(self._reader.endpoint, opened.receipt)
            await receipt.open()
            if (every := opened.receipt_beat) is not None:
                tasks.start_soon(partial(receipt.beat, every, self.amount, will_confirm=self.sink.durable))
        self._follow(follow(self._asked, opened.mode))

    async def move(self) -> None:
        """Everything, to the end of the stream, whatever that is."""
        while events := await self._reader.pull():
            if self._mode is None:
                self._follow(self._asked or Mode.BYTES)  # a foreign stream
            if self._mode is Mode.BYTES:
                await self._deliver_bytes(events)
            else:
                await self._deliver_messages(events)
        if self._is_all_messages():
            await self._deliver_kept()

    def remarked(self, verdict: Verdict) -> Verdict:
        """The verdict, with a word about messages that were shown at the end."""
        if not self._is_all_messages():
            return verdict
        count = verdict.figures.messages
        late = f"its {count} text messages were written at the end, --text writes them as they come"
        return replace(verdict, text=f"{verdict.text}; {late}")

    async def answer(self, cause: BaseException | None, *, durable: bool, reason: str = STDOUT) -> None:
        """Give a writer that waits for a receipt its answer: `cause` is why there can be none. Once."""
        receipt, self._receipt = self._receipt, None
        if receipt is None:
            return
        if isinstance(cause, BrokenPipeError):
            cause = Failure("what read its output left")
        elif cause is not None and not isinstance(cause, Failure):
            cause = Interrupted(2)
        await receipt.send(self._reader.figures, cause, durable=durable, reason=reason)

    def _follow(self, mode: Mode) -> None:
        self._mode = mode
        if mode is not Mode.BYTES:
            self._now.messages = 0
            self.sink.expect_text()

    async def _deliver_bytes(self, events: list[Event]) -> None:
        for opcode, payload, _ in events:
            if opcode == Opcode.BINARY:
                await self._write(payload)
                if self._now.moved:
                    self._kept.clear()
            else:
                self._message(bytes(payload))
                if self._reader.opened is None and not self._now.moved:
                    self._kept += payload[: KEPT_BYTES + 1 - len(self._kept)]

    async def _deliver_kept(self) -> None:
        if len(self._kept) > KEPT_BYTES:
            count = self._reader.statistics().messages
            raise ContentDiffers(
                f"the stream has {count} text messages of more than 16 MiB and no bytes",
                hint="read it with --text, --lines or --jsonl",
            )
        self.sink.expect_text()
        await self._write(self._kept)

    def _is_all_messages(self) -> bool:
        """Did a foreign writer, read as bytes, end well without any?"""
        verdict = self._reader.verdict
        if verdict is None or verdict.outcome is not Outcome.FOREIGN or self._mode is not Mode.BYTES:
            return False
        return verdict.figures.messages > 0 and not verdict.figures.bytes

    async def _deliver_messages(self, events: list[Event]) -> None:
        assert self._mode is not None
        for are_texts, run in text_runs(events):
            if are_texts:
                texts = [bytes(payload) for _, payload, _ in run]
                self._count(len(texts))
                await self._write(messages_to_data(self._mode, texts))
            elif self._mode in (Mode.RECORDS, Mode.JSONL):
                for _, payload, _ in run:
                    self._count(1)
                    await self._write(chunk_to_jsonl(payload))

    def _count(self, messages: int) -> None:
        self._now.messages = (self._now.messages or 0) + messages

    async def _write(self, data: Buffer) -> None:
        """Give it to the sink; count and drop it once a consumer has closed its input."""
        if not self.unwanted.is_set():
            self._now.delivering = True
            try:
                await self.sink.write(data)
            except BrokenPipeError:
                if self._now.output != "COMMAND":
                    raise
                self.unwanted.set()
            self._now.delivering = False
        self._now.moved += len(data)

"""A call beside its streams."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol, final

import anyio

from iii_cli.client.channels import EndState, probe
from iii_cli.client.connection import Caller
from iii_cli.client.transfer import (
    FUNCTION,
    MOVING,
    DownloadStatus,
    UploadStatus,
    abort_words,
    look_every,
    span_words,
    upload,
)
from iii_cli.errors import (
    CommandFailed,
    CommandNotFound,
    CommandNotRunnable,
    ContentDiffers,
    EngineUnreachable,
    Failure,
    FunctionFailed,
    Interrupted,
    LocalProblem,
    NothingArrived,
    PeerLeft,
    TimedOut,
    UnknownTarget,
    UsageProblem,
    gravest,
)
from iii_cli.protocol.frames import FRAME_BYTES_MAX
from iii_cli.protocol.verifier import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from iii_cli.client.channels import ChannelReader, ChannelWriter
    from iii_cli.client.transfer import ByteSink, ByteSource
    from iii_cli.protocol.frames import Buffer
    from iii_cli.protocol.refs import ChannelRef, Endpoint
    from iii_cli.protocol.seal import Mode
    from iii_cli.protocol.verifier import Verdict

__all__ = (
    "CHANNEL_BYTES",
    "LINGER_SECONDS",
    "STALL_SECONDS",
    "CallPlan",
    "Demand",
    "Found",
    "InLane",
    "Lane",
    "OutLane",
    "StreamedCall",
    "Supply",
    "Way",
    "after_probe",
    "call_with_lanes",
    "frame_bytes",
    "is_own",
    "named",
    "outcome",
    "run_streamed_call",
)


# What only we can have done: a call that goes on cannot make it good.
_OWN = (
    CommandFailed,
    CommandNotFound,
    CommandNotRunnable,
    Interrupted,
    LocalProblem,
    TimedOut,
    UsageProblem,
)


class Way(Enum):
    """Which way a stream of the call goes."""

    IN = "--in"  # we write, the function reads
    OUT = "--out"  # the function writes, we read


class Found(Enum):
    """What a probe of the function's end means, after a result and some silence."""

    GO_ON = auto()  # it is or was in use
    NEVER_OPENED = auto()
    FAILED = auto()


def is_own(failure: Failure) -> bool:
    """Did our side fail? Then everything ends at once, whatever the function would still say."""
    return isinstance(failure, _OWN)


def named(failure: Failure, way: Way, label: str, *, call_runs: bool, never_opened: bool) -> Failure:
    """The failure of a stream, told with its name, and with what the state of the call makes of it."""
    if never_opened and isinstance(failure, NothingArrived):
        return NothingArrived(
            f"{label}: the function answered and never opened it", hint="--allow-empty accepts that"
        )
    if call_runs and way is Way.OUT and isinstance(failure, UnknownTarget):
        return UnknownTarget(
            f"{label}: the channel expired while the call runs: the function did not open it within 5 minutes"
        )
    return failure.about(label)


def after_probe(state: EndState, label: str, url: str) -> tuple[Found, Failure | None]:
    """What to do about a silent stream whose other end was probed."""
    if state is EndState.UNTAKEN:
        return Found.NEVER_OPENED, None
    if state is EndState.GONE:
        return Found.FAILED, UnknownTarget(
            f"{label}: the channel is gone: it expired, or the engine restarted"
        )
    if state is EndState.UNREACHABLE:
        return Found.FAILED, EngineUnreachable(f"{label}: the engine at {url} was lost")
    return Found.GO_ON, None


def outcome(
    call: Failure | None, streams: Iterable[Failure], *, answered: bool, own: Failure | None = None
) -> Failure | None:
    """What the whole ends with; None for success.

    After a success of the call a reader that left is no failure: it had enough.
    """
    failures = [failure for failure in (own, call) if failure is not None]
    failures += [failure for failure in streams if not (answered and isinstance(failure, PeerLeft))]
    return gravest(failures) if failures else None


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
        """Bytes so far, of payload or of the text that is the data."""

    def message_count(self) -> int | None:
        """Messages so far, where they are the data."""

    def waits_for_us(self) -> bool:
        """Is it our side that stands still?"""

    def standing(self, span: str) -> str:
        """Why nothing moves ."""

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
class _GatedSink:
    """A sink that does not finish an unverified stream before the call has succeeded (item 3 of issue 6)."""

    def __init__(self, inner: ByteSink, lane: OutLane, gate: anyio.Event) -> None:
        self._inner = inner
        self._lane = lane
        self._gate = gate

    @property
    def durable(self) -> bool:
        return self._inner.durable

    async def open(self) -> None:
        await self._inner.open()

    def expect_text(self) -> None:
        self._inner.expect_text()

    async def write(self, chunk: Buffer) -> None:
        await self._inner.write(chunk)

    def has_readers(self) -> bool:
        return self._inner.has_readers()

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
    status: UploadStatus = field(init=False)
    _words: tuple[int, str] | None = None

    def __post_init__(self) -> None:
        self.status = UploadStatus({"": self.writer}, reader=FUNCTION)

    async def open(self) -> None:
        await self.writer.open()

    async def move(self, gate: anyio.Event) -> Verdict | None:
        """Write the whole stream. Raises as `write_stream`."""
        async with self.supply() as supply:
            await upload(
                supply.sources,
                self.writer,
                mode=self.mode,
                frame_bytes=self.longest_frame,
                status=self.status,
                check_end=supply.conclude,
                words=self._words_for,
            )
        return None

    def give_up_as(self, code: int, reason: str) -> None:
        self._words = (code, reason)

    def moved(self) -> int:
        counted = self.writer.statistics()
        return counted.bytes + counted.messages - counted.unsent_bytes

    def byte_count(self) -> int:
        return self.status.moved

    def message_count(self) -> int | None:
        return self.status.messages

    def waits_for_us(self) -> bool:
        return self.status.waits_for_us

    def standing(self, span: str) -> str:
        return self.status.reason(span)

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
    copy: Callable[..., Awaitable[Verdict | None]]
    ready: Callable[[], Awaitable[None]]  # opens what can be opened before the call
    dismiss: Callable[[], None]  # undoes that
    expected_bytes: int | None = None
    way: Way = Way.OUT
    settled: bool = False  # the stream is over, only the call's success is awaited
    status: DownloadStatus = field(init=False)

    def __post_init__(self) -> None:
        self.status = DownloadStatus(self.reader, writer=FUNCTION)

    async def open(self) -> None:
        """Open the target and take our end, before the call is made."""
        await self.ready()
        await self.reader.open()

    async def move(self, gate: anyio.Event) -> Verdict | None:
        """Read the whole stream. Raises as `read_stream`."""
        async with self.demand() as demand:
            sink = _GatedSink(demand.sink, self, gate)
            return await self.copy(sink, consumer=demand.beside, status=self.status)

    def give_up_as(self, code: int, reason: str) -> None:
        """A reader has no way to say anything."""

    def moved(self) -> int:
        counted = self.reader.statistics()
        return counted.bytes + counted.messages

    def byte_count(self) -> int:
        return self.status.moved

    def message_count(self) -> int | None:
        return self.status.messages

    def waits_for_us(self) -> bool:
        return self.status.waits_for_us

    def standing(self, span: str) -> str:
        return self.status.reason(span)

    async def close(self) -> None:
        self.reader.leave()
        self.dismiss()


LINGER_SECONDS = 5.0
STALL_SECONDS = 60.0  # after the result, while it is the function's side that stands still
LOOKS = 4  # at a stream, per time limit


@dataclass(slots=True)
class StreamedCall:
    """A call and its streams, whose ends are open.

    `invoke` makes the call. `answered` takes its result and may give more streams, not yet open. Times are
    in seconds; None: no limit. `stall` counts from the start and for both sides where it was asked for;
    else it is STALL_SECONDS from the result on, for the function's side only. `deadline` is on anyio's clock.
    """

    function_id: str
    endpoint: Endpoint
    invoke: Callable[[], Awaitable[Any]]
    lanes: Sequence[Lane]
    answered: Callable[[Any], Awaitable[Sequence[Lane]]]
    notice: Callable[[str], None]
    linger: float | None = LINGER_SECONDS
    stall: float | None = STALL_SECONDS
    stall_asked: bool = False
    deadline: float = math.inf
    whole: float | None = None
    look: Callable[[Endpoint, ChannelRef], Awaitable[EndState]] = probe


async def run_streamed_call(order: StreamedCall) -> Any:
    """Run it to the end of the call and of every stream; the result.

    Raises the gravest Failure of all that failed. Cancelled, it aborts what it writes and discards what it
    reads.
    """
    return await _Run(order).run()


@dataclass(slots=True, eq=False)
class _Track:
    """A stream on its way."""

    lane: Lane
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    over: anyio.Event = field(default_factory=anyio.Event)
    failure: Failure | None = None
    never_opened: bool = False


@final
class _Quiet:
    """How long a stream has not moved, as far as somebody looked."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._count = lane.moved()
        self._since = self._since_theirs = anyio.current_time()

    def look(self) -> tuple[float, float]:
        """Seconds without a movement, and seconds in which the function's side owed it."""
        now, count = anyio.current_time(), self._lane.moved()
        if count != self._count:
            self._count, self._since = count, now
        if self._since == now or self._lane.waits_for_us():
            self._since_theirs = now
        return now - self._since, now - self._since_theirs


@final
class _Run:
    """One run of an order."""

    def __init__(self, order: StreamedCall) -> None:
        self._order = order
        self._tracks: list[_Track] = []
        self._answered = anyio.Event()
        self._result: Any = None
        self._call_failure: Failure | None = None
        self._own_failure: Failure | None = None

    async def run(self) -> Any:
        """The story: everything at once, until all of it is over."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            for lane in self._order.lanes:
                self._start(lane)
            tasks.start_soon(self._watch_whole)
            if self._order.stall_asked:
                tasks.start_soon(self._watch_before_answer)
            await self._call()
            for track in self._tracks:
                await track.over.wait()
            tasks.cancel_scope.cancel()
        failure = outcome(
            self._call_failure,
            [track.failure for track in self._tracks if track.failure is not None],
            answered=self._answered.is_set(),
            own=self._own_failure,
        )
        if failure is not None:
            raise failure
        return self._result

    async def _call(self) -> None:
        try:
            self._result = await self._order.invoke()
        except Failure as failure:
            self._call_failure = failure
            word = failure.code if isinstance(failure, FunctionFailed) else "it was lost"
            self._end_all(failure.exit_status, f"the call failed: {word}")
            return
        self._answered.set()
        try:
            more = await self._order.answered(self._result)
            for lane in more:
                await lane.open()
        except Failure as failure:
            self._own(failure)
            return
        for lane in more:
            self._start(lane)

    def _start(self, lane: Lane) -> None:
        track = _Track(lane)
        self._tracks.append(track)
        self._tasks.start_soon(self._move, track)
        self._tasks.start_soon(self._watch_after_answer, track)

    async def _move(self, track: _Track) -> None:
        lane = track.lane
        with track.scope:
            try:
                verdict = await lane.move(self._answered)
                if verdict is not None and verdict.outcome is Outcome.FOREIGN:
                    self._order.notice(f"{lane.label}: {verdict.text}")
            except Failure as failure:
                self._stream_failed(track, failure)
        track.over.set()

    def _stream_failed(self, track: _Track, failure: Failure) -> None:
        lane, call_runs = track.lane, not self._answered.is_set()
        if is_own(failure):
            self._own(failure)
            return
        never_opened = track.never_opened and isinstance(failure, NothingArrived)
        track.failure = failure = named(
            failure, lane.way, lane.label, call_runs=call_runs, never_opened=never_opened
        )
        if call_runs and isinstance(failure, UnknownTarget):
            self._order.notice(failure.message)  # the call may take long yet

    def _own(self, failure: Failure) -> None:
        if self._own_failure is None:
            self._own_failure = failure
        self._end_all(failure.exit_status, failure.message)

    def _end_all(self, code: int, reason: str) -> None:
        for track in self._tracks:
            track.lane.give_up_as(code, reason)
        self._tasks.cancel_scope.cancel()

    # what watches

    async def _watch_whole(self) -> None:
        order, seconds = self._order, dict[_Track, float]()
        if math.isinf(order.deadline):
            return
        look, clocks = look_every(order.whole), dict[_Track, _Quiet]()
        while (left := order.deadline - anyio.current_time()) > 0:
            await anyio.sleep(min(left, look))
            for track in self._tracks:
                clock = clocks.setdefault(track, _Quiet(track.lane))
                seconds[track] = clock.look()[0]
        spans = {track: span_words(still) if still > look else None for track, still in seconds.items()}
        self._own(TimedOut(f"{order.function_id} took longer than {order.whole:g} s{self._standing(spans)}"))

    async def _watch_before_answer(self) -> None:
        """A limit that was asked for holds before the result, too: while every stream stands still."""
        stall = self._order.stall
        if stall is None:
            return
        clocks = {track: _Quiet(track.lane) for track in self._tracks}
        while True:
            with anyio.move_on_after(stall / LOOKS):
                await self._answered.wait()
                return
            active = [track for track in self._tracks if not (track.over.is_set() or track.lane.settled)]
            seconds = [clocks[track].look()[0] for track in active]
            if seconds and min(seconds) >= stall:
                spans: dict[_Track, str | None] = dict.fromkeys(active, "")
                self._own(TimedOut(f"nothing moved for {stall:g} s (--stall-timeout){self._standing(spans)}"))

    async def _watch_after_answer(self, track: _Track) -> None:
        await self._answered.wait()
        order, quiet = self._order, _Quiet(track.lane)
        linger, stall = order.linger, order.stall
        while linger is not None or stall is not None:
            with anyio.move_on_after(min(linger or math.inf, stall or math.inf) / LOOKS):
                await track.over.wait()
                return
            seconds, theirs = quiet.look()
            if stall is not None and (seconds if order.stall_asked else theirs) >= stall:
                self._own(
                    TimedOut(f"nothing moved for {stall:g} s after the result{self._standing({track: ''})}")
                )
            elif linger is not None and seconds >= linger:
                linger = None
                await self._find_out(track)

    async def _find_out(self, track: _Track) -> None:
        """Has the function ever opened its end of a silent stream?"""
        lane, order, endpoint = track.lane, self._order, self._order.endpoint
        found, failure = after_probe(
            await order.look(endpoint, lane.theirs), lane.label, endpoint.address.url
        )
        if found is Found.GO_ON or track.over.is_set():
            return
        if found is Found.NEVER_OPENED and lane.way is Way.OUT:
            track.never_opened = True  # the probe has ended the stream: our end sees that by itself
            return
        if failure is None:
            self._order.notice(f"{lane.label}: the function answered and never opened it")
        track.failure = failure
        lane.give_up_as(1, "nobody reads it")
        track.scope.cancel()

    def _standing(self, spans: Mapping[_Track, str | None]) -> str:
        """Which sides stand still, as the rest of a sentence. `spans`: for how long; None: it moves."""
        parts = [
            f"{track.lane.label}: {MOVING if span is None else track.lane.standing(span)}"
            for track, span in spans.items()
            if not (track.over.is_set() or track.lane.settled)
        ]
        if not self._answered.is_set():
            parts.append("the function has not answered")
        return f": {'; '.join(parts)}" if parts else ""


class CallPlan(Protocol):
    """What is to be called, with which streams. All local things were checked before."""

    endpoint: Endpoint
    whole: float | None  # seconds for all of it; None: no limit

    async def lay(self, caller: Caller, lanes: list[Lane]) -> Any:
        """Make the channels and add their lanes, not yet open; the payload with the function's refs."""

    def order(self, caller: Caller, payload: Any, lanes: list[Lane]) -> StreamedCall:
        """The call, as it is to be run. It may add to `lanes` what must be closed in the end."""

    def watching(self, lanes: list[Lane]) -> AbstractAsyncContextManager[object]:
        """What goes on around the streams: the progress."""

    def release(self) -> None:
        """Undo what was opened locally and not used."""


async def call_with_lanes(plan: CallPlan) -> Any:
    """Connect, make the channels, take our ends, call, and move everything; the result.

    Raises as `run_streamed_call`, one Failure or a group that comes down to one.
    """
    deadline = math.inf if plan.whole is None else anyio.current_time() + plan.whole
    lanes: list[Lane] = []
    caller: Caller | None = None
    try:
        with _opening(plan, deadline):
            caller = await Caller.open(plan.endpoint)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller.attend)
            with _opening(plan, deadline):
                payload = await plan.lay(caller, lanes)
                for lane in lanes:
                    await lane.open()
            order = plan.order(caller, payload, lanes)
            order.deadline = deadline
            async with plan.watching(lanes):
                result = await run_streamed_call(order)
            tasks.cancel_scope.cancel()
    finally:
        for lane in lanes:
            await lane.close()
        plan.release()
        if caller is not None:
            caller.close()
    return result


@contextmanager
def _opening(plan: CallPlan, deadline: float) -> Iterator[None]:
    with anyio.CancelScope(deadline=deadline) as scope:
        yield
    if scope.cancelled_caught:
        raise TimedOut(f"the streams were not open within {plan.whole:g} s")

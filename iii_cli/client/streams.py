"""A call beside its streams: everything at once, until all of it is over.

A stream does not end the call, nor the call's success a stream. A call that fails aborts its streams; a
failure of our own (a full disk, a COMMAND, a time limit) ends everything. After the result a silent stream is
looked into: did the function ever open its end?
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import anyio

from iii_cli.client.channels import ChannelWriter, EndState, probe
from iii_cli.client.transfer import MOVING, Clock, UploadStatus, abort_words, look_every, span_words
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
    StageFailed,
    TimedOut,
    UnknownTarget,
    UsageProblem,
    gravest,
)
from iii_cli.protocol.frames import FRAME_BYTES_MAX
from iii_cli.protocol.verifier import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from iii_cli.client.channels import ChannelReader
    from iii_cli.client.transfer import DownloadStatus
    from iii_cli.protocol.refs import ChannelRef, Endpoint
    from iii_cli.protocol.verifier import Verdict

__all__ = ("LINGER_SECONDS", "STALL_SECONDS", "CallStream", "StreamedCall", "frame_bytes")


LINGER_SECONDS = 5.0
STALL_SECONDS = 60.0  # after the result, while it is the function's side that stands still

NOT_MADE = (1, "the call was not made")  # what the reader of a stream hears that never began
CHANNEL_BYTES = 16 << 20  # what a channel of ours may hold in the engine: frames times buffer

# Failures of our own side: a call that goes on cannot make them good.
_OWN = (
    CommandFailed,
    CommandNotFound,
    CommandNotRunnable,
    Interrupted,
    LocalProblem,
    TimedOut,
    UsageProblem,
)


def frame_bytes(buffer_size: int) -> int:
    """How large our frames may be in a channel that holds so many of them."""
    return min(FRAME_BYTES_MAX, CHANNEL_BYTES // max(buffer_size, 1))


@dataclass(slots=True, eq=False)
class CallStream:
    """One stream of a call. `theirs` is the end that the function gets, `end` is ours.

    `move` moves the whole stream, and is cancelled where that makes no sense any more: it asks `abort_words`
    then, and `permit` before an output is kept. It raises Failure and BrokenPipeError.
    """

    label: str
    theirs: ChannelRef
    end: ChannelWriter | ChannelReader
    status: UploadStatus | DownloadStatus
    move: Callable[[CallStream], Awaitable[Verdict | None]]
    expected: int | None = None  # bytes: how many our file has, or the result says
    check: Callable[[Verdict], None] | None = None  # an output is kept only after success, and if this agrees
    failure: Failure | None = None
    awaits_success: bool = False  # the stream is over, only the call's success is awaited
    never_opened: bool = False  # by the function, which has answered
    last_words: tuple[int, str] | None = None  # for a reader, where the stream is cancelled
    looked_into: bool = False
    answered: anyio.Event = field(default_factory=anyio.Event)  # the call has succeeded
    over: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    @property
    def is_input(self) -> bool:
        """Do we write it, and the function reads?"""
        return isinstance(self.status, UploadStatus)

    @property
    def active(self) -> bool:
        """Is there something that could move?"""
        return not (self.over.is_set() or self.awaits_success)

    @property
    def total(self) -> int | None:
        """How many bytes it will have, as far as that is known."""
        opened = None if isinstance(self.end, ChannelWriter) else self.end.opened
        return self.expected if opened is None else opened.size

    @property
    def ended(self) -> bool:
        """Has everything gone through our end?"""
        return self.end.ended

    def progress(self) -> int:
        """Grows while anything moves."""
        return self.end.statistics().progress

    def excused(self) -> bool:
        """Is it our side that stands still?"""
        return self.status.waits_for_us

    async def close(self) -> None:
        """Let go of an end that never got to move."""
        if isinstance(self.end, ChannelWriter):
            await self.end.abort(*(self.last_words or NOT_MADE))
        else:
            self.end.leave()

    async def permit(self, verdict: Verdict) -> None:
        """Wait for the call's success, before an output is kept that cannot be verified, or has a `check`.

        Raises ContentDiffers where it has another size than the result says, and what `check` raises.
        """
        arrived = self.end.statistics().bytes
        if self.expected is not None and self.expected != arrived:
            raise ContentDiffers(f"the result says {self.expected} bytes, {arrived} arrived")
        if self.check is not None or not verdict.verified:
            self.awaits_success = True
            await self.answered.wait()
        if self.check is not None:
            self.check(verdict)

    def abort_words(self, cause: BaseException) -> tuple[int, str]:
        """What a reader hears of an aborted stream."""
        cancelled = not isinstance(cause, Failure)
        return self.last_words if cancelled and self.last_words is not None else abort_words(cause)


@final
@dataclass(slots=True, eq=False)
class StreamedCall:
    """A call and its streams, whose ends are open. `run` it once.

    `invoke` makes the call. `answered` takes its result and may give more streams, open as well. Times are in
    seconds; None: no limit. `stall` counts from the start and for both sides where it was asked for; else it
    counts from the result on, for the function's side only. `deadline` is on anyio's clock, and where `whole`
    ends. `look` probes the function's end of a stream. `unanswered` says what has no result yet.
    """

    function_id: str
    endpoint: Endpoint
    streams: list[CallStream]
    invoke: Callable[[], Awaitable[Any]]
    answered: Callable[[Any], Awaitable[Sequence[CallStream]]]
    notice: Callable[[str], None]
    linger: float | None = LINGER_SECONDS
    stall: float | None = STALL_SECONDS
    stall_asked: bool = False
    deadline: float = math.inf
    whole: float | None = None
    look: Callable[[Endpoint, ChannelRef], Awaitable[EndState]] = probe
    unanswered: Callable[[], str] = lambda: "the function has not answered"
    _answered_at: float | None = field(default=None, init=False)
    _tasks: anyio.abc.TaskGroup = field(default_factory=anyio.create_task_group, init=False)
    _clocks: dict[CallStream, tuple[Clock, Clock]] = field(default_factory=dict, init=False)
    _call_failure: Failure | None = field(default=None, init=False)
    _own_failure: Failure | None = field(default=None, init=False)

    async def run(self) -> Any:
        """To the end of the call and of every stream; the result.

        Raises the gravest Failure of all that failed. Cancelled, it aborts what it writes and discards what
        it reads.
        """
        result = None
        async with self._tasks as tasks:
            for stream in self.streams:
                self._start(stream)
            tasks.start_soon(self._watch)
            result = await self._call()
            for stream in self.streams:
                await stream.over.wait()
            tasks.cancel_scope.cancel()
        failures = [failure for failure in (self._own_failure, self._call_failure) if failure is not None]
        for stream in self.streams:
            # After a success a reader that left is no failure: it had enough.
            left = isinstance(stream.failure, PeerLeft) and self._answered_at is not None
            if stream.failure is not None and not left:
                failures.append(stream.failure)
        if failures:
            raise gravest(failures)
        return result

    async def _call(self) -> Any:
        try:
            result = await self.invoke()
        except Failure as failure:
            self._call_failure = failure
            word = failure.code if isinstance(failure, FunctionFailed) else "it was lost"
            is_stage = isinstance(failure, StageFailed)
            self._end_all(failure.exit_status, failure.message if is_stage else f"the call failed: {word}")
            return None
        self._answered_at = anyio.current_time()
        for stream in self.streams:
            stream.answered.set()
        try:
            more = await self.answered(result)
        except Failure as failure:
            self._fail(failure)
            return None
        for stream in more:
            stream.answered.set()
            self.streams.append(stream)
            self._start(stream)
        return result

    def _start(self, stream: CallStream) -> None:
        excused = None if self.stall_asked else stream.excused
        self._clocks[stream] = Clock(stream.progress), Clock(stream.progress, excused)
        self._tasks.start_soon(self._move, stream)

    async def _move(self, stream: CallStream) -> None:
        with stream.scope:
            try:
                verdict = await stream.move(stream)
                if verdict is not None and verdict.outcome is Outcome.FOREIGN:
                    self.notice(f"{stream.label}: {verdict.text}")
            except _OWN as failure:
                self._fail(failure)
            except Failure as failure:
                stream.failure = self._told(stream, failure)
        stream.over.set()

    def _told(self, stream: CallStream, failure: Failure) -> Failure:
        """The failure of a stream, with its name, and with what the state of the call makes of it."""
        if stream.never_opened and isinstance(failure, NothingArrived):
            text = f"{stream.label}: the function answered and never opened it"
            return NothingArrived(text, hint="--allow-empty accepts that")
        if self._answered_at is not None or not isinstance(failure, UnknownTarget):
            return failure.about(stream.label)
        failure = failure.about(stream.label)
        if not stream.is_input:
            failure = UnknownTarget(
                f"{stream.label}: the channel expired while the call runs: "
                "the function did not open it within 5 minutes"
            )
        self.notice(failure.message)  # the call may take long yet
        return failure

    def _fail(self, failure: Failure) -> None:
        """Our own side failed: everything ends at once, whatever the function would still say."""
        if self._own_failure is None:
            self._own_failure = failure
        self._end_all(failure.exit_status, failure.message)

    def _end_all(self, code: int, reason: str) -> None:
        for stream in self.streams:
            stream.last_words = (code, reason)
        self._tasks.cancel_scope.cancel()

    # what watches

    async def _watch(self) -> None:
        """Hold the limits. The one for standing still counts from the start and for both sides where it was
        asked for, else from the result on and for the function's side.
        """
        stall, linger = self.stall, self.linger
        look = look_every(self.whole, stall, linger)
        while True:
            await anyio.sleep(max(min(look, self.deadline - anyio.current_time()), 0))
            now = anyio.current_time()
            spans = {stream: (still.look(), owed.look()) for stream, (still, owed) in self._clocks.items()}
            if now >= self.deadline:
                moved = {
                    each: span_words(still) if still > look else None for each, (still, _) in spans.items()
                }
                text = f"{self.function_id} took longer than {self.whole:g} s{self._reasons(moved)}"
                return self._fail(TimedOut(text))
            active = {stream: span for stream, span in spans.items() if stream.active}
            if self._answered_at is None:
                if stall is not None and self.stall_asked and active and min(active.values())[0] >= stall:
                    reasons = self._reasons(dict.fromkeys(active, ""))
                    return self._fail(TimedOut(f"nothing moved for {stall:g} s (--stall-timeout){reasons}"))
                continue
            since_answer = now - self._answered_at
            for stream, (still, owed) in active.items():
                if stall is not None and min(owed, since_answer) >= stall:
                    reasons = self._reasons({stream: ""})
                    return self._fail(TimedOut(f"nothing moved for {stall:g} s after the result{reasons}"))
                if linger is not None and min(still, since_answer) >= linger and not stream.looked_into:
                    stream.looked_into = True
                    self._tasks.start_soon(self._look_into, stream)

    async def _look_into(self, stream: CallStream) -> None:
        """Has the function ever opened its end of a silent stream?"""
        state = await self.look(self.endpoint, stream.theirs)
        if stream.over.is_set():
            return
        if state is EndState.UNTAKEN and not stream.is_input:
            stream.never_opened = True  # the probe has ended the stream: our end sees that by itself
            return
        if state is EndState.UNTAKEN:
            self.notice(f"{stream.label}: the function answered and never opened it")
        elif state is EndState.GONE:
            text = f"{stream.label}: the channel is gone: it expired, or the engine restarted"
            stream.failure = UnknownTarget(text)
        elif state is EndState.UNREACHABLE:
            text = f"{stream.label}: the engine at {self.endpoint.address.url} was lost"
            stream.failure = EngineUnreachable(text)
        else:
            return  # it is or was in use
        stream.last_words = (1, "nobody reads it")
        stream.scope.cancel()

    def _reasons(self, spans: Mapping[CallStream, str | None]) -> str:
        """Why nothing moves, as the rest of a sentence. `spans`: for how long; None: it moves."""
        parts = [
            f"{stream.label}: {MOVING if span is None else stream.status.reason(span)}"
            for stream, span in spans.items()
            if stream.active
        ]
        if self._answered_at is None:
            parts.append(self.unanswered())
        return f": {'; '.join(parts)}" if parts else ""

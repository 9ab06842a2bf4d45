"""A call and its streams, all at once (issue 6, items 2 to 6).

Theory of operation. The call and every stream run side by side, and none of them ends another one, with three
exceptions that end everything: the call failed, our own side failed (a source, a target, a COMMAND, a time
limit), we are cancelled. What else goes wrong with a stream is kept until the rest is over. After a success
of the call each stream that is silent for `linger` seconds has its other end probed once: one that the
function never opened is over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import anyio

from iii_cli.client.probe import probe
from iii_cli.client.stream_rules import Found, Way, after_probe, is_own, named, outcome, standing
from iii_cli.errors import Failure, FunctionFailed, NothingArrived, TimedOut, UnknownTarget
from iii_cli.wire.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from iii_cli.client.lanes import Lane
    from iii_cli.client.probe import EndState
    from iii_cli.wire.address import Endpoint
    from iii_cli.wire.ref import ChannelRef

__all__ = ("LINGER_SECONDS", "STALL_SECONDS", "StreamedCall", "run_streamed_call")

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
        await anyio.sleep_until(self._order.deadline)
        self._own(
            TimedOut(f"{self._order.function_id} took longer than {self._order.whole:g} s{self._standing()}")
        )

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
                self._own(TimedOut(f"nothing moved for {stall:g} s (--stall-timeout){self._standing()}"))

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
                self._own(TimedOut(f"nothing moved for {stall:g} s after the result{self._standing(track)}"))
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

    def _standing(self, only: _Track | None = None) -> str:
        """Which sides stand still, as the rest of a sentence."""
        active = [
            track
            for track in self._tracks
            if not (track.over.is_set() or track.lane.settled) and only in (None, track)
        ]
        parts = [
            standing(track.lane.way, track.lane.label, waits_for_us=track.lane.waits_for_us())
            for track in active
        ]
        if not self._answered.is_set():
            parts.append("the function has not answered")
        return f": {'; '.join(parts)}" if parts else ""

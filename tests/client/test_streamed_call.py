"""A call and its streams, on lanes that do what the test says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from iii_cli.client.channels import EndState
from iii_cli.client.streams import StreamedCall, Way, run_streamed_call
from iii_cli.errors import (
    ContentDiffers,
    Failure,
    FunctionFailed,
    LocalProblem,
    NothingArrived,
    PeerLeft,
    StreamTruncated,
    TimedOut,
    UnknownTarget,
    sole_cause,
)
from iii_cli.protocol.refs import ChannelRef, Direction, Endpoint, EngineAddress, Secret
from iii_cli.protocol.seal import Counter
from iii_cli.protocol.verifier import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

ENDPOINT = Endpoint(EngineAddress.parse("ws://h:1"))
REF = ChannelRef("c", Secret("k"), Direction.READ)
SOON = 0.02  # seconds of the limits that are to pass


@dataclass(eq=False)
class FakeLane:
    """Ends when the test says so, with what the test says."""

    way: Way = Way.IN
    label: str = "--in x"
    theirs: ChannelRef = REF
    settled: bool = False
    ours: bool = False
    count: int = 0
    words: tuple[int, str] | None = None
    cancelled_with: tuple[int, str] | None = None
    end: anyio.Event = field(default_factory=anyio.Event)
    failure: Failure | None = None
    verdict: Verdict | None = None
    wait_for_gate: bool = False

    async def open(self) -> None:
        return

    async def move(self, gate: anyio.Event) -> Verdict | None:
        try:
            await self.end.wait()
            if self.failure is not None:
                raise self.failure
            if self.wait_for_gate:
                await gate.wait()
            return self.verdict
        except anyio.get_cancelled_exc_class():
            self.cancelled_with = self.words
            raise

    def finish(self, failure: Failure | None = None) -> None:
        self.failure = failure
        self.end.set()

    def give_up_as(self, code: int, reason: str) -> None:
        self.words = (code, reason)

    def moved(self) -> int:
        return self.count

    def byte_count(self) -> int:
        return self.count

    def message_count(self) -> int | None:
        return None

    def waits_for_us(self) -> bool:
        return self.ours

    def standing(self, span: str) -> str:
        return "our side stands still" if self.ours else "the function stands still"

    async def close(self) -> None:
        return


class Stage:
    """One call with lanes. `answer` and `fail` end the call."""

    def __init__(self, *lanes: FakeLane, **more: Any) -> None:
        self.notices: list[str] = []
        self.probed = 0
        self.probe_finds = EndState.TAKEN
        self.on_probe: Callable[[], None] = lambda: None
        self.later: Sequence[FakeLane] = ()
        self.shown: list[Any] = []
        self._answered = anyio.Event()
        self._failure: Failure | None = None
        self.order = StreamedCall(
            function_id="f",
            endpoint=ENDPOINT,
            invoke=self._invoke,
            lanes=lanes,
            answered=self._show,
            notice=self.notices.append,
            look=self._probe,
            **more,
        )

    async def run(self, script: Callable[[], Coroutine[Any, Any, None]] | None = None) -> Any:
        try:
            async with anyio.create_task_group() as tasks:
                if script is not None:
                    tasks.start_soon(script)
                with anyio.fail_after(5):
                    return await run_streamed_call(self.order)
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None

    def answer(self) -> None:
        self._answered.set()

    def fail(self, failure: Failure) -> None:
        self._failure = failure
        self._answered.set()

    async def _invoke(self) -> str:
        await self._answered.wait()
        if self._failure is not None:
            raise self._failure
        return "result"

    async def _show(self, result: Any) -> Sequence[FakeLane]:
        self.shown.append(result)
        return self.later

    async def _probe(self, endpoint: Endpoint, ref: ChannelRef) -> EndState:
        self.probed += 1
        self.on_probe()
        return self.probe_finds


def foreign() -> Verdict:
    return Verdict(Outcome.FOREIGN, "could not be verified", Counter().figures)


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_the_result_does_not_end_a_stream() -> None:
    lane = FakeLane()
    stage = Stage(lane, linger=None)

    async def script() -> None:
        stage.answer()
        await settle()
        assert stage.shown == ["result"]
        assert lane.cancelled_with is None
        lane.finish()

    assert await stage.run(script) == "result"


async def test_a_stream_does_not_end_the_call() -> None:
    lane = FakeLane(way=Way.OUT)
    stage = Stage(lane)

    async def script() -> None:
        lane.finish(StreamTruncated("cut"))
        await settle()
        stage.answer()

    with pytest.raises(StreamTruncated, match="--in x: cut"):
        await stage.run(script)
    assert stage.shown == ["result"]


async def test_a_failed_call_aborts_the_streams_and_says_why() -> None:
    lanes = [FakeLane(), FakeLane(way=Way.OUT)]
    stage = Stage(*lanes)

    async def script() -> None:
        await settle()
        stage.fail(FunctionFailed("E7", "no"))

    with pytest.raises(FunctionFailed):
        await stage.run(script)
    assert [lane.cancelled_with for lane in lanes] == [(1, "the call failed: E7")] * 2


async def test_our_own_failure_ends_everything_and_wins() -> None:
    bad, other = FakeLane(), FakeLane(way=Way.OUT)
    stage = Stage(bad, other, linger=None)

    async def script() -> None:
        stage.answer()
        await settle()
        bad.finish(LocalProblem("disk"))

    with pytest.raises(LocalProblem, match="disk"):
        await stage.run(script)
    assert other.cancelled_with == (10, "disk")


@pytest.mark.parametrize("first", ["reader", "answer"])
async def test_a_reader_that_had_enough_is_no_failure_after_a_success(first: str) -> None:
    lane = FakeLane()
    stage = Stage(lane, linger=None)

    async def script() -> None:
        if first == "reader":
            lane.finish(PeerLeft("left"))
        else:
            stage.answer()
        await settle()
        lane.finish(PeerLeft("left"))
        stage.answer()

    assert await stage.run(script) == "result"


async def test_an_unverified_stream_waits_for_the_success() -> None:
    lane = FakeLane(way=Way.OUT, wait_for_gate=True, verdict=foreign())
    stage = Stage(lane)

    async def script() -> None:
        lane.finish()
        await settle()
        assert stage.notices == []
        stage.answer()

    await stage.run(script)
    assert stage.notices == ["--in x: could not be verified"]


async def test_a_stream_found_in_the_result_is_moved_too() -> None:
    late = FakeLane(way=Way.OUT)
    stage = Stage(linger=None)
    stage.later = [late]

    async def script() -> None:
        stage.answer()
        await settle()
        late.finish(ContentDiffers("size"))

    with pytest.raises(ContentDiffers):
        await stage.run(script)


async def test_an_input_that_was_never_opened_is_over_with_one_line() -> None:
    lane = FakeLane()
    stage = Stage(lane, linger=SOON)
    stage.probe_finds = EndState.UNTAKEN
    stage.answer()
    assert await stage.run() == "result"
    assert stage.notices == ["--in x: the function answered and never opened it"]
    assert lane.cancelled_with == (1, "nobody reads it")


async def test_an_output_that_was_never_opened_is_named() -> None:
    lane = FakeLane(way=Way.OUT)
    stage = Stage(lane, linger=SOON)
    stage.probe_finds = EndState.UNTAKEN
    stage.on_probe = lambda: lane.finish(NothingArrived("nothing"))  # as the engine lets our end see it
    stage.answer()
    with pytest.raises(NothingArrived, match="never opened it"):
        await stage.run()


@pytest.mark.parametrize(("state", "status"), [(EndState.GONE, 5), (EndState.UNREACHABLE, 3)])
async def test_a_silent_stream_whose_channel_is_gone_fails(state: EndState, status: int) -> None:
    stage = Stage(FakeLane(), linger=SOON)
    stage.probe_finds = state
    stage.answer()
    with pytest.raises(Failure) as caught:
        await stage.run()
    assert caught.value.exit_status == status


async def test_a_stream_in_use_goes_on_until_the_stall_limit_and_is_probed_once() -> None:
    stage = Stage(FakeLane(), linger=SOON, stall=5 * SOON)
    stage.answer()
    with pytest.raises(TimedOut, match="after the result: --in x: the function stands still"):
        await stage.run()
    assert stage.probed == 1


async def test_our_own_silence_is_not_held_against_the_function() -> None:
    lane = FakeLane(ours=True)
    stage = Stage(lane, linger=None, stall=SOON)

    async def script() -> None:
        stage.answer()
        await anyio.sleep(5 * SOON)
        lane.finish()

    assert await stage.run(script) == "result"


async def test_a_stall_limit_that_was_asked_for_counts_for_both_sides() -> None:
    stage = Stage(FakeLane(ours=True), linger=None, stall=SOON, stall_asked=True)
    stage.answer()
    with pytest.raises(TimedOut, match="our side stands still"):
        await stage.run()


async def test_a_stall_limit_holds_before_the_result_and_names_every_side() -> None:
    lanes = FakeLane(), FakeLane(way=Way.OUT, label="--out y")
    stage = Stage(*lanes, stall=SOON, stall_asked=True)
    words = (
        "--in x: the function stands still; --out y: the function stands still; the function has not answered"
    )
    with pytest.raises(TimedOut, match=words):
        await stage.run()


async def test_what_moves_is_not_probed() -> None:
    lane = FakeLane()
    stage = Stage(lane, linger=4 * SOON)

    async def script() -> None:
        stage.answer()
        for _ in range(12):
            await anyio.sleep(SOON)
            lane.count += 1
        lane.finish()

    await stage.run(script)
    assert stage.probed == 0


async def test_the_limit_for_the_whole_counts_before_and_after_the_result() -> None:
    lane = FakeLane(way=Way.OUT, label="--out y")
    stage = Stage(lane, whole=SOON)
    stage.order.deadline = anyio.current_time() + SOON
    with pytest.raises(TimedOut, match=r"longer than 0\.02 s"):
        await stage.run()
    assert lane.cancelled_with is not None
    assert lane.cancelled_with[0] == 124


async def test_a_swept_channel_is_told_at_once_and_fails_in_the_end() -> None:
    lane = FakeLane(way=Way.OUT, label="--out y")
    stage = Stage(lane)

    async def script() -> None:
        lane.finish(UnknownTarget("gone"))
        await settle()
        assert "expired while the call runs" in stage.notices[0]
        stage.answer()

    with pytest.raises(UnknownTarget, match="within 5 minutes"):
        await stage.run(script)
    assert stage.shown == ["result"]


async def test_cancelled_from_outside_everything_stops() -> None:
    lane = FakeLane()
    stage = Stage(lane)
    with anyio.move_on_after(SOON) as scope:
        await stage.run()
    assert scope.cancelled_caught
    assert lane.end.is_set() is False

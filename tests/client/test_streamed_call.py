"""A call and its streams, which do what the test says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from iii_cli.client.channels import EndState, ReaderStatistics
from iii_cli.client.streams import CallStream, StreamedCall
from iii_cli.client.transfer import DownloadStatus, UploadStatus
from iii_cli.errors import (
    Failure,
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


class FakeEnd:
    """Counts what the test says."""

    verdict = None

    def __init__(self) -> None:
        self.count = 0

    def statistics(self) -> ReaderStatistics:
        return ReaderStatistics(self.count, 0)


@dataclass(eq=False)
class FakeInput(UploadStatus):
    """Stands still as the test says."""

    ours: bool = False

    def reason(self, span: str) -> str:
        return "our side stands still" if self.ours else "the function stands still"

    @property
    def waits_for_us(self) -> bool:
        return self.ours


class FakeOutput(DownloadStatus):
    def reason(self, span: str) -> str:
        return "the function stands still"

    @property
    def waits_for_us(self) -> bool:
        return False


class Script:
    """A stream that ends when the test says so, with what the test says."""

    def __init__(self, label: str = "--in x", *, ours: bool = False, unverified: bool = False) -> None:
        end: Any = FakeEnd()
        self.end = end
        status = FakeInput({}, ours=ours) if label.startswith("--in") else FakeOutput(end)
        self.stream = CallStream(label, REF, end, status, self._move)
        self.cancelled_with: tuple[int, str] | None = None
        self._ended = anyio.Event()
        self._failure: Failure | None = None
        self._unverified = unverified

    def finish(self, failure: Failure | None = None) -> None:
        self._failure = failure
        self._ended.set()

    async def _move(self, stream: CallStream) -> Verdict | None:
        try:
            await self._ended.wait()
            if self._failure is not None:
                raise self._failure
            if self._unverified:
                verdict = Verdict(Outcome.FOREIGN, "could not be verified", Counter().figures)
                await stream.permit(verdict)
                return verdict
            return None
        except anyio.get_cancelled_exc_class() as error:
            self.cancelled_with = stream.abort_words(error)
            raise


class Stage:
    """One call with streams. `answer` and `fail` end the call."""

    def __init__(self, *scripts: Script, **more: Any) -> None:
        self.notices: list[str] = []
        self.probed = 0
        self.probe_finds = EndState.TAKEN
        self.shown: list[Any] = []
        self._answered = anyio.Event()
        self._scripts = scripts
        self._more = more

    async def run(self, script: Callable[[], Coroutine[Any, Any, None]] | None = None) -> Any:
        try:
            async with anyio.create_task_group() as tasks:
                if script is not None:
                    tasks.start_soon(script)
                with anyio.fail_after(5):
                    return await StreamedCall(
                        function_id="f",
                        endpoint=ENDPOINT,
                        streams=[script.stream for script in self._scripts],
                        invoke=self._invoke,
                        answered=self._show,
                        notice=self.notices.append,
                        look=self._probe,
                        **self._more,
                    ).run()
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None

    def answer(self) -> None:
        self._answered.set()

    async def _invoke(self) -> str:
        await self._answered.wait()
        return "result"

    async def _show(self, result: Any) -> Sequence[CallStream]:
        self.shown.append(result)
        return ()

    async def _probe(self, endpoint: Endpoint, ref: ChannelRef) -> EndState:
        self.probed += 1
        return self.probe_finds


async def everybody_ran() -> None:
    """Let every task that can run do so."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_an_unverified_stream_waits_for_the_success() -> None:
    stream = Script("--out x", unverified=True)
    stage = Stage(stream)

    async def meanwhile() -> None:
        stream.finish()
        await everybody_ran()
        assert stage.notices == []
        stage.answer()

    await stage.run(meanwhile)
    assert stage.notices == ["--out x: could not be verified"]


@pytest.mark.parametrize(("state", "status"), [(EndState.GONE, 5), (EndState.UNREACHABLE, 3)])
async def test_a_silent_stream_whose_channel_is_gone_fails(state: EndState, status: int) -> None:
    stage = Stage(Script(), linger=SOON)
    stage.probe_finds = state
    stage.answer()
    with pytest.raises(Failure) as caught:
        await stage.run()
    assert caught.value.exit_status == status


async def test_a_stream_in_use_goes_on_until_the_stall_limit_and_is_probed_once() -> None:
    stage = Stage(Script(), linger=SOON, stall=5 * SOON)
    stage.answer()
    with pytest.raises(TimedOut, match="after the result: --in x: the function stands still"):
        await stage.run()
    assert stage.probed == 1


async def test_our_own_silence_is_not_held_against_the_function() -> None:
    stream = Script(ours=True)
    stage = Stage(stream, linger=None, stall=SOON)

    async def meanwhile() -> None:
        stage.answer()
        await anyio.sleep(5 * SOON)
        stream.finish()

    assert await stage.run(meanwhile) == "result"


async def test_a_stall_limit_that_was_asked_for_counts_for_both_sides() -> None:
    stage = Stage(Script(ours=True), linger=None, stall=SOON, stall_asked=True)
    stage.answer()
    with pytest.raises(TimedOut, match="our side stands still"):
        await stage.run()


async def test_what_moves_is_not_probed() -> None:
    stream = Script()
    stage = Stage(stream, linger=4 * SOON)

    async def meanwhile() -> None:
        stage.answer()
        for _ in range(12):
            await anyio.sleep(SOON)
            stream.end.count += 1
        stream.finish()

    await stage.run(meanwhile)
    assert stage.probed == 0


async def test_a_swept_channel_is_told_at_once_and_fails_in_the_end() -> None:
    stream = Script("--out y")
    stage = Stage(stream)

    async def meanwhile() -> None:
        stream.finish(UnknownTarget("gone"))
        await everybody_ran()
        assert "expired while the call runs" in stage.notices[0]
        stage.answer()

    with pytest.raises(UnknownTarget, match="within 5 minutes"):
        await stage.run(meanwhile)
    assert stage.shown == ["result"]

"""Progress with a clock in the hand, on a real terminal, and beside failures."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from iii_cli.errors import LocalProblem, UsageProblem
from iii_cli.io.console import Stderr, Talk
from iii_cli.io.progress import Meter, Progress, ProgressMode, progress_mode

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20


class Desk:
    """A terminal, or a pipe, for stderr; a clock that stands still."""

    def __init__(self, *, terminal: bool) -> None:
        self.reading, self.writing = os.openpty() if terminal else os.pipe()
        os.set_blocking(self.reading, False)
        self.talk = Talk(Stderr(self.writing))
        self.now = 100.0

    def progress(self, mode: ProgressMode, *, color: bool | None = None, **options: Any) -> Progress:
        """Of one stream, whose meter is `self.meter`."""
        self.meter = Meter(**options)
        return Progress(mode, self.meter, color=color, talk=self.talk, clock=lambda: self.now)

    def after(self, seconds: float, progress: Progress) -> str:
        """What is shown when the clock has gone on."""
        self.now += seconds
        progress.tick()
        return self.said()

    def said(self) -> str:
        """All of it: a terminal hands on what was written when it comes to it, so the end is marked."""
        os.write(self.writing, b"\0")
        said = b""
        while not said.endswith(b"\0"):
            select.select([self.reading], [], [])
            said += os.read(self.reading, 1 << 16)
        return said[:-1].decode()

    def close(self) -> None:
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def pipe() -> Iterator[Desk]:
    desk = Desk(terminal=False)
    yield desk
    desk.close()


@pytest.fixture
def terminal() -> Iterator[Desk]:
    desk = Desk(terminal=True)
    yield desk
    desk.close()


def test_the_mode_follows_stderr(pipe: Desk, terminal: Desk) -> None:
    env = {"TERM": "xterm"}
    assert progress_mode("auto", talk=pipe.talk, env=env) is ProgressMode.OFF
    assert progress_mode("always", talk=pipe.talk, env=env) is ProgressMode.PLAIN
    assert progress_mode("auto", talk=terminal.talk, env=env) is ProgressMode.BAR
    assert progress_mode("auto", talk=terminal.talk, env=env, data_on_terminal=True) is ProgressMode.OFF
    assert progress_mode("always", talk=terminal.talk, env={"TERM": "dumb"}) is ProgressMode.PLAIN
    assert progress_mode("auto", talk=terminal.talk, env={}) is ProgressMode.OFF
    assert progress_mode("never", talk=terminal.talk, env=env) is ProgressMode.OFF
    assert progress_mode("json", talk=pipe.talk, env=env) is ProgressMode.JSON
    terminal.talk.configure(quiet=True)
    assert progress_mode("always", talk=terminal.talk, env=env) is ProgressMode.OFF
    assert progress_mode("json", talk=terminal.talk, env=env) is ProgressMode.JSON
    with pytest.raises(UsageProblem):
        progress_mode("sometimes")


def test_a_bar_after_one_second(terminal: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    progress = terminal.progress(ProgressMode.BAR, total=100 * MIB, color=False)
    terminal.meter.moved(10 * MIB)
    assert terminal.after(0.9, progress) == ""
    terminal.meter.moved(10 * MIB)
    shown = terminal.after(0.1, progress)
    assert shown.startswith("\r\x1b[K━━━━──")
    assert "20.0 MiB of 100 MiB  20.0 MiB/s   20%  ETA 0:04  0:01" in shown
    assert terminal.after(0.1, progress) == "", "five times a second is enough"
    terminal.meter.moved(80 * MIB)
    assert "100%" in terminal.after(0.2, progress)


def test_lines_in_a_log(pipe: Desk) -> None:
    progress = pipe.progress(ProgressMode.PLAIN)
    pipe.meter.moved(10 * MIB)
    assert pipe.after(1.0, progress) == "iii: 10.0 MiB, 10.0 MiB/s, 0:01, average 10.0 MiB/s\n"
    pipe.meter.moved(MIB)
    assert pipe.after(4.9, progress) == ""
    assert pipe.after(0.1, progress).count("\n") == 1


def test_a_count_that_exists_is_used(pipe: Desk) -> None:
    counted = 0
    progress = pipe.progress(ProgressMode.PLAIN, count=lambda: counted)
    counted = 2 * MIB
    assert pipe.after(1.0, progress).startswith("iii: 2.00 MiB,")


def test_the_present_rate_forgets_the_past(pipe: Desk) -> None:
    progress = pipe.progress(ProgressMode.JSON)
    for _ in range(10):
        pipe.meter.moved(100 * MIB)
        pipe.after(1.0, progress)
    for _ in range(10):
        pipe.meter.moved(MIB)
        said = pipe.after(1.0, progress)
    assert json.loads(said)["rate"] == MIB
    assert json.loads(said)["average"] == 1010 * MIB // 20


def test_when_nothing_moves_it_says_what_is_known(
    pipe: Desk, terminal: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    progress = pipe.progress(ProgressMode.PLAIN)
    pipe.meter.moved(5)
    pipe.after(1.0, progress)
    assert pipe.after(6.0, progress) == "iii: 5 B, nothing has moved for 6 s\n"
    asked: list[float] = []

    def known(seconds: float) -> str:
        asked.append(seconds)
        return "no reader yet, or a slow one"

    progress = terminal.progress(ProgressMode.BAR, total=10, waiting=known, color=False)
    assert terminal.after(2.9, progress).endswith(
        "───       0 B of 10 B       0 B/s    0%  0:02  average 0 B/s"
    )
    assert terminal.after(1.0, progress) == "\r\x1b[K0 B of 10 B  no reader yet, or a slow one"
    terminal.meter.moved(1)
    assert "no reader" not in terminal.after(1.0, progress)
    assert asked == [pytest.approx(3.9)]


def test_a_stalled_stderr_does_not_stall_us(pipe: Desk) -> None:
    progress = pipe.progress(ProgressMode.JSON)
    pipe.talk.stderr.write("x" * ((1 << 20) - 10) + "\n")
    for _ in range(100):
        pipe.now += 1
        progress.tick()


async def test_one_summary_line_at_the_end(pipe: Desk) -> None:
    async with pipe.progress(ProgressMode.PLAIN) as progress:
        pipe.meter.moved(3 * MIB)
        pipe.now += 2
        progress.conclude(digest="xxh3_128 5f", verified=True, words=("verified",))
    assert pipe.said() == "iii: 3.00 MiB (3,145,728 bytes) in 2.0 s, 1.50 MiB/s, verified\n"
    pipe.talk.configure(as_json=True)
    pipe.talk.done(0)
    facts = {"bytes": 3 * MIB, "digest": "xxh3_128 5f", "verified": True, "seconds": 2.0}
    assert json.loads(pipe.said()) == {"event": "done", "exit": 0, **facts}


async def test_off_says_nothing_and_knows_all_the_same(pipe: Desk) -> None:
    async with pipe.progress(ProgressMode.OFF) as progress:
        pipe.meter.moved(7)
        pipe.now += 10
        progress.tick()
    assert pipe.said() == ""
    assert pipe.talk.facts["bytes"] == 7


async def test_the_bar_moves_by_itself_and_goes_away(terminal: Desk) -> None:
    async with terminal.progress(ProgressMode.BAR, total=100):
        terminal.meter.moved(50)
        terminal.now += 1
        shown = ""
        with anyio.fail_after(5):
            while "50%" not in shown:
                await anyio.sleep(0.01)
                shown += terminal.said()
    assert terminal.said() == "\r\x1b[Kiii: 50 B in 1.0 s, 50 B/s\r\n"


async def test_an_error_of_the_body_comes_out_as_it_is(pipe: Desk) -> None:
    with pytest.raises(LocalProblem, match="disk full"):
        await _fail(pipe, LocalProblem("disk full"))
    assert pipe.said() == "iii: stopped after 2.00 MiB (2,097,152 bytes) in 2.0 s, 1.00 MiB/s\n"
    with pytest.raises(BrokenPipeError):
        await _fail(pipe, BrokenPipeError())
    assert pipe.said() == "", "`| head` ends quietly"


async def _fail(desk: Desk, error: Exception) -> None:
    async with desk.progress(ProgressMode.PLAIN):
        desk.meter.moved(2 * MIB)
        desk.now += 2
        raise error


async def test_cancellation_passes_through(pipe: Desk) -> None:
    reached = False
    with anyio.move_on_after(0.02) as scope:
        async with pipe.progress(ProgressMode.PLAIN):
            await anyio.sleep_forever()
        reached = True
    assert scope.cancelled_caught
    assert not reached
    with pytest.raises(TimeoutError):
        await _time_out(pipe)
    async with anyio.create_task_group() as group:
        group.start_soon(_show_for_ever, pipe)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    await anyio.lowlevel.checkpoint()


async def _time_out(desk: Desk) -> None:
    with anyio.fail_after(0.02):
        await _show_for_ever(desk)


async def _show_for_ever(desk: Desk) -> None:
    async with desk.progress(ProgressMode.OFF):
        await anyio.sleep_forever()


async def test_a_signal_prints_the_line_once_even_when_off(pipe: Desk) -> None:
    async with pipe.progress(ProgressMode.OFF):
        pipe.meter.moved(MIB)
        os.kill(os.getpid(), signal.SIGUSR1)
        said = ""
        with anyio.fail_after(5):
            while not said:
                await anyio.sleep(0.005)
                said = pipe.said()
    assert said == "iii: 1.00 MiB, 0 B/s, 0:00, average 0 B/s\n"


def test_rich_is_loaded_for_a_bar_only() -> None:
    script = (
        "import sys; from iii_cli.io.progress import Meter;"
        "from iii_cli.io.progress import Progress, ProgressMode;"
        "Progress(ProgressMode.PLAIN, Meter()).print_once();"
        "assert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], stderr=subprocess.DEVNULL, check=True)

"""How a pipeline ends when something in it does: named, in time, with no file and nothing left behind."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.pipes.foreign import Refuse, foreign_worker, read_frames, write_frames
from tests.support.marks import in_ci_but
from tests.support.processes import in_folder, sizes_in
from tests.support.program import Child, Program, refused, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STAGES = ("k::one", "k::two", "k::three")
SOURCES = {"fast": "sleep 1; cat /dev/zero", "slow": "sleep 1; while echo tick; do sleep 0.05; done"}
MOMENTS = {"before a byte": 0, "at the first": 1, "amid them": 50}  # bytes of output
WITHIN = 8.0  # seconds: what is lost is seen at once, and the calls get five to end


@contextmanager
def three_stages(iii: Program) -> Iterator[list[Child]]:
    """Three filters that copy, each in a process of its own."""
    with ExitStack() as stack:
        running = [stack.enter_context(iii.serving(name, "--", "cat")) for name in STAGES]
        yield running
        for process in running:
            process.terminate()


def wait_for_output(pipe: Child, folder: Path, count: int) -> None:
    """Until every stage runs, and the file that is to be has so many bytes."""
    deadline = time.monotonic() + 10
    while in_folder(folder).count("cat") < 3 or not any(size >= count for size in sizes_in(folder, pipe)):
        assert pipe.poll() is None, pipe.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ended(pipe: Child, began: float) -> tuple[int, str]:
    _, said = pipe.communicate(timeout=WITHIN + 10)
    assert time.monotonic() - began < WITHIN
    return pipe.returncode, said.decode()


def nothing_is_left(iii: Program, folder: Path, *names: str) -> None:
    """No file, and no COMMAND of a stage."""
    assert [name for name in names or ["out"] if (folder / name).exists()] == []
    deadline = time.monotonic() + 5
    while "cat" in in_folder(iii.home):
        assert time.monotonic() < deadline, in_folder(iii.home)
        time.sleep(0.02)


CASES = [(at, moment, source) for at in range(3) for moment in MOMENTS for source in SOURCES]


@pytest.mark.parametrize(("at", "moment", "source"), in_ci_but([(1, "at the first", "fast")], CASES))
def test_a_stage_that_is_killed(iii: Program, tmp_path: Path, at: int, moment: str, source: str) -> None:
    words = ("--in", f"cmd:{SOURCES[source]}", "-o", str(tmp_path / "out"))
    with three_stages(iii) as serving, iii.start("pipe", *STAGES, *words) as pipe:
        wait_for_output(pipe, tmp_path, MOMENTS[moment])
        began = time.monotonic()
        serving[at].kill()
        status, said = ended(pipe, began)
        lost = "invocation_stopped: Invocation stopped; the worker was lost during the call; it may have run"
        assert (status, said) == (9, f"iii: stage {at + 1}, {STAGES[at]}: {lost}\n")
        nothing_is_left(iii, tmp_path)


@pytest.mark.parametrize("source", in_ci_but(["fast"], SOURCES))
def test_ctrl_c(iii: Program, tmp_path: Path, source: str) -> None:
    words = ("--in", f"cmd:{SOURCES[source]}", "-o", str(tmp_path / "out"))
    with three_stages(iii), iii.start("pipe", *STAGES, *words) as pipe:
        wait_for_output(pipe, tmp_path, 1)
        began = time.monotonic()
        pipe.send_signal(signal.SIGINT)
        status, said = ended(pipe, began)
        assert status in (130, -signal.SIGINT)
        assert said == "iii: interrupted; ending (once more to stop at once)\n"
        nothing_is_left(iii, tmp_path)


@pytest.mark.parametrize("source", in_ci_but(["fast"], SOURCES))
def test_an_engine_that_is_killed(tmp_path: Path, source: str) -> None:
    words = ("--in", f"cmd:{SOURCES[source]}", "-o", str(tmp_path / "out"))
    with running_engine() as (url, engine):
        iii = Program(tmp_path, url)
        with three_stages(iii), iii.start("pipe", *STAGES, *words) as pipe:
            wait_for_output(pipe, tmp_path, 1)
            began = time.monotonic()
            engine.kill()
            status, said = ended(pipe, began)
            assert status == 3
            assert f"the engine at {url} was lost" in said  # by whichever of our connections saw it first
            assert said.count("\n") == 1
            nothing_is_left(iii, tmp_path)


@pytest.mark.ci
def test_our_own_ends_go_before_everything(iii: Program, tmp_path: Path) -> None:
    with three_stages(iii):
        refused(iii.run("pipe", *STAGES, "--in", "/dev/zero", "-o", "/dev/full"), 10, "/dev/full")
        out = ("-o", str(tmp_path / "out"))
        refused(
            iii.run("pipe", *STAGES, "--in", "cmd:head -c 9999999 /dev/zero; exit 4", *out), 11, "exited 4"
        )
        slow = f"cmd:{SOURCES['slow']}"
        refused(
            iii.run("pipe", *STAGES, "--in", slow, *out, "--timeout", "1s"), 124, "the pipeline took longer"
        )
        nothing_is_left(iii, tmp_path)


@pytest.mark.ci
def test_a_slow_sink_gets_everything(iii: Program) -> None:
    with three_stages(iii):
        done = iii.shell(
            f"head -c 40000000 /dev/zero | iii pipe {' '.join(STAGES)} | (sleep 1; md5sum)\n"
            "head -c 40000000 /dev/zero | md5sum"
        )
    ours, theirs = done.stdout.splitlines()
    assert (ours, done.stderr) == (theirs, b"")


# Stages of somebody else


def copy(url: str, data: Any) -> None:
    frames = read_frames(url, data["stdin"])
    write_frames(url, data["stdout"], [frame for frame in frames if isinstance(frame, bytes)])


@pytest.mark.ci
def test_a_stage_that_answers_early(iii: Program, tmp_path: Path) -> None:
    limits = {"III_TEST_LIMITS": "early=1"}
    out = ("-o", str(tmp_path / "out"))
    with foreign_worker(iii.url, **{"k::early": lambda data: None}), three_stages(iii):
        slow = ("--in", f"cmd:{SOURCES['slow']}")
        done = iii.run("pipe", "k::one", "k::early", "k::two", *slow, *out, env=limits)
        refused(done, 9, "stage 2 answered and no longer reads; stage 1 is still writing")
        done = iii.run("pipe", "k::early stdin=<", "--in", "cmd:echo; sleep 30", env=limits)
        refused(done, 9, "stage 1 answered and no longer reads; the input has not ended")
        done = iii.run("pipe", "k::one", "k::early", "k::two", *out, stdin=b"little", env=limits)
        refused(done, 6, "stage 2 answered and never opened its output")
        refused(iii.run("pipe", "k::one", "k::early", *out, stdin=b"little"), 6, "never opened it")
        assert iii.ok("pipe", "k::one", "k::early stdin=<", stdin=b"little") == ""
        nothing_is_left(iii, tmp_path)


@pytest.mark.ci
def test_a_stage_that_never_opens_its_ends(iii: Program, tmp_path: Path) -> None:
    over = threading.Event()
    with foreign_worker(iii.url, **{"k::never": lambda data: over.wait(30)}), three_stages(iii):
        words = ("--stall-timeout", "1s", "-o", str(tmp_path / "out"))
        began = time.monotonic()
        done = iii.run("pipe", "k::one", "k::never", "k::two", *words, stdin=b"x" * 40_000_000)
        over.set()
        assert time.monotonic() - began < WITHIN
        assert done.returncode == 124
        left, failed = done.stderr.decode().splitlines()
        assert left == "iii: left running, since nothing can stop it: stage 2, k::never"
        assert failed.startswith("iii: nothing moved for 1 s (--stall-timeout): ")
        assert failed.endswith("never opened: the reader of stage 2, the writer of stage 2")
        nothing_is_left(iii, tmp_path)


@pytest.mark.ci
def test_a_stage_that_opens_its_ends_late(iii: Program) -> None:
    def late(data: Any) -> None:
        time.sleep(2)
        copy(iii.url, data)

    with foreign_worker(iii.url, **{"k::late": late}), three_stages(iii):
        done = iii.run("pipe", "k::one", "k::late", "k::two", stdin=b"x" * 5_000_000)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"x" * 5_000_000, b"")


@pytest.mark.ci
def test_a_cut_that_a_stage_takes_for_the_end_is_told_by_the_one_before(iii: Program, tmp_path: Path) -> None:
    with (
        foreign_worker(iii.url, **{"k::sdk": lambda data: copy(iii.url, data)}),
        three_stages(iii) as serving,
    ):
        words = ("--in", f"cmd:{SOURCES['slow']}", "-o", str(tmp_path / "out"))
        with iii.start("pipe", "k::one", "k::sdk", "k::three", *words) as pipe:
            time.sleep(2)  # for some bytes to come so far: nothing of them shows before the end
            serving[0].kill()
            status, said = ended(pipe, time.monotonic())
        assert status == 9
        assert "stage 1, k::one: invocation_stopped" in said
        nothing_is_left(iii, tmp_path)


@pytest.mark.ci
def test_a_stage_opens_its_ends_while_it_waits_for_its_turn(iii: Program) -> None:
    """Else the engine sweeps them away: the call before may take longer than five minutes."""
    with iii.serving("k::turn", "--max-parallel", "1", "--", "cat"), three_stages(iii):
        with iii.start("pipe", "k::turn", "--in", f"cmd:{SOURCES['slow']}", "--timeout", "4s") as first:
            assert first.stdout is not None
            first.stdout.read(5)
            waiting = iii.run("pipe", "k::one", "k::turn", "k::two", "--stall-timeout", "1s", stdin=b"x")
            first.communicate()
    assert waiting.returncode == 124
    assert b"never opened" not in waiting.stderr


@pytest.mark.ci
def test_a_consequence_that_comes_before_its_cause(iii: Program, tmp_path: Path) -> None:
    def cut(data: Any) -> None:
        raise Refuse("stream_truncated")

    with (
        foreign_worker(iii.url, **{"k::cut": cut}),
        iii.serving("k::soon", "--", "sh", "-c", "sleep 0.4; exit 3"),
        iii.serving("k::late", "--", "sh", "-c", "sleep 3; exit 3"),
    ):
        words = ("-o", str(tmp_path / "out"))
        done = iii.run("pipe", "k::soon", "k::cut", *words, stdin=b"x")
        refused(done, 1, "stage 1, k::soon: command_failed")
        done = iii.run("pipe", "k::late", "k::cut", *words, stdin=b"x")
        refused(done, 1, "stage 2, k::cut: stream_truncated")
        assert not (tmp_path / "out").exists()


def test_an_end_that_was_swept_away_is_explained(iii: Program) -> None:
    def late(data: Any) -> None:
        raise Refuse("nothing_arrived")

    with foreign_worker(iii.url, **{"k::late": late}):
        done = iii.run("pipe", "k::late", stdin=b"x", env={"III_TEST_LIMITS": "swept=0,cause=0.1"})
        refused(done, 1, "nothing_arrived: no; an end that is not opened within 5 minutes is swept away")
        assert b"swept" not in iii.run("pipe", "k::late", stdin=b"x").stderr

"""A trigger whose engine, function, source or target dies in the middle leaves no file and the right code."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import sizes_in
from tests.support.program import Program, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.ci
Processes = tuple[Program, subprocess.Popen[bytes], subprocess.Popen[bytes]]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Processes]:
    """Our program, its engine, and a filter that it serves."""
    with running_engine() as (url, engine):
        iii = Program(tmp_path, url)
        with iii.start("serve", "text::cat", "--", "cat", stdout=None, stderr=subprocess.DEVNULL) as serving:
            iii.ok("functions", "wait", "text::cat")
            yield iii, engine, serving
            serving.kill()


def wait_for_data(path: Path, running: subprocess.Popen[bytes]) -> None:
    """Until what it writes in that folder has grown, or the command has ended."""
    while running.poll() is None and not any(sizes_in(path.parent, running)):
        time.sleep(0.01)


def left_behind(path: Path) -> list[str]:
    return [found.name for found in path.parent.glob(f"*{path.name}*")]


@pytest.mark.parametrize(
    ("victim", "status", "words"),
    [("engine", 3, b"was lost"), ("function", 9, b"invocation_stopped")],
)
def test_a_dead_peer(stage: Processes, tmp_path: Path, victim: str, status: int, words: bytes) -> None:
    iii, engine, serving = stage
    out = tmp_path / "out.bin"
    running = iii.start("trigger", "text::cat", "--in", "/dev/zero", "--out", str(out))
    wait_for_data(out, running)
    (engine if victim == "engine" else serving).kill()
    _, err = running.communicate(timeout=15)
    assert (running.returncode, left_behind(out)) == (status, []), err
    assert words in err


@pytest.mark.parametrize(
    ("typed", "status", "words"),
    [
        (("--in", "cmd:head -c 5000000 /dev/zero; exit 3", "--out", "out"), 11, b"iii: head exited 3\n"),
        (("--in", "cmd:kill -9 $$", "--out", "out"), 11, b"iii: kill was killed by SIGKILL\n"),
        (("--in", "cmd:PASSWORD=x /bin/false u", "--out", "out"), 11, b"iii: false exited 1\n"),
        (("--in", "cmd:exit 3", "--out", "out", "--exit-code"), 3, b"iii: exit exited 3\n"),
        (("--in", "/dev/zero", "--out", "/dev/full"), 10, b"iii: cannot write to /dev/full: No space"),
        (("--in", "/dev/zero", "--out", "cmd:head -c 9; exit 4"), 11, b"iii: head exited 4\n"),
    ],
)
def test_our_own_side_fails(
    stage: Processes, tmp_path: Path, typed: tuple[str, ...], status: int, words: bytes
) -> None:
    iii, _, _ = stage
    out = tmp_path / "out"
    done = iii.run("trigger", "text::cat", *(str(out) if word == "out" else word for word in typed))
    assert (done.returncode, left_behind(out)) == (status, [])
    assert words in done.stderr


def test_a_reader_of_our_stdout_leaves(stage: Processes) -> None:
    iii, _, _ = stage
    script = "iii trigger text::cat --in /dev/zero --out - | head -c 10 | wc -c; echo ${PIPESTATUS[0]}"
    done = iii.shell(script)
    assert (done.stdout.split(), done.stderr) == ([b"10", b"141"], b"")


def test_ctrl_c_lets_the_function_hear_of_it(stage: Processes, tmp_path: Path) -> None:
    """The command of the filter is killed, not fed a plain end: it never gets to say that it is done."""
    iii, _, _ = stage
    trace = tmp_path / "trace"
    script = f"touch {tmp_path}/begun; cat > /dev/null; echo done > {trace}"
    words = ("serve", "text::sink", "--stdout", "result", "--", "sh", "-c", script)
    with iii.start(*words, stderr=subprocess.DEVNULL) as serving:
        iii.ok("functions", "wait", "text::sink")
        running = iii.start(
            "trigger", "text::sink", "--in", "cmd:cat /dev/zero", stdout=None, stderr=subprocess.DEVNULL
        )
        while running.poll() is None and not (tmp_path / "begun").exists():
            time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        assert running.wait(15) == 130
        serving.terminate()
    assert not trace.exists()

"""`iii engine run` and `iii engine exec` as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.marks import in_ci
from tests.support.program import Program, refused, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Process = subprocess.Popen[str]

III = [sys.executable, "-m", "iii_cli"]


@pytest.fixture
def start() -> Iterator[Any]:
    """Starts `iii …`, and ends what is left of it."""
    started: list[Process] = []

    def start(*arguments: str, **environment: str) -> Process:
        process = subprocess.Popen(
            [*III, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_run_prints_where_it_is_and_stops_cleanly(start: Any) -> None:
    process = start("engine", "run", "--port", "0", "--print-url", "--log", "json")
    url = process.stdout.readline().strip()
    assert url.startswith("ws://localhost:")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "")
    events = [json.loads(line)["event"] for line in err.splitlines() if line.startswith("{")]
    assert events == ["listening", "stopped"]


def test_exec_gives_its_command_an_engine_and_nothing_of_another_one(start: Any) -> None:
    script = "echo $III_URL ${III_TOKEN-no} ${III_NAMESPACE-no} ${III_CONTEXT-no}; exit 7"
    process = start(
        "engine", "exec", "--", "sh", "-c", script, III_TOKEN="t", III_NAMESPACE="n", III_CONTEXT="c"
    )
    out, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (7, "")
    url, *others = out.split()
    assert url.startswith("ws://localhost:")
    assert others == ["no", "no", "no"]


def test_exec_forwards_signals_and_leaves_nothing_running(start: Any) -> None:
    script = "trap 'exit 3' TERM; sleep 60 & echo $!; wait"
    process = start("engine", "exec", "--", "sh", "-c", script)
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)  # until nobody holds its stdout any more, the background job included
    assert process.returncode == 3


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["exec", "--", "sh", "-c", "kill -9 $$"], 137),
        (["exec", "--", "no-such-command-here"], 127),
        (["exec", "--", "/"], 126),
        (["exec", "--"], 2),
        (["exec"], 2),
        (["run", "--log", "nope"], 2),
        (["run", "--port", "70000"], 2),
        (["run", "--max-channels", "0"], 2),
        (["run", "--max-buffer-bytes", "much"], 2),
        (["run", "--shutdown-timeout", "soon", "--port", "0"], 2),
        (["run", "--host", "no.such.host.invalid"], 10),
    ],
)
@pytest.mark.ci
def test_how_it_ends_otherwise(start: Any, arguments: list[str], code: int) -> None:
    process = start("engine", *arguments)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out) == (code, "")
    assert err.count("\n") == (0 if code == 137 else 1), err


@pytest.mark.parametrize(("patience", "ends"), [("20s", (0, 0)), *in_ci(("100ms", (3, 3)))])
def test_it_lets_streams_end_for_as_long_as_it_may(
    tmp_path: Path, patience: str, ends: tuple[int, int]
) -> None:
    """Workers it drops at once, and nobody new comes in."""
    with running_engine("--shutdown-timeout", patience) as (url, engine):
        iii = Program(tmp_path, url)
        iii.refs("x")
        with (
            iii.start("channel", "write", "env:x_w", stdin=subprocess.PIPE) as writing,
            iii.start("channel", "read", "env:x_r") as reading,
            iii.start("serve", "f", "--", "cat") as serving,
        ):
            assert writing.stdin is not None
            assert reading.stdout is not None
            assert serving.stderr is not None
            assert serving.stderr.readline() == b"iii: serving f\n"
            writing.stdin.write(b"first\n")
            writing.stdin.flush()
            assert reading.stdout.readline() == b"first\n"
            engine.terminate()
            assert b"was lost" in serving.stderr.readline()
            serving.terminate()
            if ends == (0, 0):
                refused(iii.run("functions", "ls"), 3)
                writing.stdin.write(b"the last words")
            else:
                engine.wait(10)
            writing.stdin.close()
            assert (writing.wait(20), reading.wait(20)) == ends
            assert reading.stdout.read() == (b"the last words" if ends == (0, 0) else b"")
        assert engine.wait(10) == 0


def test_a_port_that_is_taken_is_said_with_a_way_out(tmp_path: Path) -> None:
    with running_engine() as (url, _):
        refused(Program(tmp_path).run("engine", "run", "--port", url.rpartition(":")[2]), 10, "--port 0")

"""Somebody sets the clock, by years, while everything runs: nothing ends early, late, or wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.program import III, Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

YEARS = 10 * 366 * 86_400
JUMPING = '''
"""Python loads this first: the time of day is off by what a file says, read each time."""
import os, time
_time, _time_ns, _path = time.time, time.time_ns, os.environ["OFFSET_FILE"]
def _offset():
    with open(_path) as file:
        return int(file.read())
time.time = lambda: _time() + _offset()
time.time_ns = lambda: _time_ns() + _offset() * 1_000_000_000
'''


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    (tmp_path / "sitecustomize.py").write_text(JUMPING)
    (tmp_path / "offset").write_text("0")
    return tmp_path / "offset"


@pytest.fixture
def jumping(tmp_path: Path, clock: Path) -> Iterator[Program]:
    """`iii` and an engine, all of whose wall clocks are set by `clock`."""
    iii = Program(tmp_path)
    iii.env |= {"PYTHONPATH": str(tmp_path), "OFFSET_FILE": str(clock)}
    with running(iii):
        yield iii


@contextmanager
def running(iii: Program) -> Iterator[None]:
    engine = iii.start("engine", "run", "--port", "0", "--print-url", "--log", "off", stderr=None)
    assert engine.stdout is not None
    try:
        iii.env["III_URL"] = engine.stdout.readline().decode().strip()
        yield
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(10) == 0
    finally:
        engine.kill()
        engine.communicate()


@pytest.mark.ci
@pytest.mark.parametrize("offset", [YEARS, -YEARS], ids=["forwards", "backwards"])
def test_a_stream_does_not_notice(jumping: Program, clock: Path, offset: int) -> None:
    """Neither time limit is hit, and the span of the served call has its real length."""
    iii = jumping
    serving = iii.start("serve", "slow", "--timeout", "30s", "--", "cat", stderr=subprocess.DEVNULL)
    iii.ok("functions", "wait", "slow", "--timeout", "20s")
    traced = iii.env | {"TRACEPARENT": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    limits = ("--timeout", "30s", "--stall-timeout", "30s")
    calling = subprocess.Popen(
        [III, "trigger", "slow", "--in", "stdin=-", "--out", "stdout=-", *limits],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=traced,
    )
    assert calling.stdin is not None
    assert calling.stdout is not None
    calling.stdin.write(b"before\n" * 30_000)
    calling.stdin.flush()
    before = os.read(calling.stdout.fileno(), 7)
    clock.write_text(str(offset))
    out, err = calling.communicate(b"after\n", timeout=20)
    assert (calling.returncode, before + out) == (0, b"before\n" * 30_000 + b"after\n"), err
    spans = json.loads(iii.ok("trigger", "engine::traces::list"))["spans"]
    lengths = [span["end_time_unix_nano"] - span["start_time_unix_nano"] for span in spans]
    assert lengths
    assert all(0 <= length < 20e9 for length in lengths), lengths
    serving.terminate()
    serving.communicate(timeout=20)
    assert serving.returncode == 0


@pytest.mark.ci
def test_a_time_limit_is_hit_all_the_same(jumping: Program, clock: Path) -> None:
    writer, reader = jumping.channel()
    reading = jumping.start("channel", "read", reader, "--timeout", "1s")
    clock.write_text(str(-YEARS))
    assert reading.wait(15) == 124
    reading.communicate()
    jumping.run("channel", "write", writer)


@pytest.mark.ci
def test_a_saved_ref_after_the_clock_was_set(jumping: Program, clock: Path) -> None:
    """Back: it is as new. Forwards: it looks expired, one line says so, and the channel is untouched."""
    iii = jumping
    iii.ok("channel", "create", "--save", "x")
    token = iii.ok("ref", "show", "x", "--end", "reader").strip()
    clock.write_text(str(YEARS))
    done = iii.run("channel", "read", "@x")
    assert (done.returncode, b"expired" in done.stderr, done.stderr.count(b"\n")) == (5, True, 1)
    clock.write_text(str(-YEARS))
    assert "unused" in iii.ok("ref", "ls")
    reading = iii.start("channel", "read", token)
    iii.ok("channel", "write", "@x", stdin=b"there")
    assert reading.communicate(timeout=20)[0] == b"there"

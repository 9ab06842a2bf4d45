"""SIGSTOP and SIGCONT in the middle of a call with streams: nobody takes the pause for an end."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program

DATA = hashlib.shake_256(b"suspended").digest(24 << 20)
PAUSE = 1.5  # seconds: beyond what buffers bridge


@pytest.mark.ci
@pytest.mark.parametrize("who", ["serve", "trigger"])
def test_a_suspended_side_of_a_call(iii: Program, tmp_path: Path, who: str) -> None:
    (tmp_path / "in").write_bytes(DATA)
    name = f"paused::{who}"
    serving = iii.start("serve", name, "--", "cat", stderr=subprocess.DEVNULL)
    iii.ok("functions", "wait", name, "--timeout", "20s")
    calling = iii.start("trigger", name, "--in", f"stdin={tmp_path / 'in'}", "--out", "stdout=-")
    assert calling.stdout is not None
    got = os.read(calling.stdout.fileno(), 1 << 20)
    process = serving if who == "serve" else calling
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
    time.sleep(PAUSE)
    process.send_signal(signal.SIGCONT)
    out, err = calling.communicate(timeout=25)
    assert (calling.returncode, got + out == DATA) == (0, True), err
    serving.terminate()
    serving.communicate(timeout=20)
    assert serving.returncode == 0

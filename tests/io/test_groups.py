"""A group of zombies is empty."""

from __future__ import annotations

import os
import subprocess

from iii_cli.io.process import group_runs


def test_running_zombie_and_gone() -> None:
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, process_group=0)
    assert group_runs(process.pid)
    assert process.stdin is not None
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not group_runs(process.pid), "it has ended, though nobody has buried it"
    process.wait()
    assert not group_runs(process.pid)

"""What the first process of a container owes to orphans."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anyio
import pytest

from iii_cli.io.process import DEVNULL, prepare_command, reap_orphans, spawn

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def leave_a_dead_child() -> int:
    """A child that nobody started with `spawn` and nobody waits for, as an adopted orphan is."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


async def test_orphans_are_reaped_and_our_own_are_left_alone() -> None:
    prepare_command(["sh"])
    async with spawn(["sh", "-c", "exit 3"], stdin=DEVNULL) as child:
        first = leave_a_dead_child()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reap_orphans)
            for orphan in (first, leave_a_dead_child()):
                with anyio.fail_after(5):
                    while Path(f"/proc/{orphan}").exists():
                        await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        assert await child.wait() == 3

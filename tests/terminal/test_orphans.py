"""What the first process of a container owes to orphans."""

from __future__ import annotations

import os
import sys

import anyio
import pytest

from iii_cli.terminal.children import DEVNULL, spawn
from iii_cli.terminal.orphans import bury_orphans, orphans

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def leave_a_dead_child() -> int:
    """A child that nobody started with `spawn` and nobody waits for, as an adopted orphan is."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


async def test_orphans_are_buried_and_our_own_are_left_alone() -> None:
    async with spawn(["sh", "-c", "exit 3"], stdin=DEVNULL) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        orphan = leave_a_dead_child()
        assert orphan in orphans()
        assert child.pid not in orphans()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bury_orphans)
            with anyio.fail_after(5):
                while orphan in orphans():
                    await anyio.sleep(0.001)
                later = leave_a_dead_child()
                while later in orphans():
                    await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        assert await child.wait() == 3

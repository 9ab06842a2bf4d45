"""The duty of a container's first process: reap the zombies that are left to it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import anyio

from iii_cli.terminal.children import is_child

__all__ = ("bury_orphans", "is_first_process", "reap_orphans")


def is_first_process() -> bool:
    """Is there nobody else who would do it?"""
    return os.getpid() == 1


async def bury_orphans() -> None:
    """Take the exit status of every dead process that was left to us, until cancelled."""
    with anyio.open_signal_receiver(signal.SIGCHLD) as signals:
        while True:
            reap_orphans()
            await anext(signals)


def reap_orphans() -> None:
    """Reap each dead child that nobody here started, by its number and after a look at whose it is."""
    with suppress(ChildProcessError):
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if is_child(dead.si_pid):
                return
            os.waitpid(dead.si_pid, os.WNOHANG)

"""The duty of a container's first process: orphans become its children, and wait to be buried."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import anyio

from iii_cli.terminal.children import is_child

__all__ = ("bury_orphans", "is_first_process", "orphans")


def is_first_process() -> bool:
    """Is there nobody else who would do it?"""
    return os.getpid() == 1


async def bury_orphans() -> None:
    """Take the exit status of every dead process that was left to us, until cancelled.

    Those that were started here are left alone: their exit codes mean something to somebody.
    """
    with anyio.open_signal_receiver(signal.SIGCHLD) as signals:
        while True:
            for pid in orphans():
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - does not wait
            await anext(signals)


def orphans() -> list[int]:
    """Dead children of ours that nobody here started. Empty where there is no /proc."""
    try:
        processes = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    return [pid for pid in processes if not is_child(pid) and _is_dead_child(pid)]


def _is_dead_child(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            state, parent = file.read().rpartition(b")")[2].split()[:2]  # proc(5): after the name
    except (OSError, ValueError):
        return False
    return state == b"Z" and int(parent) == os.getpid()

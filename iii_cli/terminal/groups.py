"""Who is left in a process group."""

from __future__ import annotations

import os

__all__ = ("group_runs",)


def group_runs(group: int) -> bool:
    """Does a process of `group` still run?

    Zombies do not: in a container whose first process buries nobody they stay for ever. Without /proc they
    cannot be told apart, and count.
    """
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        processes = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return True
    return not processes or any(_runs_in(group, name) for name in processes)


def _runs_in(group: int, process: str) -> bool:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            state, _, its_group = file.read().rpartition(b")")[2].split()[:3]  # proc(5): after the name
    except (OSError, ValueError):
        return False
    return int(its_group) == group and state not in {b"Z", b"X"}

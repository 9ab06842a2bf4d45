"""What processes have open, hold, and leave behind: read from /proc."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

__all__ = ("children_of", "group_runs", "in_folder", "memory_of", "sizes_in")


def sizes_in(folder: Path, process: subprocess.Popen[bytes]) -> list[int]:
    """Of the files in `folder` that a process has open. Those that have no name yet are found here only."""
    found = []
    for fd in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            if os.readlink(fd).startswith(f"{folder}/"):
                found.append(fd.stat().st_size)
        except OSError:
            continue
    return found


def children_of(pid: int) -> list[int]:
    """Its living children."""
    return [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]


def in_folder(folder: Path) -> list[str]:
    """The names of the processes whose working directory that is."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if os.readlink(f"/proc/{name}/cwd") == str(folder):
                found.append(Path(f"/proc/{name}/comm").read_text().strip())
        except OSError:
            continue
    return found


def memory_of(pid: int, what: str = "VmRSS") -> int:
    """The process's resident memory in bytes, now or at most (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"no {what}")


def group_runs(group: int) -> bool:
    """Does a process of that group still run? Zombies do not: not every container buries them."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    processes = list(Path("/proc").glob("[0-9]*"))
    return not processes or any(_runs_in(group, path) for path in processes)


def _runs_in(group: int, process: Path) -> bool:
    try:
        state, _, its_group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
    except (OSError, ValueError):
        return False
    return int(its_group) == group and state not in ("Z", "X")

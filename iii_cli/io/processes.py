"""Processes of this machine, ours or not: what /proc says of them, how they ended, and who reaps them."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ("Stat", "ending_text", "numbers", "reap_others", "shell_code", "stat_of")

NUMBERS = (1, 2, 3, 19, 49)  # the fields of /proc/PID/stat that Stat has, counted from behind the name


class Stat(NamedTuple):
    """What /proc/PID/stat says of a process (proc(5))."""

    name: str  # its own choice: any text
    state: str  # Z and X: it is dead
    parent: int
    group: int
    session: int
    started: int  # in clock ticks since the system's: with its number, who it is
    status: int  # of a zombie, as waitpid() has it; 0 for those who may not know


def numbers() -> list[int]:
    """Every process. Empty where there is no /proc."""
    with suppress(OSError):
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return []


def stat_of(pid: int) -> Stat:
    """Raises OSError where there is no such process, or no /proc."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        head, _, rest = file.read().rpartition(b")")  # the name may hold anything
    fields = rest.split()
    name = head.partition(b"(")[2].decode(errors="replace")
    return Stat(name, fields[0].decode(), *(int(fields[at]) for at in NUMBERS))


def reap_others(ours: Collection[int]) -> None:
    """Reap dead children that nobody here started: up to the first of `ours`, which others wait for."""
    if not hasattr(os, "waitid"):
        return
    with suppress(ChildProcessError):
        while (dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if dead.si_pid in ours:
                return
            os.waitpid(dead.si_pid, os.WNOHANG)


def shell_code(code: int) -> int:
    """An exit code as Popen has it, below 0 for a signal, as a shell has it: 128+n."""
    return code if code >= 0 else 128 - code


def ending_text(code: int) -> str:
    """`exited 3`, `was killed by SIGTERM`: an exit code as Popen has it."""
    if code >= 0:
        return f"exited {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"

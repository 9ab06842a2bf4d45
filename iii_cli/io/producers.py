"""How the programs before a plain pipe ended (docs: `iii help seals`).

The end of a pipe says nothing about why its writers ended: `cat big | iii channel write @x` looks the same
when `cat` was killed. Where the kernel can tell, it is asked: at the start every process that holds the write
end of the pipe is found and kept by a pidfd, at its end each is asked how it ended.

* A holder that lives has closed the pipe on purpose.
* A holder whose parent is a holder too does not count: a shell answers for its children. But death by a
  signal counts, unless that parent ended with 0.
* Programs that began after the look, or ended before it, and those of other users, are not seen.
"""

from __future__ import annotations

import os
import select
import struct
import time
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, final

import anyio

from iii_cli.errors import ProducerFailed
from iii_cli.io.descriptors import Kind, is_ready, kind_of
from iii_cli.io.processes import ending_text, numbers, shell_code, stat_of
from iii_cli.protocol.seal import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from iii_cli.io.sources import Source

__all__ = ("Holder", "ProducerPolicy", "Producers", "counted")


LOOK_SECONDS = 0.1  # for all of /proc; the programs of our pipeline are looked at first
ASK_SECONDS = (
    0.25  # after the end of the pipe: for a parent to reap, and for a signal that is meant for us too
)
GRACE_SECONDS = (
    0.02  # where nothing is seen: a signal to a whole pipeline ends its programs one after the other
)

PIDFD_GET_INFO, INFO_EXIT = 0xC040FF0B, 8  # linux/pidfd.h: struct pidfd_info, which tells the exit since 6.15
INFO_BYTES = 64
NOT_FOUND_CODES = (126, 127, 255)  # a shell's word for "could not be run"; ssh's and xargs's for "died"


class ProducerPolicy(StrEnum):
    """What the end of a producer means."""

    WARN = "warn"  # death by a signal aborts, another failure is a line
    STRICT = "strict"  # every failure aborts, and so does an end that nobody can tell
    IGNORE = "ignore"  # nobody looks


class Holder(NamedTuple):
    """A process that had the write end of the pipe, and its parent as it was then."""

    pid: int
    started: int  # in clock ticks since the system's: with the number, who it is
    parent: int
    name: str


class _Unknown:
    """It has ended, and nobody says how."""


UNKNOWN = _Unknown()


@final
class Producers:
    """Everybody who could write into the pipes among `sources`, as of now. `close` lets them go."""

    def __init__(self, sources: Iterable[Source], policy: ProducerPolicy) -> None:
        pipes = [source.fd for source in sources if source.has_producer]
        self._policy = policy
        self._watched = bool(pipes) and policy is not ProducerPolicy.IGNORE
        self._grace = bool(pipes)
        self._pidfds: dict[Holder, int] = {}
        self._blind = False
        for fd in pipes if self._watched else ():
            found = dict(_holders_of(fd)) if kind_of(fd) is Kind.PIPE else {}
            self._blind = self._blind or not found
            self._pidfds |= found

    async def conclude(self, note: Callable[[str, int], None]) -> None:
        """After the end of the pipes: raise ProducerFailed where that was no good end.

        `note` hears of the program and the code of a failure that does not count. Takes at most 250 ms;
        cancelled, nothing is lost.
        """
        if not self._watched:
            if self._grace:
                await anyio.sleep(GRACE_SECONDS)
            return
        until = time.monotonic() + ASK_SECONDS
        ends = counted(await self._endings(until))
        failed = [(holder, status) for holder, status in ends if isinstance(status, int) and status]
        if failed:
            await anyio.sleep(max(until - time.monotonic(), 0))  # were we meant too? Then we are interrupted
        strict = self._policy is ProducerPolicy.STRICT
        for holder, status in failed:
            if strict or _is_grave(status):
                raise ProducerFailed(f"{holder.name} {ending_text(status)}", code=shell_code(status))
        if strict and (self._blind or any(status is UNKNOWN for _, status in ends)):
            raise ProducerFailed("cannot tell how the producer ended", code=1, hint=STRICT_HINT)
        if self._blind and not failed:
            await anyio.sleep(GRACE_SECONDS)
        for holder, status in failed:
            note(holder.name, shell_code(status))

    def close(self) -> None:
        """Safe to repeat."""
        while self._pidfds:
            os.close(self._pidfds.popitem()[1])

    async def _endings(self, until: float) -> dict[Holder, int | _Unknown | None]:
        """The exit status of each holder; None: it lives; UNKNOWN: nobody says."""
        endings: dict[Holder, int | _Unknown | None] = dict.fromkeys(self._pidfds)
        pause = 0.001
        while True:
            for holder, pidfd in self._pidfds.items():
                if not isinstance(endings[holder], int):
                    endings[holder] = _ending(holder, pidfd)
            left = until - time.monotonic()
            if left <= 0 or all(isinstance(ending, int) for ending in endings.values()):
                return endings
            await anyio.sleep(min(pause, left))
            pause = min(2 * pause, 0.02)


STRICT_HINT = "`iii channel write REF -- COMMAND` always can; `--producer warn` does not ask"


def counted(
    endings: Mapping[Holder, int | _Unknown | None],
) -> list[tuple[Holder, int | _Unknown]]:
    """The endings that say something about the data, 0 among them. Pure."""
    by_pid = {holder.pid: ending for holder, ending in endings.items()}
    ends: list[tuple[Holder, int | _Unknown]] = []
    for holder, ending in endings.items():
        if ending is None:
            continue
        if holder.parent in by_pid:
            killed = isinstance(ending, int) and ending < 0
            if not killed or by_pid[holder.parent] == 0:
                continue
        ends.append((holder, ending))
    return ends


def _is_grave(status: int) -> bool:
    return status < 0 or status > 128 or status in NOT_FOUND_CODES


def _holders_of(fd: int) -> Iterator[tuple[Holder, int]]:
    """Who holds the write end of the pipe at `fd`, each with a pidfd. Nobody where the system cannot tell."""
    if not hasattr(os, "pidfd_open"):
        return
    until = time.monotonic() + LOOK_SECONDS
    ours = os.getpid()
    try:
        pipe = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return
    for pid in sorted(numbers(), key=lambda pid: abs(pid - ours)):
        if time.monotonic() > until:
            return
        if pid != ours and (number := _write_end(pid, pipe)) is not None:
            with suppress(OSError):
                pidfd = os.pidfd_open(pid)
                stat = stat_of(pid)
                # The number may have changed hands since: look again, now that it cannot any more.
                if _is_at(pid, number, pipe):
                    yield Holder(pid, stat.started, stat.parent, printable(stat.name)), pidfd
                else:
                    os.close(pidfd)


def _write_end(pid: int, pipe: str) -> str | None:
    """The descriptor of `pid` that is the write end of `pipe`."""
    with suppress(OSError):
        for number in os.listdir(f"/proc/{pid}/fd"):
            if _is_at(pid, number, pipe):
                return number
    return None


def _is_at(pid: int, number: str, pipe: str) -> bool:
    try:
        if os.readlink(f"/proc/{pid}/fd/{number}") != pipe:
            return False
        with open(f"/proc/{pid}/fdinfo/{number}", "rb") as file:
            fields = dict(line.split(b":", 1) for line in file.read().splitlines() if b":" in line)
    except OSError:
        return False
    return int(fields[b"flags"], 8) & os.O_ACCMODE != os.O_RDONLY


def _ending(holder: Holder, pidfd: int) -> int | _Unknown | None:
    """How it ended, as `Popen.returncode`; None while it lives."""
    if not is_ready(pidfd, select.POLLIN):
        return None
    status = _status_of_reaped(pidfd)
    if status is None:
        status = _status_of_zombie(holder)
    return UNKNOWN if status is None else os.waitstatus_to_exitcode(status)


def _status_of_reaped(pidfd: int) -> int | None:
    import fcntl

    info = bytearray(INFO_BYTES)
    struct.pack_into("=Q", info, 0, INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
    except OSError:
        return None
    mask, status = struct.unpack_from("=Q52xi", info)
    return int(status) if mask & INFO_EXIT else None


def _status_of_zombie(holder: Holder) -> int | None:
    """What /proc tells until its parent has reaped it; it says 0 to those who may not know."""
    try:
        owner = os.stat(f"/proc/{holder.pid}").st_uid
        stat = stat_of(holder.pid)
    except OSError:
        return None
    same = stat.state == "Z" and stat.started == holder.started
    return stat.status if same and os.geteuid() in (0, owner) else None

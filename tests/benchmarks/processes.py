"""Processes, what each of them used, and the engine between them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from signal import SIGKILL
from threading import Timer
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ("LIMIT_SECONDS", "Engine", "Use", "engine", "reap", "start", "wait_connected")

ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("III_")
}
EMBEDDED = [
    sys.executable,
    "-m",
    "iii_cli",
    "-q",
    "engine",
    "run",
    "--port",
    "0",
    "--print-url",
    "--log",
    "off",
]
LIMIT_SECONDS = 240.0  # no part of a measurement takes that long
ESTABLISHED = "01"
CONNECT_SECONDS = 60.0  # a hundred pairs do not take that long to start


_started: list[subprocess.Popen[bytes]] = []


class Use(NamedTuple):
    """What one process used, from its start to its end."""

    status: int
    cpu: float  # seconds, user and system
    peak: int  # bytes of memory


def start(
    words: Sequence[str], stdin: int | None = None, stdout: int | None = None, **environ: str
) -> subprocess.Popen[bytes]:
    """Start a process. `None` is /dev/null; what it says on stderr is shown."""
    process = subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.DEVNULL if stdout is None else stdout,
        env=ENVIRONMENT | environ,
    )
    _started.append(process)
    return process


def reap(process: subprocess.Popen[bytes]) -> Use:
    """Wait for its end. One that does not come to it is killed."""
    watchdog = Timer(LIMIT_SECONDS, os.kill, (process.pid, SIGKILL))
    watchdog.daemon = True
    watchdog.start()
    _, status, used = os.wait4(process.pid, 0)
    watchdog.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Use(process.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss << 10)


class Engine(NamedTuple):
    """The engine that everything goes through. `pid` is known of one that was started here."""

    url: str
    pid: int | None

    def cpu(self) -> float:
        """Seconds that it has used so far; 0 where that cannot be known."""
        if self.pid is None:
            return 0.0
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, what: str = "VmRSS") -> int:
        """Bytes it holds now, or at most (`VmHWM`); 0 where that cannot be known."""
        if self.pid is None:
            return 0
        with open(f"/proc/{self.pid}/status") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith(what))


def wait_connected(*processes: subprocess.Popen[bytes]) -> None:
    """Wait until each has a connection over TCP; a second where that cannot be known. In nobody's time."""
    if not os.path.exists("/proc/net/tcp"):
        time.sleep(1)
        return
    deadline = time.monotonic() + CONNECT_SECONDS
    for process in processes:
        while not _is_connected(process.pid):
            if time.monotonic() > deadline:
                raise TimeoutError("the ends did not connect")
            time.sleep(0.01)
    time.sleep(0.05)  # for the upgrade


def _is_connected(pid: int) -> bool:
    links = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):
            links.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
    sockets = {link[8:-1] for link in links if link.startswith("socket:[")}
    if not sockets:
        return False
    with open("/proc/net/tcp") as table:
        return any(fields[3] == ESTABLISHED and fields[9] in sockets for fields in map(str.split, table))


@contextmanager
def engine(url: str | None) -> Iterator[Engine]:
    """The engine at `url`, or an embedded one for as long as this lasts."""
    if url is not None:
        yield Engine(url, None)
        return
    process = subprocess.Popen(EMBEDDED, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=ENVIRONMENT)
    assert process.stdout is not None
    try:
        yield Engine(process.stdout.readline().decode().strip(), process.pid)
    finally:
        for left in _started:
            if left.returncode is None:
                left.kill()
        process.stdout.close()
        process.terminate()
        process.wait()

"""The guard: a small process that starts every COMMAND, and stops it where we cannot do it any more.

A consumer takes the end of its stdin for the end of the data. When we die of a signal that nobody can handle,
the kernel closes our end of that pipe before anybody could stop the consumer, and it takes half a stream for
the whole. So the guard, forked before anything else, keeps a copy of that end. It is the parent of every
COMMAND, and the subreaper of what those leave behind. Each COMMAND has a line to us, a socket pair. When the
line ends before we have let the COMMAND go, the guard kills it and everything below it, and only then closes
its copy.

The guard sleeps in poll(2), takes no notice of any signal but SIGKILL, and has a session of its own, so that
neither Ctrl-C nor a signal to the whole pipeline ends it. So its COMMANDs have no controlling terminal: what
asks there for a password fails at once, where a job that is not in the foreground would be stopped for ever.
Linux only: subreaper and /proc; elsewhere it stops the COMMAND's process group.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, final

from iii_cli.io.processes import Stat, numbers, reap_others, stat_of
from iii_cli.limits import limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ("KILL_SECONDS", "STATUS_VARIABLE", "Line", "SpawnRequest", "ask_guard", "guard_forever")


STATUS_VARIABLE = "III_STREAM_STATUS"
KILL_SECONDS = limit("kill", 2.0)  # a killed process that is still there hangs in the kernel
FREEZE_SECONDS = 0.2  # for stopped processes to stand still, before the first of them is killed
LOOK_SECONDS = 0.02  # between looks at processes that were asked to end, and whose parent is not us
OWN_DESCRIPTORS = 10  # and above: sh can name one digit, and those are for the COMMAND
MESSAGE_DESCRIPTORS = 8
PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 15, 36  # linux/prctl.h
DEAF_TO = [
    *("HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM"),
    *("TSTP", "TTIN", "TTOU", "XCPU", "VTALRM", "PROF"),
]
DEAD, STILL = "ZX", "TtZX"  # states of a process (proc(5))

_LENGTH = struct.Struct("=I")


class SpawnRequest(NamedTuple):
    """What to start."""

    argv: list[str]
    executable: str
    cwd: str | None
    env: dict[str, str]
    feeds: bool  # the write end of its stdin comes along, and both ends of what becomes III_STREAM_STATUS


def ask_guard(control: socket.socket, request: SpawnRequest, descriptors: list[int]) -> dict[str, Any]:
    """Have a COMMAND started: `pid`, or `errno` and `filename` of what failed.

    `descriptors`: stdin, stdout, stderr, the line; of one that `feeds` the ends of the status pipe before
    these, and the write end of its stdin behind.
    Waits for the answer, which takes as long as a fork. Raises OSError when the guard is gone.
    """
    data = json.dumps(request).encode()
    data = _LENGTH.pack(len(data)) + data
    sent = socket.send_fds(control, [data], descriptors)
    control.sendall(data[sent:])
    answer: dict[str, Any] = _receive(control, b"")
    return answer


def _receive(control: socket.socket, data: bytes) -> Any:
    while len(data) < _LENGTH.size or len(data) < _LENGTH.size + _LENGTH.unpack_from(data)[0]:
        part = control.recv(1 << 16)
        if not part:
            raise ConnectionResetError("the guard is gone")
        data += part
    return json.loads(data[_LENGTH.size :])


def guard_forever(control: socket.socket) -> NoReturn:
    """Be the guard, in a process that was forked for it, until `control` and every line have ended."""
    guard = None
    try:
        guard = _Guard(control)
        guard.run()
    finally:
        if guard is not None:
            guard.end()
        os._exit(0)


@final
class Line:
    """One end of a COMMAND's line: a verb, and perhaps a number, on each line of text."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._rest = b""

    def say(self, text: str) -> None:
        """Nothing where nobody is left to hear it."""
        with suppress(OSError):
            self.connection.sendall(f"{text}\n".encode())

    def hear(self) -> tuple[list[tuple[str, str]], bool]:
        """The verbs and numbers that have come; whether the other end is still there."""
        try:
            data = self.connection.recv(4096)
        except BlockingIOError:
            return [], True
        except OSError:
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        words = (line.decode().partition(" ") for line in lines)
        return [(verb, number) for verb, _, number in words], bool(data)


@final
class _Run:
    """A COMMAND, from its start until we hang up."""

    def __init__(self, pid: int, line: Line, kept: list[int]) -> None:
        self.pid = pid
        self.line = line
        self.kept = kept  # closed in this order
        self.pipes = {os.readlink(f"/proc/self/fd/{fd}") for fd in self.kept} if _processes() else set()
        self.ended = False
        self.let_go = False
        self.stop_by: float | None = None  # asked to end until then

    def release(self) -> None:
        """Close our copies: from now on it sees the end of its stdin, and of the status last."""
        while self.kept:
            os.close(self.kept.pop(0))


@final
class _Guard:
    def __init__(self, control: socket.socket) -> None:
        self._control = _kept(control)
        self._wake, wakeup = _make_deaf()
        _close_all_but({self._control.fileno(), self._wake, wakeup})
        _adopt_orphans()
        self._runs: dict[int, _Run] = {}  # by the descriptor of the line
        self._poll = select.poll()
        for fd in (self._control.fileno(), self._wake):
            self._poll.register(fd, select.POLLIN)
        self._wanted = True

    def run(self) -> None:
        while self._wanted or self._runs:
            stopping = any(run.stop_by is not None for run in self._runs.values())
            for fd, _ in self._poll.poll(1000 * LOOK_SECONDS if stopping else None):
                if fd == self._wake:
                    os.read(fd, 4096)
                elif fd == self._control.fileno():
                    self._take_request()
                else:
                    self._hear(fd, self._runs[fd])
            self._reap()
            self._press_on()

    def end(self) -> None:
        """Kill what nobody let go: even a mistake of ours shows no COMMAND the end of its stdin."""
        for run in self._runs.values():
            if not run.let_go:
                with suppress(Exception):
                    self._kill(run)

    def _take_request(self) -> None:
        try:
            # Here too: that our last answer was not read makes it a reset.
            data, fds, _, _ = socket.recv_fds(self._control, 1 << 16, MESSAGE_DESCRIPTORS)
            if not data:
                raise ConnectionResetError
            request = SpawnRequest(*_receive(self._control, data))
        except OSError:
            self._wanted = False
            self._poll.unregister(self._control.fileno())
            return
        answer = json.dumps(self._spawn(request, fds)).encode()
        with suppress(OSError):
            self._control.sendall(_LENGTH.pack(len(answer)) + answer)

    def _spawn(self, request: SpawnRequest, fds: list[int]) -> dict[str, Any]:
        env, passed = request.env, []
        status = held = None
        if request.feeds:
            readable, status, *standard, line, held = fds
            env, passed = env | {STATUS_VARIABLE: str(readable)}, [readable]
        else:
            *standard, line = fds
        try:
            process = subprocess.Popen(
                request.argv,
                executable=request.executable,
                stdin=standard[0],
                stdout=standard[1],
                stderr=standard[2],
                cwd=request.cwd,
                env=env,
                process_group=0,
                pass_fds=passed,
            )
            process.returncode = 0  # its own bookkeeping, which is ours
            kept = [_moved(fd) for fd in (held, status) if fd is not None]
            run = _Run(process.pid, Line(_kept(socket.socket(fileno=line))), kept)
        except OSError as error:
            return {"errno": error.errno, "filename": error.filename}
        finally:
            for fd in fds:
                with suppress(OSError):
                    os.close(fd)
        fd = run.line.connection.fileno()
        self._runs[fd] = run
        self._poll.register(fd, select.POLLIN)
        return {"pid": run.pid}

    def _hear(self, fd: int, run: _Run) -> None:
        words, is_there = run.line.hear()
        for verb, number in words:
            self._obey(run, verb, number)
        if not is_there:
            if not run.let_go:
                self._kill(run)
            run.release()
            self._poll.unregister(fd)
            del self._runs[fd]
            run.line.connection.close()

    def _obey(self, run: _Run, verb: str, number: str) -> None:
        if verb == "go":
            run.let_go = True
            run.release()
        elif verb == "signal":
            _send(-run.pid, int(number))
        elif verb == "stop":
            run.stop_by = time.monotonic() + float(number)
            self._strike(run, signal.SIGTERM)

    def _press_on(self) -> None:
        for run in self._runs.values():
            if run.stop_by is not None and (time.monotonic() >= run.stop_by or not self._lives(run)):
                run.stop_by = None
                left = self._kill(run)
                run.release()
                run.line.say(f"gone {left}")

    def _reap(self) -> None:
        """Hear of our children. Never of any child at once: an orphan is looked at before it is taken."""
        for run in self._runs.values():
            if not run.ended:
                pid, status = os.waitpid(run.pid, os.WNOHANG)
                if pid:
                    run.ended = True
                    run.line.say(f"ended {status}")
        reap_others({run.pid for run in self._runs.values() if not run.ended})

    def _lives(self, run: _Run) -> bool:
        if self._members(run) or not run.ended:
            return True
        try:
            os.killpg(run.pid, 0)
        except OSError:
            return False
        return not _processes()  # nobody can tell a zombie without it

    def _members(self, run: _Run) -> Mapping[int, Stat]:
        """Every living process of this run. Of several runs: of its group, session or pipes, and below."""
        processes = _processes()
        below = _descendants(processes, {os.getpid()})
        if len(self._runs) > 1:
            below = _descendants(processes, {pid for pid in below if _is_of(run, pid, processes[pid])})
        return {pid: processes[pid] for pid in below if processes[pid].state not in DEAD}

    def _strike(self, run: _Run, signum: int) -> set[int]:
        """Signal every process of the run; those that belong to somebody else.

        All are stopped before one is signalled: who reads from another one must not see that end first.
        """
        until = time.monotonic() + FREEZE_SECONDS
        stopped: set[int] = set()
        while time.monotonic() < until:
            members = self._members(run)
            for pid in members.keys() - stopped:
                stopped.add(pid)
                _send(pid, signal.SIGSTOP)
            if all(each.state in STILL for each in members.values()):
                break
        refused = {pid for pid in stopped if not _send(pid, signum)}
        for pid in stopped:
            _send(pid, signal.SIGCONT)
        if not stopped and self._lives(run):  # no /proc
            _send(-run.pid, signum)
            _send(-run.pid, signal.SIGCONT)
        return refused

    def _kill(self, run: _Run) -> int:
        """Kill every process of the run. How many could not be."""
        refused = self._strike(run, signal.SIGKILL)
        until = time.monotonic() + KILL_SECONDS
        while time.monotonic() < until and self._members(run).keys() - refused:
            self._reap()
            time.sleep(0.001)
        self._reap()
        return len(self._members(run))


def _is_of(run: _Run, pid: int, process: Stat) -> bool:
    if run.pid in (pid, process.group, process.session):
        return True
    with suppress(OSError):
        folder = f"/proc/{pid}/fd"
        return any(os.readlink(f"{folder}/{fd}") in run.pipes for fd in os.listdir(folder))
    return False


def _descendants(processes: Mapping[int, Stat], roots: Iterable[int]) -> set[int]:
    """Everything below `roots`, they themselves included, but not this process."""
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found - {os.getpid()}


def _processes() -> dict[int, Stat]:
    """Every process, by its number. Empty where there is no /proc."""
    processes = {}
    for pid in numbers():
        with suppress(OSError):
            processes[pid] = stat_of(pid)
    return processes


def _send(pid: int, signum: int) -> bool:
    """Signal one process, or a group (below 0). False: it is somebody else's."""
    try:
        os.kill(pid, signum)
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


# How a forked process becomes the guard


def _kept(connection: socket.socket) -> socket.socket:
    return socket.socket(fileno=_moved(connection.detach()))


def _moved(fd: int) -> int:
    """The same on a number that no COMMAND wants."""
    import fcntl

    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, OWN_DESCRIPTORS)
    finally:
        os.close(fd)


def _make_deaf() -> tuple[int, int]:
    """Handle all that can be handled, by nothing: unlike SIG_IGN that is not inherited by a COMMAND.

    What was ignored before stays so, for the COMMAND too. Returns the pipe that SIGCHLD writes into.
    """
    os.setsid()
    wake, wakeup = (_moved(fd) for fd in os.pipe())
    os.set_blocking(wake, False)
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _nothing)
    for name in DEAF_TO:
        signum = getattr(signal, f"SIG{name}", None)
        if signum is not None and signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, _nothing)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    return wake, wakeup


def _nothing(*_: object) -> None:
    """A handler."""


def _close_all_but(kept: set[int]) -> None:
    """Nothing of ours may stay open because of the guard: no connection, no pipe, no file."""
    null = _moved(os.open(os.devnull, os.O_RDWR))
    for standard in range(3):
        os.dup2(null, standard, inheritable=True)
    for name in os.listdir("/dev/fd"):
        if int(name) > 2 and int(name) not in kept:
            with suppress(OSError):
                os.close(int(name))


def _adopt_orphans() -> None:
    if os.path.exists("/proc/self/stat"):
        with suppress(ImportError, OSError, AttributeError):
            import ctypes

            prctl = ctypes.CDLL(None).prctl
            prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
            prctl(PR_SET_NAME, b"iii-guard", 0, 0, 0)

"""The COMMAND that produces or consumes a stream (docs: design, section 3).

It runs in a process group of its own, below a guard (guard.py). What matters for the data:

* A consumer must not see a clean end of a stream that failed. So on failure everything below it is stopped
  first, and its stdin closed afterwards: `terminate`, or leaving `async with` by an exception, does it in
  this order, and the guard does where we vanish.
* A stream from a producer ends when the last writer of the pipe closes it. A grandchild that lives on keeps
  it open after the child has exited; the data is whole only when both the end and the exit code are there.
"""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import socket
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, final

import anyio

from iii_cli.errors import CommandFailed, CommandNotRunnable, Failure, Interrupted, LocalProblem
from iii_cli.limits import limit
from iii_cli.terminal.executable import find_command
from iii_cli.terminal.foreground import Foreground
from iii_cli.terminal.guard import KILL_SECONDS, SpawnRequest, ask_guard, guard_forever
from iii_cli.terminal.inheritance import inherited
from iii_cli.terminal.sinks import DescriptorSink
from iii_cli.terminal.sources import Source
from iii_cli.terminal.talk import talk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from anyio.abc import TaskGroup

__all__ = (
    "DEVNULL",
    "PIPE",
    "Child",
    "ending_text",
    "is_child",
    "kill_children",
    "prepare_command",
    "spawn",
)

DEVNULL, PIPE = subprocess.DEVNULL, subprocess.PIPE

GRACE_SECONDS = limit("grace", 5.0)  # between SIGTERM and SIGKILL: time to remove temporary files
TERMINAL_SECONDS = 0.1  # how soon a password prompt appears, where we are in the background
NOT_STOPPED = "could not be stopped and may have taken part of the stream for the whole"
LOOK_SECONDS = 0.02  # where another task waits for the same news

_living: set[Child] = set()


@final
class Child:
    """A running COMMAND. Use it as `async with`: whatever is left of it is stopped at the end.

    `name` is its first word, for people. `stdin` and `stdout` are there where PIPE was asked for.
    `exit_code` is None while it runs, and 128+n after signal n.
    """

    def __init__(
        self,
        pid: int,
        line: socket.socket,
        *,
        name: str,
        stdin: DescriptorSink | None,
        stdout: Source | None,
        status: int | None,
        grace: float,
    ) -> None:
        """Use `spawn`. `line` leads to the guard, `status` is the write end of III_STREAM_STATUS."""
        self.name = name
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.exit_code: int | None = None
        self._status = status
        self._grace = grace
        self._code = 0  # as Popen has it
        self._line = line
        self._heard = b""
        self._left: int | None = None  # processes that could not be stopped, once that is known
        self._foreground = Foreground(pid)
        self._watched = False
        self._closed = False
        self._attending: TaskGroup | None = None
        _living.add(self)

    async def wait(self) -> int:
        """Wait until it has exited; its exit code. Cancelled, it goes on running and can be waited for again.

        Says nothing about its grandchildren, nor about the end of its stdout.
        """
        while self.exit_code is None:
            await self._news()
        return self.exit_code

    async def terminate(self) -> int | None:
        """Stop it and everything below it: SIGTERM, SIGKILL after its time of grace; close its pipes.

        Its exit code; None: it outlived even that. Cannot be cancelled, and takes at most the grace and three
        seconds. Says so where a consumer could not be stopped. Safe to repeat.
        """
        if self._closed:
            return self.exit_code
        with anyio.CancelScope(shield=True), anyio.move_on_after(self._grace + KILL_SECONDS + 1):
            self._say(f"stop {self._grace}")
            while self._left is None:
                await self._news()
        if self._left != 0 and self.stdin is not None and self.stdin.bytes_written:
            talk.tell(f"warning: {self.name} {NOT_STOPPED}")
        self.close()
        return self.exit_code

    def let_go(self, verdict: Mapping[str, object] | None = None) -> None:
        """It may see the end of its stdin, and outlive us. `verdict` is what III_STREAM_STATUS says of it."""
        if verdict is not None and self._status is not None:
            with suppress(OSError):
                os.write(self._status, json.dumps(verdict).encode() + b"\n")
        self._close_status()
        self._say("go")

    def signal(self, signum: int) -> None:
        """Pass a signal on to the whole group. Says nothing where nobody is left to hear it."""
        self._say(f"signal {signum:d}")

    def kill(self) -> None:
        """SIGKILL to the whole group, at once and without waiting: for the second Ctrl-C."""
        if self.exit_code is None:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)

    def failure(self, *, pass_on: bool = False) -> Failure | None:
        """What its end means for us: None for exit code 0, else CommandFailed (11; `pass_on`: its own code).

        Interrupted, if it had the terminal and a person typed Ctrl-C: that went to it instead of to us.
        """
        code = self.exit_code
        if code is None or code == 0:
            return None
        if code == 128 + signal.SIGINT and self._foreground.was_lent:
            return Interrupted(signal.SIGINT)
        return CommandFailed(f"{self.name} {ending_text(self._code)}", code=code, pass_on=pass_on)

    def close(self) -> None:
        """Close our ends of its pipes, and hang up. Safe to repeat.

        What was not let go is killed by that; what was sees the end of its stdin.
        """
        if self.stdin is not None:
            self.stdin.discard()
        if self.stdout is not None:
            self.stdout.close()
        self._close_status()
        self._closed = True
        if not self._watched:  # closed under a waiter, it would not wake him (see Source)
            self._line.close()
        _living.discard(self)

    async def __aenter__(self) -> Self:
        if self._foreground.possible:  # it may ask for a password while we wait for its data, not for its end
            self._attending = anyio.create_task_group()
            await self._attending.__aenter__()
            self._attending.start_soon(self.wait)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._attending is not None:
                self._attending.cancel_scope.cancel()
                # An error of the body is not the group's: it would come out wrapped. A cancellation is.
                cancelled = kind is not None and issubclass(kind, anyio.get_cancelled_exc_class())
                await self._attending.__aexit__(*((kind, error, trace) if cancelled else (None, None, None)))
        finally:
            if self.exit_code is None or kind is not None:
                await self.terminate()
            else:
                self.let_go()
            self.close()

    async def _news(self) -> None:
        """Wait until the guard has said something, and take it in."""
        if self._watched:  # `wait` and `terminate` at the same time
            await anyio.sleep(LOOK_SECONDS)
            return
        self._watched = True
        try:
            with anyio.move_on_after(TERMINAL_SECONDS if self._foreground.possible else math.inf):
                await anyio.wait_readable(self._line)
        finally:
            self._watched = False
            if self._closed:
                self._line.close()
        self._hear()
        self._foreground.lend_if_wanted()

    def _hear(self) -> None:
        try:
            data = self._line.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
        *words, self._heard = (self._heard + data).split(b"\n")
        for word in words:
            verb, _, number = word.decode().partition(" ")
            if verb == "stopped":
                self._foreground.stopped(int(number))
            elif verb == "ended":
                self._ended(int(number))
            elif verb == "gone":
                self._left = int(number)

    def _lost(self) -> None:
        """Somebody killed the guard: without it nothing can be promised, so this is no success."""
        if self.exit_code is None:
            self.kill()
            self._ended(signal.SIGKILL)
        self._left = self._left or 0

    def _ended(self, status: int) -> None:
        code = self._code = os.waitstatus_to_exitcode(status)
        self.exit_code = code if code >= 0 else 128 - code
        self._foreground.take_back(restore=code < 0)

    def _say(self, word: str) -> None:
        with suppress(OSError):
            self._line.sendall(f"{word}\n".encode())

    def _close_status(self) -> None:
        if self._status is not None:
            os.close(self._status)
            self._status = None


class _Guard(NamedTuple):
    """The guard as we see it: its number, and the connection on which it is asked for COMMANDs."""

    pid: int
    control: socket.socket


_guard: _Guard | None = None


def _the_guard() -> _Guard:
    """One for this process and all of its COMMANDs. Raises LocalProblem."""
    global _guard
    if _guard is None:
        control, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError as error:
            raise LocalProblem(f"cannot start a process: {error.strerror}") from None
        if not pid:
            control.close()
            guard_forever(theirs)
        theirs.close()
        _guard = _Guard(pid, control)
    return _guard


def _ask(request: SpawnRequest, descriptors: list[int]) -> dict[str, Any]:
    """Have it started, by a new guard where somebody killed the old one. Raises OSError."""
    global _guard
    with suppress(ConnectionError):
        return ask_guard(_the_guard().control, request, descriptors)
    _the_guard().control.close()
    _guard = None
    return ask_guard(_the_guard().control, request, descriptors)


def prepare_command(argv: Sequence[str]) -> None:
    """Check that there is a COMMAND, before anything is opened, and fork the guard while we are small.

    Raises UsageProblem, CommandNotFound, CommandNotRunnable, LocalProblem.
    """
    find_command(argv)
    _the_guard()


def spawn(
    argv: Sequence[str],
    *,
    name: str | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    grace: float = GRACE_SECONDS,
) -> Child:
    """Start a COMMAND. Each descriptor is inherited (None), a descriptor, DEVNULL, or PIPE (not for stderr).

    `grace`: seconds between SIGTERM and SIGKILL, where it has to be stopped.

    Without an `env` of its own it gets what is `inherited`. Where `stdin` is PIPE it finds in
    III_STREAM_STATUS a descriptor on which a line of JSON will say how the stream ended.

    Raises UsageProblem, CommandNotFound, CommandNotRunnable, LocalProblem.
    """
    if env is None:
        env = inherited()
    path = find_command(argv, env=env)
    name = argv[0] if name is None else name
    ours: dict[str, int] = {}
    theirs: list[int] = []

    def given(wanted: int | None, standard: int) -> int:
        """What the COMMAND gets as its `standard` descriptor."""
        if wanted is None:
            return standard
        if wanted == DEVNULL:
            theirs.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
            return theirs[-1]
        if wanted != PIPE:
            return wanted
        pipe = os.pipe()  # close-on-exec, and grown by Source and Sink
        theirs.append(pipe[standard])
        ours["stdin" if standard == 0 else "stdout"] = pipe[1 - standard]
        return theirs[-1]

    line: socket.socket | None = None
    try:
        line, far = socket.socketpair()
        theirs.append(far.detach())
        line.setblocking(False)
        standard = [given(stdin, 0), given(stdout, 1), given(stderr, 2)]
        status: list[int] = []
        if "stdin" in ours:
            readable, ours["status"] = os.pipe()
            theirs.append(readable)
            status = [readable, ours["status"]]
        request = SpawnRequest(list(argv), path, cwd, dict(env), "stdin" in ours, bool(status))
        held = [ours["stdin"]] if "stdin" in ours else []
        answer = _ask(request, [*status, *standard, theirs[0], *held])
        if "pid" not in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]), answer["filename"])
    except OSError as error:
        if line is not None:
            line.close()
        for fd in ours.values():
            os.close(fd)
        raise _not_started(name, error, cwd) from None
    finally:
        for fd in theirs:
            os.close(fd)
    return Child(
        answer["pid"],
        line,
        name=name,
        stdin=DescriptorSink(ours["stdin"], name=f"the input of {name}", owned=True)
        if "stdin" in ours
        else None,
        stdout=Source.from_fd(ours["stdout"], name=f"the output of {name}", owned=True)
        if "stdout" in ours
        else None,
        status=ours.get("status"),
        grace=grace,
    )


def is_child(pid: int) -> bool:
    """Was this process started here, and is its exit code still to be taken? Only the guard is."""
    return _guard is not None and _guard.pid == pid


def kill_children() -> None:
    """SIGKILL to every COMMAND that still runs, with all of its group: for an exit that cannot wait.

    What is below it and has left the group, the guard kills when we have gone.
    """
    for child in list(_living):
        child.kill()


def _not_started(name: str, error: OSError, cwd: str | None) -> Failure:
    if cwd is not None and error.filename == cwd:
        return LocalProblem(f"cannot run {name} in {cwd}: {error.strerror}")
    if error.errno in {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ECONNRESET, errno.EPIPE}:
        return LocalProblem(f"cannot run {name}: {error.strerror}")
    hint = "its first line names an interpreter that does not exist" if error.errno == errno.ENOENT else None
    return CommandNotRunnable(f"cannot run {name}: {error.strerror}", hint=hint)


def ending_text(code: int) -> str:
    """`exited 3`, `was killed by SIGTERM`: an exit code as Popen has it, below 0 for a signal."""
    if code >= 0:
        return f"exited {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"

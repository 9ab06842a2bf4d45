"""COMMANDs: found, started by the guard, signalled, reaped; what they read, and what they say on stderr."""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import socket
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, final

import anyio

from iii_cli.errors import (
    CommandFailed,
    CommandNotFound,
    CommandNotRunnable,
    Failure,
    LocalProblem,
    UsageProblem,
    reason_of,
)
from iii_cli.io.console import console
from iii_cli.io.descriptors import is_ready
from iii_cli.io.guard import KILL_SECONDS, Line, SpawnRequest, ask_guard, guard_forever
from iii_cli.io.processes import ending_text, reap_others, shell_code
from iii_cli.io.signals import inherited
from iii_cli.io.sinks import DescriptorSink
from iii_cli.io.sources import Source
from iii_cli.limits import limit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

__all__ = (
    "DEVNULL",
    "PIPE",
    "Child",
    "CommandStderr",
    "ConsumerSink",
    "find_command",
    "is_first_process",
    "kill_children",
    "prepare_command",
    "reap_orphans",
    "shell_command",
    "spawn",
)

DEVNULL, PIPE = subprocess.DEVNULL, subprocess.PIPE
GRACE_SECONDS = limit("grace", 5.0)  # between SIGTERM and SIGKILL: time to remove temporary files
NOT_STOPPED = "could not be stopped and may have taken part of the stream for the whole"
TAIL_BYTES = 4096  # of its stderr, for an error
LINE_BYTES = 4096  # a longer line is shown in parts
REST_SECONDS = 0.1  # a grandchild may hold the pipe open for ever


# Which COMMAND


def shell_command(command: str) -> list[str]:
    """What runs COMMAND of `cmd:COMMAND`: `sh -c`. Raises UsageProblem where there is none."""
    if not command.strip():
        raise UsageProblem("cmd: needs a COMMAND")
    return ["/bin/sh", "-c", command]


def find_command(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    """The file that `argv` runs, looked up on PATH as a shell does.

    Raises UsageProblem (no command), CommandNotFound (127) and CommandNotRunnable (126).
    """
    if not argv or not argv[0]:
        raise UsageProblem("-- needs a COMMAND")
    word = argv[0]
    if any("\0" in part for part in argv):
        raise UsageProblem("a COMMAND cannot hold a NUL character")
    if os.sep in word:
        return _checked(word)
    refused: CommandNotRunnable | None = None
    for folder in os.get_exec_path(env):
        try:
            return _checked(os.path.join(folder or os.curdir, word))
        except CommandNotRunnable as error:
            refused = refused or error
        except CommandNotFound:
            continue
    raise refused or CommandNotFound(f"no command {word} on PATH")


def _checked(path: str) -> str:
    if os.path.isdir(path):
        raise CommandNotRunnable(f"{path} is a folder, not a command")
    if not os.path.exists(path):
        raise CommandNotFound(f"no command {path}")
    if not os.access(path, os.X_OK):
        raise CommandNotRunnable(f"{path} is not executable for you")
    return path


# The guard, one for this process and all of its COMMANDs


class _Guard(NamedTuple):
    """Its number, and the connection on which it is asked for COMMANDs."""

    pid: int
    control: socket.socket


_guard: _Guard | None = None


def prepare_command(argv: Sequence[str]) -> None:
    """Check that there is a COMMAND, before anything is opened, and fork the guard while we are small.

    Raises UsageProblem, CommandNotFound, CommandNotRunnable, LocalProblem.
    """
    find_command(argv)
    _the_guard()


def _the_guard() -> _Guard:
    """Raises LocalProblem."""
    global _guard
    if _guard is None:
        control, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError as error:
            raise LocalProblem(f"cannot start a process: {reason_of(error)}") from None
        if not pid:
            control.close()
            guard_forever(theirs)
        theirs.close()
        _guard = _Guard(pid, control)
    return _guard


def _ask(request: SpawnRequest, descriptors: list[int]) -> dict[str, Any]:
    """Have it started, by a new guard where somebody killed the old one. Raises OSError.

    Asked once: a guard that is killed before it answers may have started COMMAND.
    """
    global _guard
    if is_ready(_the_guard().control.fileno(), select.POLLIN):  # it says nothing unasked, so it is gone
        _the_guard().control.close()
        _guard = None
    return ask_guard(_the_guard().control, request, descriptors)


# A running COMMAND


@final
class ConsumerSink(DescriptorSink):
    """The stdin of a child, closed only for a good end.

    `discard` does nothing on purpose: a closed stdin would look to the child like the end of the data.
    Whoever runs the child stops it first (`Child.terminate`).
    """

    durable = True  # what was consumed by a COMMAND that ended with 0 is where it should be

    def __init__(self, fd: int, child: Child) -> None:
        super().__init__(fd, name=f"the input of {child.name}", owned=True)
        self._child = child
        self._verdict: dict[str, object] | None = None

    def judge(self, status: int, *, verified: bool, count: int) -> None:
        self._verdict = {"exit": status, "verified": verified, "bytes": count}

    async def finish(self) -> None:
        await super().finish()
        self._child.let_go(self._verdict)

    def discard(self) -> None:
        return


_living: set[Child] = set()


@final
class Child:
    """A running COMMAND. Use it as `async with`: whatever is left of it is stopped at the end.

    `name` is its first word, for people. `stdin`, `stdout` and `stderr` are there where PIPE was asked for;
    who reads the last one closes it.
    `exit_code` is None while it runs, and 128+n after signal n.
    """

    def __init__(
        self, pid: int, line: socket.socket, pipes: Mapping[str, int], *, name: str, grace: float
    ) -> None:
        """Use `spawn`. `line` leads to the guard. `pipes`: our ends of stdin, stdout and status, if any."""
        self.name = name
        self.pid = pid
        self.exit_code: int | None = None
        self.stdin: ConsumerSink | None = None
        self.stdout: Source | None = None
        self.stderr: Source | None = None
        if "stdin" in pipes:
            self.stdin = ConsumerSink(pipes["stdin"], self)
        if "stdout" in pipes:
            self.stdout = Source(pipes["stdout"], name=f"the output of {name}", owned=True)
        if "stderr" in pipes:
            self.stderr = Source(pipes["stderr"], name=f"the stderr of {name}", owned=True)
        self._status = pipes.get("status")  # the write end of III_STREAM_STATUS
        self._grace = grace
        self._code = 0  # as Popen has it
        self._line = Line(line)
        self._left: int | None = None  # processes that could not be stopped, once that is known
        self._listening = anyio.Lock()
        self._closed = False
        _living.add(self)

    async def wait(self) -> int:
        """Wait until it has exited; its exit code. Cancelled, it goes on running and can be waited for again.

        Says nothing about its grandchildren, nor about the end of its stdout.
        """
        await self._listen_until(lambda: self.exit_code is not None)
        assert self.exit_code is not None
        return self.exit_code

    async def terminate(self) -> int | None:
        """Stop it and everything below it: SIGTERM, SIGKILL after its time of grace; close its pipes.

        Its exit code; None: it outlived even that. Cannot be cancelled, and takes at most the grace and three
        seconds. Says so where a consumer could not be stopped. Safe to repeat.
        """
        if self._closed:
            return self.exit_code
        with anyio.CancelScope(shield=True), anyio.move_on_after(self._grace + KILL_SECONDS + 1):
            self._line.say(f"stop {self._grace}")
            await self._listen_until(lambda: self._left is not None)
        if self._left != 0 and self.stdin is not None and self.stdin.bytes_written:
            console.tell(f"warning: {self.name} {NOT_STOPPED}")
        self.close()
        return self.exit_code

    def let_go(self, verdict: Mapping[str, object] | None = None) -> None:
        """It may see the end of its stdin, and outlive us. `verdict` is what III_STREAM_STATUS says of it."""
        if verdict is not None and self._status is not None:
            with suppress(OSError):
                os.write(self._status, json.dumps(verdict).encode() + b"\n")
        self._close_status()
        self._line.say("go")

    def signal(self, signum: int) -> None:
        """Pass a signal on to the whole group. Says nothing where nobody is left to hear it."""
        self._line.say(f"signal {signum:d}")

    def kill(self) -> None:
        """SIGKILL to the whole group, at once and without waiting: for the second Ctrl-C."""
        if self.exit_code is None:
            with suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)

    def failure(self, *, pass_on: bool = False) -> Failure | None:
        """What its end means for us: None for code 0, else CommandFailed (11; `pass_on`: its own code)."""
        if not self.exit_code:
            return None
        return CommandFailed(f"{self.name} {ending_text(self._code)}", code=self.exit_code, pass_on=pass_on)

    async def ended_well(self, *, pass_on: bool = False) -> None:
        """Wait for its end, and raise `failure` where that was no good one. Cancelled as `wait`."""
        await self.wait()
        failure = self.failure(pass_on=pass_on)
        if failure is not None:
            raise failure

    def close(self) -> None:
        """Close our ends of its pipes, and hang up. Safe to repeat.

        What was not let go is killed by that; what was sees the end of its stdin.
        """
        if self.stdin is not None:
            self.stdin.close()
        if self.stdout is not None:
            self.stdout.close()
        self._close_status()
        self._closed = True
        if not self._listening.locked():  # closed under a waiter, it would not wake him (see Source)
            self._line.connection.close()
        _living.discard(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.exit_code is None or kind is not None:
            await self.terminate()
        else:
            self.let_go()
        self.close()

    async def _listen_until(self, known: Callable[[], bool]) -> None:
        """Take in what the guard says, until this is known. One task at a time hears for all."""
        while not known():
            async with self._listening:
                if known():
                    return
                try:
                    await anyio.wait_readable(self._line.connection)
                    self._hear()
                finally:
                    if self._closed:
                        self._line.connection.close()

    def _hear(self) -> None:
        words, is_there = self._line.hear()
        for verb, number in words:
            if verb == "ended":
                self._ended(int(number))
            elif verb == "gone":
                self._left = int(number)
        if (
            not is_there
        ):  # somebody killed the guard: without it nothing can be promised, so this is no success
            if self.exit_code is None:
                self.kill()
                self._ended(signal.SIGKILL)
            self._left = self._left or 0

    def _ended(self, status: int) -> None:
        self._code = os.waitstatus_to_exitcode(status)
        self.exit_code = shell_code(self._code)

    def _close_status(self) -> None:
        if self._status is not None:
            os.close(self._status)
            self._status = None


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
    """Start a COMMAND. Each descriptor is inherited (None), DEVNULL or PIPE.

    `grace`: seconds between SIGTERM and SIGKILL, where it has to be stopped. Without an `env` of its own it
    gets what is `inherited`. Where `stdin` is PIPE it finds in III_STREAM_STATUS a descriptor on which a line
    of JSON will say how the stream ended. It has no controlling terminal: what asks for a password there says
    that it cannot.

    Raises UsageProblem, CommandNotFound, CommandNotRunnable, LocalProblem.
    """
    env = inherited() if env is None else env
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
        else:
            read, write = os.pipe()  # close-on-exec, and grown by Source and Sink
            stream = ("stdin", "stdout", "stderr")[standard]
            ours[stream], end = (write, read) if standard == 0 else (read, write)
            theirs.append(end)
        return theirs[-1]

    line: socket.socket | None = None
    try:
        line, far = socket.socketpair()
        theirs.append(far.detach())
        line.setblocking(False)
        descriptors = [given(stdin, 0), given(stdout, 1), given(stderr, 2), theirs[0]]
        if feeds := "stdin" in ours:
            readable, ours["status"] = os.pipe()
            theirs.append(readable)
            descriptors = [readable, ours["status"], *descriptors, ours["stdin"]]
        answer = _ask(SpawnRequest(list(argv), path, cwd, dict(env), feeds), descriptors)
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
    return Child(answer["pid"], line, ours, name=name, grace=grace)


def kill_children() -> None:
    """SIGKILL to every COMMAND that still runs, with all of its group: for an exit that cannot wait.

    What is below it and has left the group, the guard kills when we have gone.
    """
    for child in list(_living):
        child.kill()


def _not_started(name: str, error: OSError, cwd: str | None) -> Failure:
    if cwd is not None and error.filename == cwd:
        return LocalProblem(f"cannot run {name} in {cwd}: {reason_of(error)}")
    if error.errno in {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ECONNRESET, errno.EPIPE}:
        return LocalProblem(f"cannot run {name}: {reason_of(error)}")
    hint = "its first line names an interpreter that does not exist" if error.errno == errno.ENOENT else None
    return CommandNotRunnable(f"cannot run {name}: {reason_of(error)}", hint=hint)


# What it says


@final
class CommandStderr:
    """What a COMMAND says on stderr: run `follow`, which shows it."""

    def __init__(self, source: Source, show: Callable[[str], None]) -> None:
        """`show` takes whole lines, without their newline, and must not wait."""
        self._show = show
        self._source = source
        self._tail = b""
        self._over = anyio.Event()

    @property
    def tail(self) -> str:
        """The last 4 KiB, from the start of a line where there is one."""
        text = self._tail
        if len(text) == TAIL_BYTES and b"\n" in text[:-1]:
            text = text.partition(b"\n")[2]
        return text.decode(errors="replace")

    async def follow(self) -> None:
        """Show what comes until every writer has left, an unfinished line at the end; close the pipe."""
        buffer, rest = memoryview(bytearray(TAIL_BYTES)), b""
        try:
            with suppress(LocalProblem):
                while count := await self._source.read_into(buffer):
                    data = bytes(buffer[:count])
                    self._tail = (self._tail + data)[-TAIL_BYTES:]
                    *lines, rest = (rest + data).split(b"\n")
                    if len(rest) > LINE_BYTES:
                        lines, rest = [*lines, rest], b""
                    for line in lines:
                        self._show(line.decode(errors="replace"))
        finally:
            if rest:
                self._show(rest.decode(errors="replace"))
            self._source.close()
            self._over.set()

    async def rest(self) -> None:
        """After the command's end: wait for what is still in the pipe, for a moment at most."""
        with anyio.move_on_after(REST_SECONDS):
            await self._over.wait()


# As the first process of a container

REAP_SECONDS = 1.0


def is_first_process() -> bool:
    """Is there nobody else who would reap orphans?"""
    return os.getpid() == 1


async def reap_orphans() -> None:
    """Reap each dead child that nobody here started, at most a second late, until cancelled.

    Not told by SIGCHLD: uvloop keeps that signal for itself.
    """
    while True:
        reap_others(() if _guard is None else (_guard.pid,))
        await anyio.sleep(REAP_SECONDS)

"""The COMMAND that produces or consumes a stream (design.md section 3).

It runs in a process group of its own, and no thread waits for it. What matters for the data:

* A consumer must not see a clean end of a stream that failed. So on failure the group is stopped first and
  its stdin closed afterwards: `terminate`, or leaving `async with` by an exception, does it in this order.
* A stream from a producer ends when the last writer of the pipe closes it. A grandchild that lives on keeps
  it open after the child has exited; the data is whole only when both the end and the exit code are there.
"""

from __future__ import annotations

import errno
import math
import os
import signal
import subprocess
from typing import TYPE_CHECKING, final

import anyio

from iii_cli.errors import CommandFailed, CommandNotRunnable, Failure, Interrupted, LocalProblem
from iii_cli.terminal.executable import find_command
from iii_cli.terminal.foreground import Foreground
from iii_cli.terminal.groups import group_runs
from iii_cli.terminal.sinks import DescriptorSink
from iii_cli.terminal.sources import Source

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from anyio.abc import TaskGroup

__all__ = ("DEVNULL", "PIPE", "Child", "ending_text", "is_child", "kill_children", "spawn")

DEVNULL, PIPE = subprocess.DEVNULL, subprocess.PIPE

GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL: time to remove temporary files
KILL_SECONDS = 2.0  # a killed process that is still there hangs in the kernel; nobody can wait for that
TERMINAL_SECONDS = 0.1  # how soon a password prompt appears: a stop is not told by the pidfd
FIRST_LOOK, LONGEST_LOOK = 0.002, 0.05  # seconds between looks where there is no pidfd (macOS)

_living: set[Child] = set()


@final
class Child:
    """A running COMMAND. Use it as `async with`: whatever is left of its group is stopped at the end.

    `name` is its first word, for people. `stdin` and `stdout` are there where PIPE was asked for.
    `exit_code` is None while it runs, and 128+n after signal n.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        *,
        name: str,
        stdin: DescriptorSink | None,
        stdout: Source | None,
    ) -> None:
        """Use `spawn`."""
        self.name = name
        self.pid = process.pid
        self.stdin = stdin
        self.stdout = stdout
        self.exit_code: int | None = None
        self._process = process
        self._pidfd = _open_pidfd(process.pid)
        self._foreground = Foreground(process.pid)
        self._group_gone = False
        self._watched = False
        self._attending: TaskGroup | None = None
        _living.add(self)

    async def wait(self) -> int:
        """Wait until it has exited; its exit code. Cancelled, it goes on running and can be waited for again.

        Says nothing about its grandchildren, nor about the end of its stdout.
        """
        look = FIRST_LOOK
        while (code := self._look()) is None:
            await self._news(look)
            look = min(2 * look, LONGEST_LOOK)
        return code

    async def terminate(self, grace: float = GRACE_SECONDS) -> int | None:
        """Stop the whole group: SIGTERM, after `grace` seconds SIGKILL; close its pipes. Its exit code.

        Cannot be cancelled, and takes at most `grace` and two seconds. None: it outlived even that.
        """
        with anyio.CancelScope(shield=True):
            if self._signal(signal.SIGTERM):
                self._signal(signal.SIGCONT)  # a stopped process would not hear it
                with anyio.move_on_after(grace):
                    await self.wait()
                    await self._wait_for_group()
                self._signal(signal.SIGKILL)
            with anyio.move_on_after(KILL_SECONDS):
                await self.wait()
        self.close()
        return self.exit_code

    def signal(self, signum: int) -> None:
        """Pass a signal on to the whole group. Says nothing where nobody is left to hear it."""
        self._signal(signum)

    def kill(self) -> None:
        """SIGKILL to the whole group, at once and without waiting: for the second Ctrl-C."""
        self._signal(signal.SIGKILL)

    def failure(self, *, pass_on: bool = False) -> Failure | None:
        """What its end means for us: None for exit code 0, else CommandFailed (11; `pass_on`: its own code).

        Interrupted, if it had the terminal and a person typed Ctrl-C: that went to it instead of to us.
        """
        code = self.exit_code
        if code is None or code == 0:
            return None
        if code == 128 + signal.SIGINT and self._foreground.was_lent:
            return Interrupted(signal.SIGINT)
        return CommandFailed(
            f"{self.name} {ending_text(self._process.returncode)}", code=code, pass_on=pass_on
        )

    def close(self) -> None:
        """Close our ends of its pipes. Safe to repeat. Its stdin ends with that: only after a good end."""
        if self.stdin is not None:
            self.stdin.discard()
        if self.stdout is not None:
            self.stdout.close()

    async def __aenter__(self) -> Self:
        if self._foreground.possible:  # it may ask for a password while we wait for its data, not for its end
            self._attending = anyio.create_task_group()
            await self._attending.__aenter__()
            self._attending.start_soon(self._attend)
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
            self.close()

    async def _attend(self) -> None:
        while self._look() is None:  # noqa: ASYNC110 - a stop is told by nothing else
            await anyio.sleep(TERMINAL_SECONDS)

    async def _news(self, look: float) -> None:
        """Wait until another look is worth it."""
        if self._pidfd is None:
            await anyio.sleep(look)
            return
        if self._watched:  # `wait` and `terminate` at the same time
            await anyio.sleep(look)
            return
        self._watched = True
        try:
            with anyio.move_on_after(TERMINAL_SECONDS if self._foreground.possible else math.inf):
                await anyio.wait_readable(self._pidfd)
        finally:
            self._watched = False
            self._close_pidfd()

    def _look(self) -> int | None:
        """Reap it if it has exited, and hear whether it was stopped."""
        options = os.WNOHANG | (os.WUNTRACED if self._foreground.possible else 0)
        while self.exit_code is None:
            try:
                pid, status = os.waitpid(self.pid, options)
            except ChildProcessError:  # someone else took the status: never call that a success
                self._reaped(signal.SIGKILL)
                break
            if pid == 0:
                self._foreground.lend_if_wanted()
                break
            if os.WIFSTOPPED(status):
                self._foreground.stopped(os.WSTOPSIG(status))
            else:
                self._reaped(status)
        return self.exit_code

    def _reaped(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self._process.returncode = code
        self.exit_code = code if code >= 0 else 128 - code
        self._foreground.take_back(restore=code < 0)
        self._signal(0)  # its number may be taken by others as soon as the group is empty
        self._close_pidfd()
        _living.discard(self)

    def _close_pidfd(self) -> None:
        """Once it has exited and nobody waits: closed under a waiter, it would not wake him (see Source)."""
        if self._pidfd is not None and self.exit_code is not None and not self._watched:
            os.close(self._pidfd)
            self._pidfd = None

    async def _wait_for_group(self) -> None:
        while not self._group_gone and group_runs(self.pid):  # noqa: ASYNC110 - nothing tells
            await anyio.sleep(LONGEST_LOOK)

    def _signal(self, signum: int) -> bool:
        """Signal the group; False once it is empty."""
        if not self._group_gone:
            try:
                os.killpg(self.pid, signum)
            except ProcessLookupError:
                self._group_gone = True
            except PermissionError:
                return False  # it runs as another user by now (sudo)
        return not self._group_gone


def spawn(
    argv: Sequence[str],
    *,
    name: str | None = None,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Child:
    """Start a COMMAND. Each descriptor is inherited (None), a descriptor, DEVNULL, or PIPE (not for stderr).

    Without an `env` of its own it gets ours but for the token: who we are is no affair of what handles the
    data. III_TOKEN_FILE stays, which holds no secret.

    Raises UsageProblem, CommandNotFound, CommandNotRunnable, LocalProblem.
    """
    if env is None:
        env = {variable: value for variable, value in os.environ.items() if variable != "III_TOKEN"}
    path = find_command(argv, env=env)
    name = argv[0] if name is None else name
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # inherited, and exit codes would be lost with it
    ours: dict[str, int] = {}
    theirs: dict[str, int] = {}
    try:
        if stdin == PIPE:
            theirs["stdin"], ours["stdin"] = os.pipe()  # close-on-exec, and grown by Source and Sink
        if stdout == PIPE:
            ours["stdout"], theirs["stdout"] = os.pipe()
        process = subprocess.Popen(
            list(argv),
            executable=path,
            stdin=theirs.get("stdin", stdin),
            stdout=theirs.get("stdout", stdout),
            stderr=stderr,
            cwd=cwd,
            env=env,
            process_group=0,
        )
    except OSError as error:
        for fd in ours.values():
            os.close(fd)
        raise _not_started(name, error, cwd) from None
    finally:
        for fd in theirs.values():
            os.close(fd)
    return Child(
        process,
        name=name,
        stdin=DescriptorSink(ours["stdin"], name=f"the input of {name}", owned=True)
        if "stdin" in ours
        else None,
        stdout=Source.from_fd(ours["stdout"], name=f"the output of {name}", owned=True)
        if "stdout" in ours
        else None,
    )


def is_child(pid: int) -> bool:
    """Was this process started here, and is its exit code still to be taken?"""
    return any(child.pid == pid for child in _living)


def kill_children() -> None:
    """SIGKILL to every COMMAND that still runs, with all of its group: for an exit that cannot wait."""
    for child in list(_living):
        child.kill()


def _open_pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, an old kernel, a strict container
        return None


def _not_started(name: str, error: OSError, cwd: str | None) -> Failure:
    if cwd is not None and error.filename == cwd:
        return LocalProblem(f"cannot run {name} in {cwd}: {error.strerror}")
    if error.errno in {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}:
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

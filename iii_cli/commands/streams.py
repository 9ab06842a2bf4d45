"""What the commands that move streams share: COMMANDs, producers, messages beside the bytes, progress."""

from __future__ import annotations

import os
import stat
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio  # noqa: TID253 - loaded only where a stream is moved

from iii_cli.client.transfer import Limits, span_words
from iii_cli.commands.common import choice, span_of
from iii_cli.errors import UsageProblem, cannot_write, sole_cause
from iii_cli.io import process
from iii_cli.io.console import clean, console
from iii_cli.io.process import PIPE, CommandStderr
from iii_cli.io.producers import ProducerPolicy, Producers
from iii_cli.io.progress import Meter
from iii_cli.protocol.records import message_notice
from iii_cli.quantities import format_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

    from iii_cli.client.transfer import DownloadStatus, UploadStatus
    from iii_cli.io.process import Child
    from iii_cli.io.sinks import Sink
    from iii_cli.io.sources import Source

__all__ = (
    "NOT_FILES",
    "check_stop_early",
    "giving",
    "limits_of",
    "message_output",
    "say_early",
    "spawn_heard",
    "taking",
    "tell_line",
    "transfer_meter",
    "watch_producers",
)


# A COMMAND.


@asynccontextmanager
async def spawn_heard(
    argv: Sequence[str], show: Callable[[str], None], **how: Any
) -> AsyncIterator[tuple[Child, CommandStderr]]:
    """As `process.spawn`, and raises as it does. `show` gets the lines of its stderr, all before the end."""
    try:
        async with anyio.create_task_group() as tasks:
            async with process.spawn(argv, stderr=PIPE, **how) as child:
                assert child.stderr is not None
                complaints = CommandStderr(child.stderr, show)
                tasks.start_soon(complaints.follow)
                yield child, complaints
            await complaints.rest()
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole_cause(group) from None


@asynccontextmanager
async def _spawn(argv: Sequence[str], **how: Any) -> AsyncIterator[Child]:
    """As `process.spawn`. Under `--progress json` the lines of its stderr become events."""
    if not console.as_json:
        async with process.spawn(argv, **how) as child:
            yield child
        return
    async with spawn_heard(argv, partial(tell_line, how.get("name") or argv[0]), **how) as (child, _):
        yield child


def tell_line(command: str, line: str) -> None:
    """A line that COMMAND wrote to its stderr, for programs."""
    console.event("stderr", {"command": command, "message": line})


@asynccontextmanager
async def giving(
    sources: Sequence[Source],
    check_end: Callable[[], Awaitable[None]] | None,
    command: Sequence[str] | None,
    *,
    pass_on: bool,
    name: str | None = None,
    stdin: int | None = None,
) -> AsyncIterator[tuple[Sequence[Source], Callable[[], Awaitable[None]] | None]]:
    """What an upload reads, and its `check_end`: the sources, or the output of COMMAND, which runs meanwhile.

    `pass_on`: its own exit code becomes ours. Raises as `process.spawn`.
    """
    if command is None:
        yield sources, check_end
        return
    async with _spawn(command, name=name, stdin=stdin, stdout=PIPE) as child:
        assert child.stdout is not None
        yield [child.stdout], partial(child.ended_well, pass_on=pass_on)


@asynccontextmanager
async def taking(
    sink: Sink | None, command: Sequence[str] | None, *, pass_on: bool, name: str | None = None
) -> AsyncIterator[tuple[Sink, Callable[[], Awaitable[None]] | None]]:
    """Where a download writes, and its `consumer`: the sink, or COMMAND's stdin, as `giving` has it."""
    if command is None:
        assert sink is not None
        yield sink, None
        return
    async with _spawn(command, name=name, stdin=PIPE) as child:
        assert child.stdin is not None
        yield child.stdin, partial(child.ended_well, pass_on=pass_on)


def check_stop_early(stop_early: bool, require_seal: bool) -> None:
    """Raises UsageProblem where both are asked for."""
    if stop_early and require_seal:
        raise UsageProblem("--stop-early verifies nothing, and --require-seal wants it verified")


def watch_producers(option: str, sources: Sequence[Source]) -> Callable[[], Awaitable[None]]:
    """`--producer`: look at who writes into the pipes among `sources`, now; what to run at their end.

    Raises UsageProblem for an unknown option. What is returned raises ProducerFailed.
    """
    choice(option, "--producer", tuple(ProducerPolicy))
    producers = Producers(sources, ProducerPolicy(option))

    def note(program: str, code: int) -> None:
        console.facts.update(producer={"program": program, "exit": code})
        console.notice(
            f"note: {program} exited {code}; the stream was sealed as complete "
            "(--producer strict, or `-- COMMAND`, would abort it)"
        )

    async def check_end() -> None:
        try:
            await producers.conclude(note)
        finally:
            producers.close()

    return check_end


# Text messages beside the bytes.

NOT_FILES = ("stderr", "drop")  # what `--messages` may say in place of a FILE


@contextmanager
def message_output(where: str | None, *, quiet: bool) -> Iterator[Callable[[bytes], None]]:
    """`--messages stderr|drop|FILE`: what shows a message, a line each. FILE is emptied by the first one, or
    by a good end.

    Raises LocalProblem when FILE cannot be opened or written.
    """
    if where is None or where in NOT_FILES:
        silent = quiet if where is None else where == "drop"
        yield lambda message: None if silent else console.tell(message_notice(message))
        return
    emptied = False

    @contextmanager
    def translated() -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(where, error) from None

    def empty() -> None:
        """Once. A FIFO or a device has nothing to lose."""
        nonlocal emptied
        if not emptied and stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.truncate(0)
        emptied = True

    def show(message: bytes) -> None:
        with translated():
            empty()
            file.write(message + b"\n")
            file.flush()

    with translated():
        # Not emptied yet: what is there is lost only to a stream.
        file = open(os.open(where, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb")  # noqa: SIM115
    try:
        yield show
        with translated():
            empty()
    finally:
        with translated():
            file.close()


# Limits and progress.


def limits_of(timeout: str | None, stall_timeout: str | None) -> Limits:
    """`--timeout` and `--stall-timeout`. Raises UsageProblem."""
    return Limits(
        whole=span_of(timeout, "--timeout", None), stall=span_of(stall_timeout, "--stall-timeout", None)
    )


def transfer_meter(status: UploadStatus | DownloadStatus, **about: Any) -> Meter:
    """What progress shows of an upload or a download. `about`: what its caller knows besides."""
    about.setdefault("waiting", lambda seconds: clean(status.reason(span_words(seconds))))
    return Meter(count=lambda: status.moved, messages=lambda: status.messages, **about)


def say_early(count: int | None) -> None:
    """What became of a stream of which a COMMAND wanted no more (`early` of `download`)."""
    if count is None:
        console.notice("COMMAND finished early; reading the rest to verify it (--stop-early skips this)")
    else:
        console.notice(f"stopped early: {format_bytes(count)} read, the rest was neither read nor verified")

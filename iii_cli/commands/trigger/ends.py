"""What the streams of a trigger come from and go to: FILEs, stdin and stdout, COMMANDs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

from iii_cli.client.streams import Demand, Supply
from iii_cli.commands.stream_specs import command_word
from iii_cli.commands.streams import spawn, watch_producers
from iii_cli.io.process import DEVNULL, PIPE, ConsumerSink, prepare_command, shell_command
from iii_cli.io.sinks import open_output
from iii_cli.io.sources import Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from iii_cli.commands.stream_specs import StreamSpec
    from iii_cli.io.process import Child
    from iii_cli.io.sinks import Sink

__all__ = ("SourceEnd", "TargetEnd")


@final
class SourceEnd:
    """The SOURCE of `--in`. FILEs are open from the beginning; a COMMAND starts when the call is made."""

    def __init__(self, spec: StreamSpec, *, pass_on: bool, stdin_taken: bool, producer: str) -> None:
        """Raises LocalProblem, UsageProblem and CommandNotFound: whatever can be known before the call."""
        self._pass_on = pass_on
        self._stdin = DEVNULL if stdin_taken else None
        self._source: Source | None = None
        self._command = spec.command
        if self._command is not None:
            prepare_command(shell_command(self._command))
        else:
            self._source = Source.stdin() if spec.is_standard else Source.open_file(spec.place)
            self._conclude = watch_producers(producer, [self._source])

    @property
    def size(self) -> int | None:
        """In bytes, where it is known."""
        return self._source.size if self._source is not None else None

    @property
    def asks_a_person(self) -> bool:
        """Would reading wait for somebody at the terminal?"""
        return self._source is not None and self._source.is_terminal

    def close(self) -> None:
        """Give FILE back."""
        if self._source is not None:
            self._source.close()

    @asynccontextmanager
    async def supply(self) -> AsyncIterator[Supply]:
        """What feeds the stream."""
        if self._source is not None:
            yield Supply([self._source], self._conclude)
            return
        assert self._command is not None
        argv, name = shell_command(self._command), command_word(self._command)
        async with spawn(argv, name=name, stdin=self._stdin, stdout=PIPE) as child:
            assert child.stdout is not None
            yield Supply([child.stdout], _ended_well(child, self._pass_on))


@final
class TargetEnd:
    """The TARGET of `--out` or `--read`. Checked at once, opened by `ready`."""

    def __init__(self, spec: StreamSpec, *, no_clobber: bool, keep_partial: bool, pass_on: bool) -> None:
        """Raises LocalProblem, UsageProblem and CommandNotFound."""
        self._pass_on = pass_on
        self._command = spec.command
        self._sink: Sink | None = None
        if self._command is not None:
            prepare_command(shell_command(self._command))
        else:
            path = None if spec.is_standard else spec.place
            self._sink = open_output(path, no_clobber=no_clobber, keep_partial=keep_partial)

    async def ready(self) -> None:
        """Open FILE. Raises LocalProblem."""
        if self._sink is not None:
            await self._sink.open()

    def dismiss(self) -> None:
        """Undo `ready`, after anything but a good end."""
        if self._sink is not None:
            self._sink.discard()

    @asynccontextmanager
    async def demand(self) -> AsyncIterator[Demand]:
        """What the stream feeds."""
        if self._sink is not None:
            yield Demand(self._sink)
            return
        assert self._command is not None
        async with spawn(shell_command(self._command), name=command_word(self._command), stdin=PIPE) as child:
            ended_well = _ended_well(child, self._pass_on)
            yield Demand(ConsumerSink(child), beside=ended_well, conclude=ended_well)


def _ended_well(child: Child, pass_on: bool) -> Callable[[], Awaitable[None]]:
    async def ended_well() -> None:
        await child.wait()
        failure = child.failure(pass_on=pass_on)
        if failure is not None:
            raise failure

    return ended_well

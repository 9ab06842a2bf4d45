"""Where the data goes: standard output, or `-o FILE`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

from iii_cli.errors import LocalProblem
from iii_cli.terminal.outfile import OutFile
from iii_cli.terminal.sinks import Buffer, Sink, StdoutSink
from iii_cli.terminal.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("TerminalGuard", "TerminalText", "open_output", "share_a_file")


@final
class TerminalGuard(Sink):
    """Keep binary data off a person's terminal: the first NUL ends it (design.md section 3)."""

    def __init__(self, inner: Sink) -> None:
        self.name = inner.name
        self._inner = inner

    @property
    def durable(self) -> bool:
        return self._inner.durable

    async def open(self) -> None:
        await self._inner.open()

    async def write(self, chunk: Buffer) -> None:
        """Write what comes before a NUL. Raises LocalProblem if there is one, and as the inner sink does."""
        data = bytes(chunk)
        text, nul, _ = data.partition(b"\0")
        await self._inner.write(text)
        self.bytes_written += len(text)
        if nul:
            raise LocalProblem(
                "binary data (a NUL byte), which the terminal does not get",
                hint="`-o FILE` saves it, `-o -` shows it all the same",
            )

    async def finish(self) -> None:
        await self._inner.finish()

    def discard(self) -> None:
        self._inner.discard()


@final
class TerminalText(Sink):
    """Text of a worker on a person's terminal: nothing in it moves the cursor (design.md section 3)."""

    def __init__(self, inner: Sink) -> None:
        self.name = inner.name
        self._inner = inner

    @property
    def durable(self) -> bool:
        return self._inner.durable

    async def write(self, chunk: Buffer) -> None:
        """Write whole messages. Raises as the inner sink does."""
        text = clean(bytes(chunk).decode(errors="replace"), keep_newlines=True)
        await self._inner.write(text.encode())
        self.bytes_written += len(chunk)

    async def finish(self) -> None:
        await self._inner.finish()

    def discard(self) -> None:
        self._inner.discard()


def share_a_file(paths: Sequence[str]) -> bool:
    """Do two of the paths name the same FILE, however they are spelled? A device takes more than one."""
    files = [os.path.realpath(path) for path in paths if os.path.isfile(path) or not os.path.exists(path)]
    return len(set(files)) < len(files)


def open_output(
    path: str | None, *, no_clobber: bool = False, keep_partial: bool = False, text: bool = False
) -> Sink:
    """The sink for `-o PATH`, checked but not yet opened. None: stdout, guarded if it is a terminal.

    `-` is stdout as it is. `text`: whole text messages of a worker will come, which a terminal gets clean.
    Raises UsageProblem and LocalProblem.
    """
    if path is None:
        sink = StdoutSink()
        if not sink.is_terminal:
            return sink
        return TerminalText(sink) if text else TerminalGuard(sink)
    if path == "-":
        return StdoutSink()
    return OutFile.prepare(path, no_clobber=no_clobber, keep_partial=keep_partial)

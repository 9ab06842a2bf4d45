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

__all__ = ("TerminalGuard", "open_output", "share_a_file")


@final
class TerminalGuard(Sink):
    """Keep off a person's terminal what is not for it (design.md section 3).

    Bytes are shown as they are, up to the first NUL: what follows is no text. Text messages of a worker are
    shown without what would move the cursor.
    """

    def __init__(self, inner: Sink) -> None:
        self.name = inner.name
        self._inner = inner
        self._is_text = False

    @property
    def durable(self) -> bool:
        return self._inner.durable

    async def open(self) -> None:
        await self._inner.open()

    def expect_text(self) -> None:
        self._is_text = True

    async def write(self, chunk: Buffer) -> None:
        """Write what may be shown. Raises LocalProblem at a NUL among bytes, and as the inner sink does."""
        data, nul = bytes(chunk), b""
        if self._is_text:
            await self._inner.write(clean(data.decode(errors="replace"), keep_newlines=True).encode())
        else:
            data, nul, _ = data.partition(b"\0")
            await self._inner.write(data)
        self.bytes_written += len(data)
        if nul:
            raise LocalProblem(
                "binary data (a NUL byte), which the terminal does not get",
                hint="`-o FILE` saves it, `-o -` shows it all the same",
            )

    async def finish(self) -> None:
        await self._inner.finish()

    def discard(self) -> None:
        self._inner.discard()


def share_a_file(paths: Sequence[str]) -> bool:
    """Do two of the paths name the same FILE, however they are spelled? A device takes more than one."""
    files = [os.path.realpath(path) for path in paths if os.path.isfile(path) or not os.path.exists(path)]
    return len(set(files)) < len(files)


def open_output(path: str | None, *, no_clobber: bool = False, keep_partial: bool = False) -> Sink:
    """The sink for `-o PATH`, checked but not yet opened. None: stdout, guarded if it is a terminal.

    `-` is stdout as it is. Raises UsageProblem and LocalProblem.
    """
    if path is None:
        sink = StdoutSink()
        return TerminalGuard(sink) if sink.is_terminal else sink
    if path == "-":
        return StdoutSink()
    return OutFile.prepare(path, no_clobber=no_clobber, keep_partial=keep_partial)

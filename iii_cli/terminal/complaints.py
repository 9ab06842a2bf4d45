"""What a COMMAND says on its stderr: shown line by line, and the end of it kept."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, final

import anyio

from iii_cli.errors import LocalProblem
from iii_cli.terminal.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Complaints",)

TAIL_BYTES = 4096
LINE_BYTES = 4096  # a longer line is shown in parts
REST_SECONDS = 0.1  # a grandchild may hold the pipe open for ever


@final
class Complaints:
    """A pipe for the command's stderr. Give `fd` to the command, then call `started`, and run `follow`."""

    def __init__(self, show: Callable[[str], None]) -> None:
        """`show` takes whole lines, without their newline, and must not wait. Raises LocalProblem."""
        self._show = show
        self._tail = bytearray()
        self._line = bytearray()
        self._over = anyio.Event()
        try:
            read, self.fd = os.pipe()
        except OSError as error:
            raise LocalProblem(f"cannot make a pipe: {error.strerror}") from None
        self._source = Source.from_fd(read, owned=True, name="the stderr of the command")

    @property
    def tail(self) -> str:
        """The last 4 KiB, from the start of a line where there is one."""
        text = bytes(self._tail)
        if len(text) == TAIL_BYTES and b"\n" in text[:-1]:
            text = text.partition(b"\n")[2]
        return text.decode(errors="replace")

    def started(self) -> None:
        """The command has its own copy of the descriptor by now."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    async def follow(self) -> None:
        """Show what comes until every writer has left."""
        buffer = memoryview(bytearray(TAIL_BYTES))
        try:
            with suppress(LocalProblem):
                while count := await self._source.read_into(buffer):
                    self._take(bytes(buffer[:count]))
        finally:
            self._over.set()

    async def rest(self) -> None:
        """After the command's end: wait for what is still in the pipe, for a moment at most."""
        with anyio.move_on_after(REST_SECONDS):
            await self._over.wait()

    def close(self) -> None:
        """Show an unfinished line, and close the pipe. Safe to repeat."""
        if self._line:
            self._emit(bytes(self._line))
            self._line.clear()
        self.started()
        self._source.close()

    def _take(self, data: bytes) -> None:
        self._tail += data
        del self._tail[:-TAIL_BYTES]
        self._line += data
        *lines, rest = bytes(self._line).split(b"\n")
        if len(rest) > LINE_BYTES:
            lines, rest = [*lines, rest], b""
        self._line[:] = rest
        for line in lines:
            self._emit(line)

    def _emit(self, line: bytes) -> None:
        self._show(line.decode(errors="replace"))

"""Where bytes come from: stdin, files, pipes."""

from __future__ import annotations

import os
import stat
import time

import anyio
from anyio.lowlevel import checkpoint

from iii_cli.errors import LocalProblem, cannot_read
from iii_cli.io.descriptors import Descriptor, Kind, descriptor_named

__all__ = ("Source", "TimeSlice")

SLICE_SECONDS = 0.005  # a time-out may fire this much late; a checkpoint for each MiB would cost two percent


class TimeSlice:
    """How long a loop that never has to wait goes on before the event loop has control again."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = time.monotonic()

    async def yield_if_over(self) -> None:
        """Let the event loop run once if the slice is over. Cancelled here, nothing has been moved."""
        if time.monotonic() - self._since >= SLICE_SECONDS:
            await checkpoint()
            self._since = time.monotonic()


class Source:
    """A stream of bytes from a descriptor. One reader at a time.

    `name` is what people call it; `bytes_read` counts what `read_into` returned. `size`: bytes from the
    current offset to the end of a regular file; None where that is not known.
    """

    def __init__(self, fd: int, *, name: str, owned: bool, wait_first: bool = False) -> None:
        """`owned`: close() closes it. `wait_first`: no writer yet does not mean the end.

        Raises LocalProblem where it is not open for reading.
        """
        self.name = name
        self.bytes_read = 0
        self._ended = False
        self._reading = False
        self._closed = False
        self._slice = TimeSlice()
        try:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise cannot_read(name, "it is a folder")
            self._descriptor = Descriptor(fd, owned=owned, for_writing=False, reopen=not wait_first)
        except OSError:
            raise cannot_read(name, "it is closed") from None
        self.size: int | None = None
        if self._descriptor.kind is Kind.FILE and (total := os.fstat(fd).st_size):
            # Files of /proc say 0 and have more to give; an empty file loses nothing by saying nothing.
            self.size = max(0, total - os.lseek(fd, 0, os.SEEK_CUR))

    @classmethod
    def stdin(cls) -> Source:
        """Descriptor 0, as the shell gave it to us. Raises LocalProblem where it is closed."""
        return cls(0, name="standard input", owned=False)

    @classmethod
    def open_file(cls, path: str) -> Source:
        """Open FILE now. `/dev/stdin` and `/dev/fd/N` are the descriptors that they name.

        A FIFO is opened without waiting for its writer. Raises LocalProblem.
        """
        named = descriptor_named(path)
        if named is not None:
            return cls(named, name=path, owned=False)
        try:
            # Non-blocking, because a FIFO without a writer, or a modem line, would hang in open().
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise cannot_read(path, error) from None
        try:
            return cls(fd, name=path, owned=True, wait_first=True)
        except LocalProblem:
            os.close(fd)
            raise

    @property
    def fd(self) -> int:
        """The descriptor, as it was given."""
        return self._descriptor.fd

    @property
    def is_terminal(self) -> bool:
        """Would a read wait for a person?"""
        return self._descriptor.kind is Kind.TERMINAL

    @property
    def has_producer(self) -> bool:
        """Does somebody else's end look like the end of the data, as it does in a pipe?"""
        return self._descriptor.kind in {Kind.PIPE, Kind.SOCKET}

    @property
    def short_by(self) -> int:
        """After the end: how many bytes a regular file gave less than its size promised, 0 if none."""
        return max(0, self.size - self.bytes_read) if self._ended and self.size is not None else 0

    async def read_into(self, view: memoryview) -> int:
        """Fill the start of `view` with what is there, at least a byte; 0 means the end of the data.

        Waits while nothing is there. Cancelled while waiting, it has read nothing, and no byte is lost.
        Raises LocalProblem for a read error.
        """
        if not len(view):
            raise ValueError("no room to read into")
        if self._ended:
            return 0  # a terminal would ask its person for more
        self._reading = True
        try:
            await self._slice.yield_if_over()
            while (count := self._descriptor.read(view)) is None:
                await anyio.wait_readable(self._descriptor.ready_fd)
        except OSError as error:
            raise cannot_read(self.name, error) from None
        finally:
            self._reading = False
            if self._closed:
                self._descriptor.close()
        self.bytes_read += count
        self._ended = self._ended or count == 0
        return count

    def close(self) -> None:
        """Give back what was opened here, and the descriptor itself if it is ours. Safe to repeat.

        Does not wake a reader: cancel it. The descriptor lives until it has gone; closed under a waiter, its
        number would go to the next socket, and the waiter's clean-up would take that one's registration.
        """
        self._closed = True
        if not self._reading:
            self._ended = True
            self._descriptor.close()

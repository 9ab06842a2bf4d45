"""Where bytes come from: stdin, files, pipes."""

from __future__ import annotations

import os
import select
import socket
import stat
import time
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from iii_cli.errors import LocalProblem, cannot_read
from iii_cli.io.descriptors import Kind, descriptor_named, grow_pipe, kind_of, own_description, readable
from iii_cli.net.sockets import wait_readable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Source", "Turns")


TURN_SECONDS = 0.005  # a time-out may fire this much late; a checkpoint for each MiB would cost two percent


class Turns:
    """Count the time since the event loop last had control."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = time.monotonic()

    async def give(self) -> None:
        """Let the event loop run once if a turn's time has passed. Cancelled here, nothing has been moved."""
        if time.monotonic() - self._since >= TURN_SECONDS:
            await checkpoint()
            self._since = time.monotonic()


STDIN_NAME = "standard input"


class Source:
    """A stream of bytes from a descriptor. One reader at a time.

    `name` is what people call it; `bytes_read` counts what `read_into` returned.
    """

    def __init__(self, fd: int, *, name: str, owned: bool, wait_first: bool = False) -> None:
        """Use `open_file`, `stdin` or `from_fd`. `wait_first`: no writer yet does not mean the end."""
        self.name = name
        self.bytes_read = 0
        self._fd = fd
        self._owned = owned
        self._own: int | None = None
        self._socket: socket.socket | None = None
        self._ended = False
        self._reading = False
        self._closed = False
        self._turns = Turns()
        self._kind = self._checked_kind()
        self.size = self._size()
        self._attempt = self._choose(wait_first)

    @classmethod
    def stdin(cls) -> Source:
        """Descriptor 0, as the shell gave it to us. Raises LocalProblem where it is closed."""
        return cls(0, name=STDIN_NAME, owned=False)

    @classmethod
    def from_fd(cls, fd: int, *, owned: bool, name: str = "the pipe") -> Source:
        """Any descriptor. `owned`: close() closes it.

        Raises LocalProblem where it is not open for reading.
        """
        return cls(fd, name=name, owned=owned)

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

    size: int | None
    """Bytes from the current offset to the end of a regular file; None where that is not known."""

    @property
    def fd(self) -> int:
        """The descriptor, as it was given."""
        return self._fd

    @property
    def is_terminal(self) -> bool:
        """Would a read wait for a person?"""
        return self._kind is Kind.TERMINAL

    @property
    def has_producer(self) -> bool:
        """Does somebody else's end look like the end of the data, as it does in a pipe?"""
        return self._kind in {Kind.PIPE, Kind.SOCKET}

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
            await self._turns.give()
            while (count := self._attempt_or_none(view)) is None:
                await self._wait()
        except OSError as error:
            raise cannot_read(self.name, error) from None
        finally:
            self._reading = False
            if self._closed:
                self._release()
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
            self._release()

    def _release(self) -> None:
        self._ended = True
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        if self._own is not None:
            os.close(self._own)
            self._own = None
        if self._owned:
            self._owned = False
            os.close(self._fd)

    def _attempt_or_none(self, view: memoryview) -> int | None:
        try:
            return self._attempt(view)
        except BlockingIOError:
            return None

    async def _wait(self) -> None:
        await wait_readable(self._fd if self._own is None else self._own)

    def _checked_kind(self) -> Kind:
        try:
            if stat.S_ISDIR(os.fstat(self._fd).st_mode):
                raise cannot_read(self.name, "it is a folder")
            if readable(self._fd):
                return kind_of(self._fd)
        except OSError:
            pass
        raise cannot_read(self.name, "it is closed")

    def _size(self) -> int | None:
        if self._kind is not Kind.FILE:
            return None
        total = os.fstat(self._fd).st_size
        # Files of /proc say 0 and have more to give; an empty file loses nothing by saying nothing.
        return max(0, total - os.lseek(self._fd, 0, os.SEEK_CUR)) if total else None

    def _choose(self, wait_first: bool) -> Callable[[memoryview], int]:
        if self._kind in {Kind.FILE, Kind.BLOCK}:
            return self._read
        if self._kind is Kind.SOCKET:
            self._socket = socket.socket(fileno=self._fd)
            return self._receive
        if self._kind is Kind.PIPE:
            grow_pipe(self._fd)
            if not wait_first:
                self._own = own_description(self._fd, os.O_RDONLY)
        return self._polled_read if self._own is None else self._read

    def _read(self, view: memoryview) -> int:
        return os.readv(self._fd if self._own is None else self._own, [view])

    def _receive(self, view: memoryview) -> int:
        assert self._socket is not None
        return self._socket.recv_into(view, 0, socket.MSG_DONTWAIT)

    def _polled_read(self, view: memoryview) -> int:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(0):
            raise BlockingIOError
        return os.readv(self._fd, [view])

"""Bytes that go out: stdout, a descriptor, the input of a command (house.md 4.4).

No thread in the data path, and every write an attempt that cannot block: see Outlet. A stalled pipe makes
the writer wait, never the loop.
"""

from __future__ import annotations

import errno
import os
import select
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from iii_cli.errors import LocalProblem
from iii_cli.terminal.descriptors import Kind
from iii_cli.terminal.outlet import Outlet
from iii_cli.terminal.talk import talk
from iii_cli.terminal.turns import Turns
from iii_cli.transport.readiness import wait_writable

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("Buffer", "DescriptorSink", "Sink", "StdoutSink", "cannot_write", "flush_to_disk")

Buffer = bytes | bytearray | memoryview

JOIN_BYTES = 64 << 10  # below this one copy is cheaper than one more system call
SLOW_SYNC_BYTES = 8 << 20  # a flush of more than this may take seconds, which the loop cannot spare


class Sink(ABC):
    """Where bytes go. One writer at a time. Ends with either `finish` or `discard`.

    Opens itself at the first write; `open` does it earlier, so that a failure costs no channel end.
    """

    name: str
    bytes_written: int = 0

    @property
    @abstractmethod
    def durable(self) -> bool:
        """Are the bytes on a disk once `finish` has returned? What a receipt may promise."""

    def has_readers(self) -> bool:
        """Does anybody hold the other end of it, where it is a pipe?"""
        return False

    async def open(self) -> None:
        """Be ready for the first byte. Safe to repeat and to leave out. Raises LocalProblem."""
        return

    def expect_text(self) -> None:  # noqa: B027 - for those that a person looks at
        """From now on every chunk is whole text messages of a worker."""

    @abstractmethod
    async def write(self, chunk: Buffer) -> None:
        """Write all of it. Cancelled, a part may have been written; `bytes_written` says how much.

        Raises LocalProblem (a full disk, an I/O error) and BrokenPipeError (the reader left).
        """

    async def write_many(self, chunks: Iterable[Buffer]) -> None:
        """Write all of them in order, small ones together. Raises and loses as `write`."""
        waiting: list[Buffer] = []
        size = 0
        for chunk in chunks:
            if waiting and size + len(chunk) > JOIN_BYTES:
                await self.write(_joined(waiting))
                waiting, size = [], 0
            waiting.append(chunk)
            size += len(chunk)
        await self.write(_joined(waiting))

    def judge(self, status: int, *, verified: bool, count: int) -> None:  # noqa: B027 - few can pass it on
        """Before `finish`: how the stream ended, as an exit status, and how many bytes it had."""

    @abstractmethod
    async def finish(self) -> None:
        """The data is complete: flush and close, and hear what that has to say. Raises LocalProblem."""

    @abstractmethod
    def discard(self) -> None:
        """The data is not complete: close, and leave nothing that looks whole. Safe to repeat."""


class DescriptorSink(Sink):
    """A descriptor that may be a file, a pipe, a socket, a terminal or a device."""

    def __init__(self, fd: int, *, name: str, owned: bool) -> None:
        """`owned`: finish() and discard() close it. Raises LocalProblem where it is not open for writing."""
        self.name = name
        self._fd = fd
        self._owned = owned
        self._writing = False
        self._discarded = False
        self._turns = Turns()
        try:
            self._outlet = Outlet(fd)
        except OSError:
            raise LocalProblem(f"cannot write to {name}: it is closed") from None

    @property
    def durable(self) -> bool:
        return self._outlet.kind in {Kind.FILE, Kind.BLOCK}

    @property
    def is_terminal(self) -> bool:
        """Does a person read this?"""
        return self._outlet.kind is Kind.TERMINAL

    def has_readers(self) -> bool:
        if self._discarded or self._outlet.kind is not Kind.PIPE:
            return False
        poll = select.poll()
        poll.register(self._outlet.ready_fd, 0)  # errors and hang-ups are told unasked
        return not poll.poll(0)

    async def write(self, chunk: Buffer) -> None:
        rest = memoryview(chunk).cast("B")
        self._writing = True
        try:
            while rest:
                await self._turns.give()
                rest = rest[await self._write_some(rest) :]
        except (BrokenPipeError, ConnectionResetError) as error:
            raise BrokenPipeError(error.errno, "the reader left") from None
        except OSError as error:
            raise cannot_write(self.name, error) from None
        finally:
            self._writing = False
            if self._discarded:
                self.discard()

    async def _write_some(self, rest: memoryview) -> int:
        while True:
            try:
                count = self._outlet.offer(rest)
            except BlockingIOError:
                await wait_writable(self._outlet.ready_fd)
            else:
                self.bytes_written += count
                return count

    async def finish(self) -> None:
        try:
            if self.durable:
                await flush_to_disk(self._fd, self.bytes_written)
            # Network file systems report late write errors at close(), the close of a duplicate included.
            os.close(os.dup(self._fd))
            self._close()
        except OSError as error:
            raise cannot_write(self.name, error) from None
        finally:
            self.discard()

    def discard(self) -> None:
        """Close it. Does not wake a writer: cancel it. The descriptor lives until it has gone, see Source."""
        self._discarded = True
        if self._writing:
            return
        try:
            self._close()
        except OSError:
            return  # the data is given up anyway

    def _close(self) -> None:
        try:
            self._outlet.close()
        finally:
            if self._owned:
                self._owned = False
                os.close(self._fd)


class StdoutSink(DescriptorSink):
    """Descriptor 1, as the shell gave it to us. Raises LocalProblem where it is closed."""

    def __init__(self) -> None:
        super().__init__(1, name="standard output", owned=False)

    async def write(self, chunk: Buffer) -> None:
        await super().write(chunk)
        if self.is_terminal:
            talk.data_was_shown(bytes(chunk[-1:]))


async def flush_to_disk(fd: int, bytes_written: int) -> None:
    """fsync. Cancelled, it waits for the disk all the same. Raises OSError."""
    try:
        if bytes_written < SLOW_SYNC_BYTES:
            os.fsync(fd)
        else:
            await anyio.to_thread.run_sync(os.fsync, fd)
    except OSError as error:
        if error.errno not in {
            errno.EINVAL,
            errno.ENOTSUP,
        }:  # fsync(2): nothing behind it that could be flushed
            raise


def _joined(chunks: list[Buffer]) -> Buffer:
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def cannot_write(name: str, error: OSError) -> LocalProblem:
    """The one line for a failed write to `name`."""
    return LocalProblem(f"cannot write to {name}: {error.strerror or error}")

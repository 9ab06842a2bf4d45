"""Where bytes go: stdout, pipes, terminals."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from typing import final

import anyio
import anyio.to_thread

from iii_cli.errors import LocalProblem, cannot_write
from iii_cli.io.console import clean, console
from iii_cli.io.descriptors import Descriptor, Kind, is_ready
from iii_cli.io.sources import TimeSlice

__all__ = (
    "Buffer",
    "DescriptorSink",
    "Sink",
    "StdoutSink",
    "TerminalGuard",
    "flush_to_disk",
)

Buffer = bytes | bytearray | memoryview

STORED = {Kind.FILE, Kind.BLOCK}
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
        self._writing = False
        self._closed = False
        self._slice = TimeSlice()
        try:
            self._descriptor = Descriptor(fd, owned=owned, for_writing=True)
        except OSError:
            raise cannot_write(name, "it is closed") from None

    @property
    def durable(self) -> bool:
        return self._descriptor.kind in STORED

    @property
    def is_terminal(self) -> bool:
        """Does a person read this?"""
        return self._descriptor.kind is Kind.TERMINAL

    def has_readers(self) -> bool:
        if self._closed or self._descriptor.kind is not Kind.PIPE:
            return False
        return not is_ready(self._descriptor.ready_fd, 0)

    async def write(self, chunk: Buffer) -> None:
        rest = memoryview(chunk).cast("B")
        self._writing = True
        try:
            while rest:
                await self._slice.yield_if_over()
                while (count := self._descriptor.write(rest)) is None:
                    await anyio.wait_writable(self._descriptor.ready_fd)
                self.bytes_written += count
                rest = rest[count:]
        except (BrokenPipeError, ConnectionResetError) as error:
            raise BrokenPipeError(error.errno, "the reader left") from None
        except OSError as error:
            raise cannot_write(self.name, error) from None
        finally:
            self._writing = False
            if self._closed:
                self.close()

    async def finish(self) -> None:
        try:
            if self._descriptor.kind in STORED:
                await flush_to_disk(self._descriptor.fd, self.bytes_written)
            self._descriptor.close()
        except OSError as error:
            raise cannot_write(self.name, error) from None
        finally:
            self.close()

    def discard(self) -> None:
        self.close()

    def close(self) -> None:
        """Close it. Does not wake a writer: cancel it. The descriptor lives until it has gone, see Source."""
        self._closed = True
        if self._writing:
            return
        try:
            self._descriptor.close()
        except OSError:
            return  # the data is given up anyway


class StdoutSink(DescriptorSink):
    """Descriptor 1, as the shell gave it to us. Raises LocalProblem where it is closed."""

    def __init__(self) -> None:
        super().__init__(1, name="standard output", owned=False)

    async def write(self, chunk: Buffer) -> None:
        await super().write(chunk)
        if self.is_terminal:
            console.data_was_shown(bytes(chunk[-1:]))


@final
class TerminalGuard(Sink):
    """Keep off a person's terminal what is not for it (docs: design, "Sinks").

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


async def flush_to_disk(fd: int, bytes_written: int) -> None:
    """fsync. Cancelled, it waits for the disk all the same. Raises OSError."""
    try:
        if bytes_written < SLOW_SYNC_BYTES:
            os.fsync(fd)
        else:
            await anyio.to_thread.run_sync(os.fsync, fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # fsync(2): nothing that could be flushed
            raise
    # Network file systems report late write errors at close(), the close of a duplicate included.
    os.close(os.dup(fd))

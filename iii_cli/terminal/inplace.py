"""`-o FILE` where FILE is not a regular file: `/dev/null`, a FIFO, a disk."""

from __future__ import annotations

import errno
import os
from typing import final

import anyio

from iii_cli.terminal.sinks import Buffer, DescriptorSink, Sink, cannot_write

__all__ = ("InPlaceFile",)

FIRST_WAIT, LONGEST_WAIT = 0.005, 0.2  # seconds between two looks at a FIFO that nobody reads yet


@final
class InPlaceFile(Sink):
    """Written where it is. There is nothing to rename, so a failure may leave a part behind."""

    def __init__(self, path: str, *, is_fifo: bool) -> None:
        self.name = path
        self._is_fifo = is_fifo
        self._sink: DescriptorSink | None = None
        self._closed = False

    @property
    def durable(self) -> bool:
        return self._sink is not None and self._sink.durable

    async def open(self) -> None:
        """Waits for the reader of a FIFO, which can be cancelled. Raises LocalProblem."""
        wait = FIRST_WAIT
        while self._sink is None and not self._closed:
            try:
                fd = os.open(self.name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            except OSError as error:
                if not (self._is_fifo and error.errno == errno.ENXIO):
                    raise cannot_write(self.name, error) from None
                await anyio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                self._sink = DescriptorSink(fd, name=self.name, owned=True)

    async def write(self, chunk: Buffer) -> None:
        await self.open()
        assert self._sink is not None
        try:
            await self._sink.write(chunk)
        finally:
            self.bytes_written = self._sink.bytes_written

    async def finish(self) -> None:
        """Opens it even for no bytes at all: the reader of a FIFO waits for its end."""
        await self.open()
        assert self._sink is not None
        await self._sink.finish()

    def discard(self) -> None:
        self._closed = True
        if self._sink is not None:
            self._sink.discard()

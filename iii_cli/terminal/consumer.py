"""The stdin of a COMMAND that consumes a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from iii_cli.terminal.sinks import Sink

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iii_cli.terminal.children import Child
    from iii_cli.terminal.sinks import Buffer

__all__ = ("ConsumerSink",)


@final
class ConsumerSink(Sink):
    """Writes into a child's stdin, and closes it only for a good end.

    `discard` does nothing on purpose: a closed stdin would look to the child like the end of the data.
    Whoever runs the child stops it first (`Child.terminate`).
    """

    durable = True  # what was consumed by a COMMAND that ended with 0 is where it should be

    def __init__(self, child: Child) -> None:
        assert child.stdin is not None
        self._stdin = child.stdin
        self.name = child.stdin.name

    async def write(self, chunk: Buffer) -> None:
        await self._stdin.write(chunk)

    def has_readers(self) -> bool:
        return self._stdin.has_readers()

    async def write_many(self, chunks: Iterable[Buffer]) -> None:
        await self._stdin.write_many(chunks)

    async def finish(self) -> None:
        await self._stdin.finish()

    def discard(self) -> None:
        return

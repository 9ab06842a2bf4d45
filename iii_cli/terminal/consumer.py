"""The stdin of a COMMAND that consumes a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from iii_cli.terminal.sinks import Sink

if TYPE_CHECKING:
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
        self._child = child
        self._verdict: dict[str, object] | None = None
        self._stdin = child.stdin
        self.name = child.stdin.name

    async def write(self, chunk: Buffer) -> None:
        try:
            await self._stdin.write(chunk)
        finally:
            self.bytes_written = self._stdin.bytes_written

    def has_readers(self) -> bool:
        return self._stdin.has_readers()

    def judge(self, status: int, *, verified: bool, count: int) -> None:
        self._verdict = {"exit": status, "verified": verified, "bytes": count}

    async def finish(self) -> None:
        await self._stdin.finish()
        self._child.let_go(self._verdict)

    def discard(self) -> None:
        return

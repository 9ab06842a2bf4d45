"""A writer and a reader of one new channel, run to their ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.program import Program

__all__ = ("Ended", "transfer")


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    status: int
    out: bytes
    err: str


def transfer(
    iii: Program, write: Sequence[str], read: Sequence[str] = (), stdin: bytes = b""
) -> tuple[Ended, Ended]:
    """`channel write` with these words, and `channel read` with those."""
    writer, reader = iii.channel()
    with iii.start("channel", "read", reader, *read) as reading:
        wrote = iii.run("channel", "write", writer, *write, stdin=stdin)
        out, err = reading.communicate(timeout=iii.limit)
    return (
        Ended(wrote.returncode, wrote.stdout, wrote.stderr.decode()),
        Ended(reading.returncode, out, err.decode()),
    )

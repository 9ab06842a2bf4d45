"""What all connections together hold of messages that are not whole yet.

One connection may hold 64 MiB, the largest message there is, and thousands of them could do so without ever
ending it. What a frame of ours takes is not counted: a crowd of writers, each amid one, is no attack.
"""

from __future__ import annotations

from typing import final

from iii_cli.errors import PeerMisbehaved
from iii_cli.protocol.frames import FRAME_BYTES_MAX

__all__ = ("Share", "Unfinished")


@final
class Unfinished:
    """The count, and how far it may go."""

    __slots__ = ("bytes", "limit")

    def __init__(self, limit: int) -> None:
        self.bytes = 0
        self.limit = limit


@final
class Share:
    """One connection's part in it."""

    __slots__ = ("_counted", "_of")

    def __init__(self, of: Unfinished) -> None:
        self._of = of
        self._counted = 0

    def hold(self, size: int) -> None:
        """The connection holds this much now. Raises PeerMisbehaved where that is too much for the engine."""
        counted = max(size - FRAME_BYTES_MAX, 0)
        more, self._counted = counted - self._counted, counted
        self._of.bytes += more
        if more > 0 and self._of.bytes > self._of.limit:
            raise PeerMisbehaved("the engine holds too much of unfinished messages")

"""Giving memory back to the system after a crowd has left.

Theory of operation. Three things keep a crowd's memory after it has left. A connection's tasks and scopes
refer to each other, so they wait for the garbage collector, which may not come for hours when nothing
happens. What the C library got back it keeps until it is asked. And Python takes memory for small objects by
the MiB and returns a MiB only once nothing in it is left, so what is made amid the crowd and stays, however
small, costs one each. Measured after 3,000 connections: 30 MiB at the start, 60 after them, of which 29 were
held by some hundred small objects; most were the finished iterators of awaited futures, of which asyncio
keeps the last 255 for later.

So everything that stays is made before anybody comes, as far as that is ours to say: listening sockets are
registered once (`each_time_readable`), a handshake has no timer of its own, counts are kept in objects that
last. What is made anew all the time is moved out of the crowd's memory at last (reserve.py). Together: 31 MiB
at the start, 35 after the crowd and after the next one.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from iii_cli.engine.reserve import Reserve

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Tidy", "reuse_memory")

CROWD = 128  # connections that have ended since the last time: fewer are not worth the pause
STILL_A_CROWD = 4  # where more than a quarter of those who left are still here, memory stays in use anyway
ITERATORS_KEPT = 255  # by asyncio, in C; where it keeps fewer or none, taking them does no harm
FRAMES_KEPT = 8 << 20  # bytes; twice this much may be unused at the top of the heap


def reuse_memory() -> None:
    """Let the memory of one frame serve the next.

    glibc gives the top of its heap back as soon as 128 KiB of it are unused, so each frame of 1 MiB was asked
    of the system anew, page by page: a fifth of what the engine did. It learns better by seeing a large piece
    come and go (mallopt(3), M_MMAP_THRESHOLD). No page of that piece is touched.
    """
    bytes(FRAMES_KEPT)


class Tidy:
    """Notices that many connections have ended. It is made before the first one comes, in the event loop."""

    def __init__(self) -> None:
        self._ended = 0
        self._before = 0
        self._again = False
        self._trim = _find_trim()
        self._future: asyncio.Future[None] | None = None
        with suppress(RuntimeError):  # not asyncio
            self._future = asyncio.get_running_loop().create_future()
        self._iterators = self._take_iterators()
        self._reserve = Reserve()

    def connection_ended(self) -> None:
        """One more."""
        self._ended += 1

    async def look(self, connected: int) -> None:
        """Called twice a second or so. Acts once a crowd has left and the leaving has ceased.

        `connected`: how many connections there still are. Cancelling does no harm.
        """
        if self._ended >= CROWD and self._ended == self._before:
            mostly_gone = connected < self._ended // STILL_A_CROWD
            self._ended = 0
            gc.collect()
            self._exchange_iterators()
            if mostly_gone:
                await self._reserve.move_in()
            self._trim(0)
            self._again = mostly_gone
        elif self._again:
            self._again = False
            await self._reserve.move_in()  # what was in use the first time
            self._trim(0)
        self._before = self._ended

    def _take_iterators(self) -> list[Any]:
        future = self._future
        return [] if future is None else [future.__await__() for _ in range(ITERATORS_KEPT)]

    def _exchange_iterators(self) -> None:
        """asyncio gives away the crowd's and keeps our early ones, which are then taken back."""
        crowds = self._take_iterators()
        self._iterators.clear()
        crowds.clear()
        self._iterators.extend(self._take_iterators())


def _find_trim() -> Callable[[int], object]:
    """`malloc_trim` of the C library, or nothing where it has none: only glibc does."""
    import ctypes

    with suppress(AttributeError, OSError):
        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
        return trim
    return abs

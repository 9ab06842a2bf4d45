"""Places for small objects in memory from before a crowd.

Theory of operation. CPython takes small objects from pools of 16 KiB, of one size each, which lie in arenas
of 1 MiB; an arena goes back to the system once nothing in it is left (Objects/obmalloc.c). Some objects are
never gone for long: the timer that comes twice a second, its future, the event loop's note of who runs. Each
is made anew where the last one was, or where any pool of its size has room. So the few that are alive when a
crowd has left stay where the crowd was, for ever, and hold an arena each.

Hence some pools are held from the start. When the crowd has left they are let go, and every place that is
free in any other pool is filled, size by size, until an object lands in one of them: what is made from then
on is made there. After a few turns of the event loop everything that comes and goes has moved, and the
fillers go too. Python itself keeps some freed objects for their next use, the last one first; those lists are
filled to the brim meanwhile, or the same places would come back for ever. With another allocator all of this
does nothing.
"""

from __future__ import annotations

import gc

import anyio
from anyio.lowlevel import checkpoint

__all__ = ("Reserve",)

SIZES = range(32, 513, 16)  # bytes; what is smaller is never alone, what is larger is the C library's
POOL = 16 << 10
POOLS = 40  # one for each size that may be needed, and some
FILLERS_MAX = 1 << 20  # bytes of a size; a crowd of thousands leaves places for a tenth of it
TURNS = 8  # of the event loop, two each: what is in use in one turn is not in the next
TUPLES_KEPT, TUPLE_LENGTHS, DICTS_KEPT = 2000, range(1, 6), 80  # by Python, for their next use


class Reserve:
    """Pools that nothing else is in."""

    def __init__(self) -> None:
        self._held: list[bytes] = []
        self._fillers: list[object] = []
        self._hold()

    async def move_in(self) -> None:
        """Have made in the reserve what is always made anew, then hold a new one.

        To be called when little is left of a crowd. Takes a few dozen milliseconds, in which others run.
        Cancelling leaves it half done, which harms nothing.
        """
        pools = frozenset(id(thing) // POOL for thing in self._held)
        gc.freeze()  # there is no garbage to search for: collecting is to empty Python's own lists
        try:
            self._held.clear()
            for _ in range(TURNS):
                if not self._fill(pools):  # again each time: what was just left is the first to be taken
                    break
                _fill_lists()
                await anyio.sleep(0.001)
                _fill_lists()
                await checkpoint()
                gc.collect()
        finally:
            gc.unfreeze()
            self._fillers.clear()
            gc.collect()
            self._hold()

    def _hold(self) -> None:
        self._held.extend(_object_of(SIZES[-1]) for _ in range(POOLS * (POOL // SIZES[-1])))

    def _fill(self, pools: frozenset[int]) -> bool:
        """Leave no place outside of `pools`. False: this is not the allocator that it was made for."""
        for size in SIZES:
            for number in range(FILLERS_MAX // size):
                filler = _object_of(size) if size > SIZES[0] else float(number)
                self._fillers.append(filler)
                if id(filler) // POOL in pools:
                    break
            else:
                return False
        return True


def _object_of(size: int) -> bytes:
    return bytes(size - 33)


def _fill_lists() -> None:
    """Let Python keep as many freed tuples and dicts as it ever does."""
    for length in TUPLE_LENGTHS:
        tuples = [(number,) * length for number in range(TUPLES_KEPT)]
        tuples.clear()
    dicts = [{number: number} for number in range(DICTS_KEPT)]
    dicts.clear()

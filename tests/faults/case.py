"""A case of the fault suite: what happens to a sealed stream, where, and what may come of it.

Which exit statuses a case may end with is written down in each case. What must never happen, whatever the
case, is in `never.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tests.faults.place import PARTS, Place

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.faults.proxy import Act, End

__all__ = (
    "ANY_WRITER",
    "BIG",
    "COMMAND",
    "CUT",
    "DIFFERS",
    "FAILED",
    "LEFT",
    "LOST",
    "OK",
    "SEED",
    "SIZES",
    "SLOW",
    "SPENT",
    "Case",
    "Source",
    "Target",
    "Victim",
    "is_before",
    "places",
    "reader_statuses",
)

Victim = Literal["writer", "reader", "server", "engine", "nobody"]
Source = Literal["file", "stdin", "producer"]
Target = Literal["file", "stdout", "consumer", "served"]

SEED = 20260
SIZES = (0, 1, 1000, 70_000, 1 << 20, (1 << 20) + 1, 3_000_000, 9_000_000)
BIG = SIZES[-2:]  # more than sockets and queues hold, so that somebody waits for somebody

OK, FAILED, LOST, SPENT, CUT, DIFFERS, LEFT, COMMAND, SLOW = 0, 1, 3, 6, 7, 8, 9, 11, 124
ANY_WRITER = frozenset({OK, LOST, SPENT, CUT, LEFT, SLOW, FAILED})
CUTS = ("fin", "half", "reset", "stall")  # nothing behind the place arrives


@dataclass(frozen=True, slots=True)
class Case:
    """One stream and its misfortune. `writer` and `reader` are the exit statuses that it may end with.

    A `victim` is killed with `signal` when the stream is at the place; `at_once` says that the stream stands
    still there until the victim has ended. `feed` is the producer's script and `script` the consumer's, with
    the files `in` and `out`. `failing` says that the writer never means to end well, `vanishing` that it is
    left without a word while its connection stands, and `early` that the consumer does not want everything;
    then the reader `may_miss` the misfortune, because it left before.
    """

    family: str
    reader: frozenset[int]
    writer: frozenset[int] = ANY_WRITER
    size: int = 1000
    end: End = "write"
    place: Place | None = None
    act: Act = "call"
    bit: int = 0
    amount: int = 1
    victim: Victim = "nobody"
    signal: int = 0
    at_once: bool = False
    source: Source = "file"
    target: Target = "file"
    receipt: bool = False
    stop_early: bool = False
    buffer: int = 64
    limit: str | None = None  # --stall-timeout
    limits: str = ""  # those that only tests shorten
    feed: str = ""
    script: str = ""
    failing: bool = False
    vanishing: bool = False
    early: bool = False
    may_miss: bool = False
    lines: int = 0  # --lines, with so many
    records: bool = False  # they are those of --jsonl, every other one binary
    number: int = 0

    def __str__(self) -> str:
        where = f"-{self.end}-{self.place}" if self.place else ""
        return f"{self.number:04}-{self.family}{where}"

    @property
    def endless(self) -> bool:
        """Does the end of the stream never reach the reader?"""
        if self.place is None or not is_before(self.place, "close"):
            return self.failing
        return self.failing or self.act in CUTS or (self.at_once and self.victim in ("reader", "server"))


def is_before(place: Place, frame: str) -> bool:
    """Does the place lie before the last byte of that frame has passed?"""
    order = ("open", "data", "close", "goodbye")
    here, there = order.index(place.frame), order.index(frame)
    return here < there or (here == there and place.part != "end")


def places(chance: random.Random, size: int, lines: int = 0) -> Iterator[Place]:
    """One in each part of each frame that the stream has."""
    for frame in ("open", "data", "close", "goodbye"):
        for part in PARTS:
            if frame == "data" and not size:
                continue
            nth = chance.randrange(lines or (size - 1 >> 20) + 1) if frame == "data" else 0
            yield Place(frame, part, nth, chance.random())


def reader_statuses(place: Place, act: Act, end: End) -> frozenset[int]:
    """What a reader makes of a connection, the writer's or its own, that is cut there.

    A reset of the writer's strikes about there. One of the reader's may take with it what has arrived and
    was not read yet.
    """
    if end == "read":
        if is_before(place, "close"):
            return frozenset({CUT})
        return frozenset({OK, CUT} if act == "reset" else {OK})
    if act == "reset":
        return frozenset({OK, SPENT, CUT})
    if is_before(place, "open"):
        return frozenset({SPENT})
    return frozenset({CUT if is_before(place, "close") else OK})

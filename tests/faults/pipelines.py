"""Whole pipelines, `cat in | iii channel write`, whose processes are signalled one by one or all together.

Each is struck in the middle of its stream, so the reader never has everything: whatever comes first, and
however long after that the next one. That of a pipeline only the last program before the pipe is seen is
known (`iii help seals`): so `cat` never ends first where `gzip` would turn its end into a good one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from signal import SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, SIGUSR1, Signals
from typing import TYPE_CHECKING, Literal

from tests.faults.case import COMMAND, CUT, OK, SEED
from tests.faults.place import PARTS, Place

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("CI_PIPELINES", "PIPELINES", "Pipeline", "Program", "Strike")

Program = Literal["cat", "gzip", "iii"]
GAP = 0.2  # seconds between two signals, at most

WELL = 3_000_000  # bytes of what is not struck
ENDLESS = 1 << 28  # of zeros, of which no more is read than the buffers between `cat` and the place hold
NOISE = 1 << 25  # for gzip, which is slow with it: as much never passes before the place


@dataclass(frozen=True, slots=True)
class Strike:
    """A signal to one program, or to the whole job, and how long after it the next one comes."""

    program: Program | Literal["job"]
    signal: Signals
    gap: float = 0.0


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline, its strikes from the place on, and the exit statuses that may come of them.

    `reaped`: its parent takes notice of every death at once; else the dead are zombies until `iii` has ended.
    `in_script`: the parent is a shell, which is struck with the job.
    """

    family: str
    programs: tuple[Program, ...]
    writer: frozenset[int]
    reader: frozenset[int] = frozenset({CUT})
    place: Place | None = None
    strikes: tuple[Strike, ...] = ()
    reaped: bool = False
    in_script: bool = False
    number: int = 0

    # what never.py asks for
    source: str = "pipe"
    target: str = "file"
    victim: str = "writer"
    receipt: bool = False
    early: bool = False
    stop_early: bool = False

    def __str__(self) -> str:
        return f"p{self.number:03}-{self.family}{f'-{self.place}' if self.place else ''}"

    @property
    def size(self) -> int:
        if not self.strikes:
            return WELL
        return NOISE if "gzip" in self.programs else ENDLESS

    @property
    def endless(self) -> bool:
        return bool(self.strikes)


CAT: tuple[Program, ...] = ("cat", "iii")
GZIP: tuple[Program, ...] = ("cat", "gzip", "iii")
ORDERS: tuple[tuple[tuple[Program, ...], tuple[Program, ...]], ...] = (
    (CAT, ("cat", "iii")),
    (CAT, ("iii", "cat")),
    (CAT, ("cat",)),
    (GZIP, ("gzip", "cat", "iii")),
    (GZIP, ("gzip", "iii", "cat")),
    (GZIP, ("iii", "gzip", "cat")),
    (GZIP, ("gzip",)),
)
TRIES = {CAT: 8, GZIP: 2}  # of each order with each signal


def _statuses(strikes: tuple[Strike, ...]) -> frozenset[int]:
    """The producer's death may be noticed before our own signal comes; then that is what it was."""
    ours = [strike.signal for strike in strikes if strike.program in ("iii", "job")]
    found = {-signum if signum in (SIGKILL, SIGQUIT) else 128 + signum for signum in ours}
    return frozenset(found if strikes[0].program == "iii" else found | {COMMAND})


def _place(chance: random.Random) -> Place:
    return Place("data", chance.choice(PARTS), chance.randrange(10), chance.random())


def _one_by_one(chance: random.Random) -> Iterator[Pipeline]:
    for programs, order in ORDERS:
        for first in (SIGTERM, SIGINT, SIGKILL, SIGHUP):
            for _ in range(TRIES[programs]):
                others = chance.choice((first, chance.choice((SIGTERM, SIGINT, SIGKILL, SIGHUP))))
                strikes = tuple(
                    Strike(program, others if at else first, chance.uniform(0, GAP))
                    for at, program in enumerate(order)
                )
                yield Pipeline(
                    f"{first.name}-{'-'.join(order)}", programs, _statuses(strikes), place=_place(chance),
                    strikes=strikes, reaped=chance.random() < 0.5,
                )  # fmt: skip


def _all_together(chance: random.Random) -> Iterator[Pipeline]:
    """A signal to the job, of which ours for progress is one: it kills `cat` and not us."""
    for programs in (CAT, GZIP):
        for signum in (SIGUSR1, SIGUSR1, SIGUSR1, SIGUSR1, SIGTERM, SIGINT, SIGHUP, SIGQUIT):
            for in_script in (False, True):
                strikes = (Strike("job", signum),)
                writer = frozenset({COMMAND}) if signum == SIGUSR1 else _statuses(strikes)
                yield Pipeline(
                    f"{signum.name}-{'script' if in_script else 'job'}", programs,
                    frozenset({-signum}) if in_script else writer, place=_place(chance),
                    strikes=strikes, reaped=chance.random() < 0.5, in_script=in_script,
                )  # fmt: skip


def _left_alone(_: random.Random) -> Iterator[Pipeline]:
    for programs in (CAT, GZIP):
        for in_script in (False, True):
            yield Pipeline("well", programs, frozenset({OK}), frozenset({OK}), in_script=in_script)


def _all() -> tuple[Pipeline, ...]:
    chance = random.Random(SEED)
    made = [each for family in (_one_by_one, _all_together, _left_alone) for each in family(chance)]
    return tuple(replace(each, number=number) for number, each in enumerate(made))


PIPELINES = _all()
CI_PIPELINES = frozenset(random.Random(SEED).sample(range(len(PIPELINES)), len(PIPELINES) // 10))

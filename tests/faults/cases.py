"""The cases of the fault suite: what happens to a sealed stream, where, and what may come of it.

Which exit statuses a case may end with is written down here, case by case. What must never happen, whatever
the case, is in `running.py`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from tests.faults.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.proxy import Act, End

__all__ = ("CASES", "CI_CASES", "Case", "Victim")

Victim = Literal["writer", "reader", "engine", "nobody"]
Source = Literal["file", "stdin", "producer"]
Target = Literal["file", "stdout", "consumer"]

SEED = 20260
SIZES = (0, 1, 1000, 70_000, 1 << 20, (1 << 20) + 1, 3_000_000, 9_000_000)
BIG = SIZES[-2:]  # more than sockets and queues hold, so that somebody waits for somebody

OK, LOST, SPENT, CUT, DIFFERS, LEFT, COMMAND, SLOW = 0, 3, 6, 7, 8, 9, 11, 124
ANY_WRITER = frozenset({OK, LOST, SPENT, CUT, LEFT, SLOW, 1})


@dataclass(frozen=True, slots=True)
class Case:
    """One stream and its misfortune. `writer` and `reader` are the exit statuses that it may end with.

    A `victim` is killed with `signal` when the stream is at the place. `script` is the producer's or the
    consumer's, with the files `in` and `out`; `failing` says that the writer never means to end well.
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
    source: Source = "file"
    target: Target = "file"
    receipt: bool = False
    buffer: int = 64
    limit: str | None = None  # --stall-timeout
    script: str = ""
    failing: bool = False
    lines: int = 0  # --lines, with so many
    number: int = 0

    def __str__(self) -> str:
        where = f"-{self.end}-{self.place}" if self.place else ""
        return f"{self.number:03}-{self.family}{where}"


def _is_before(place: Place, frame: str) -> bool:
    """Does the place lie before the last byte of that frame has passed?"""
    order = ("open", "data", "close", "goodbye")
    here, there = order.index(place.frame), order.index(frame)
    return here < there or (here == there and place.part != "end")


def _places(chance: random.Random, size: int, lines: int = 0) -> Iterator[Place]:
    """One in each part of each frame that the stream has."""
    for frame in ("open", "data", "close", "goodbye"):
        for part in ("header", "payload", "end"):
            if frame == "data" and not size:
                continue
            nth = chance.randrange(lines or (size - 1 >> 20) + 1) if frame == "data" else 0
            yield Place(frame, part, nth, chance.random())


def _is_past(end: End, place: Place) -> bool:
    """Is there nothing left to happen? A reader leaves at the close frame."""
    return place.frame == "goodbye" and (end == "read" or place.part == "end")


def _cuts(chance: random.Random) -> Iterator[Case]:
    """FIN, half a FIN and RST, in each part of each frame, on the way up and on the way down."""
    acts: tuple[Act, ...] = ("fin", "half", "reset")
    for act in acts:
        for size in chance.sample(SIZES, 2):
            for place in _places(chance, size):
                upwards = _after_writer_cut(place, exact=act != "reset")
                yield Case(act, upwards, size=size, place=place, act=act)
                if place.frame != "goodbye":  # a reader leaves at the close frame
                    yield Case(
                        act, _after_reader_cut(place, act), size=size, end="read", place=place, act=act
                    )


def _after_writer_cut(place: Place, *, exact: bool) -> frozenset[int]:
    """What a reader makes of a writer whose connection ends there; not exact: about there."""
    if not exact:
        return frozenset({OK, SPENT, CUT})
    if _is_before(place, "open"):
        return frozenset({SPENT})
    return frozenset({CUT if _is_before(place, "close") else OK})


def _after_reader_cut(place: Place, act: Act) -> frozenset[int]:
    """A reset may take with it what has arrived and was not read yet."""
    if _is_before(place, "close"):
        return frozenset({CUT})
    return frozenset({OK, CUT} if act == "reset" else {OK})


def _damage(chance: random.Random) -> Iterator[Case]:
    """Bits flipped, bytes lost and doubled: never a success with other bytes, and never a hang."""
    bad = frozenset({SPENT, CUT, DIFFERS, SLOW, OK})
    acts: tuple[Act, ...] = ("flip", "flip", "lose", "repeat")
    for act in acts:
        for size in chance.sample(SIZES[1:], 2):
            for place in _places(chance, size):
                for end in ("write", "read"):
                    if _is_past(end, place):
                        continue
                    yield Case(
                        act, bad, size=size, end=end, place=place, act=act, bit=chance.randrange(8),
                        amount=chance.choice((1, 2, 100)), limit="1s",
                    )  # fmt: skip


def _patience(chance: random.Random) -> Iterator[Case]:
    """Delays and splits harm nothing; a proxy that stands still and never closes ends in 124."""
    whole = frozenset({OK})
    for size in chance.sample(SIZES, 3):
        for place in _places(chance, size):
            end: End = chance.choice(("write", "read"))
            if _is_past(end, place):
                continue
            act: Act = chance.choice(("delay", "split"))
            yield Case(act, whole, whole, size=size, end=end, place=place, act=act)
    for end in ("write", "read"):
        for place in _places(chance, BIG[0]):
            if _is_past(end, place):
                continue
            open_ended = _is_before(place, "close")
            reader = frozenset({SLOW, CUT, SPENT}) if open_ended else whole
            yield Case("stall", reader, size=BIG[0], end=end, place=place, act="stall", limit="1s")


def _murders(chance: random.Random) -> Iterator[Case]:
    """kill -9 and its milder kin, while the stream is at a place."""
    for signal, statuses in ((9, {-9, OK}), (15, {143, OK}), (2, {130, OK}), (1, {129, OK})):
        for size in (chance.choice(SIZES[:5]), chance.choice(BIG)):
            for place in _places(chance, size):
                if signal != 9 and place.part != "payload":
                    continue
                yield Case(
                    f"writer-{signal}", frozenset({OK, SPENT, CUT}), frozenset(statuses), size=size,
                    place=place, victim="writer", signal=signal, source=chance.choice(("file", "stdin")),
                )  # fmt: skip
                if place.frame != "goodbye":
                    yield Case(
                        f"reader-{signal}", frozenset(statuses), frozenset({OK, LEFT}), size=size, end="read",
                        place=place, victim="reader", signal=signal,
                    )  # fmt: skip
    for signal in (9, 15):
        for place in _places(chance, BIG[0]):
            end: End = chance.choice(("write", "read"))
            if _is_past(end, place):
                continue
            yield Case(
                f"engine-{signal}", frozenset({OK, LOST, CUT, SPENT}), frozenset({OK, LOST, LEFT}),
                size=BIG[0], end=end, place=place, victim="engine", signal=signal,
            )  # fmt: skip


def _commands(chance: random.Random) -> Iterator[Case]:
    """Producers that fail, consumers that fail, and consumers of streams that are cut."""
    aborted, failed = frozenset({CUT}), frozenset({COMMAND})
    for size in (0, 1000, 70_000, BIG[0]):
        for end in ("kill -9 $$", "kill -15 $$", "exit 3"):
            yield Case(
                "producer", aborted, failed, size=size, source="producer", failing=True,
                script=f"head -c {chance.randint(0, size)} in; {end}",
            )  # fmt: skip
        yield Case(
            "producer-well", frozenset({OK}), frozenset({OK}), size=size, source="producer", script="cat in"
        )
        yield Case(
            "consumer", frozenset({COMMAND}), frozenset({OK, LEFT}), size=size, target="consumer",
            script="head -c 10 > out; exit 3",
        )  # fmt: skip
        for act in ("fin", "reset", "call"):
            place = chance.choice([place for place in _places(chance, size) if _is_before(place, "close")])
            reader = _after_writer_cut(place, exact=act == "fin")
            yield Case(
                "consumer-cut", reader, ANY_WRITER | {-9}, size=size, place=place, act=act,
                victim="writer" if act == "call" else "nobody", signal=9, target="consumer",
                script="cat > out && echo whole > whole",
            )  # fmt: skip


def _receipts(chance: random.Random) -> Iterator[Case]:
    """write --receipt ends with 0 only when the reader's file is there under its name."""
    for size in (0, 1000, BIG[0]):
        yield Case("receipt", frozenset({OK}), frozenset({OK}), size=size, receipt=True)
        for place in _places(chance, size):
            if place.frame == "goodbye" or place.part == "header":
                continue
            yield Case(
                "receipt-reader-9", frozenset({-9, OK}), frozenset({OK, LEFT}),
                size=size, end="read", place=place, victim="reader", signal=9, receipt=True,
            )  # fmt: skip
            act: Act = chance.choice(("fin", "half", "reset"))
            reader = _after_reader_cut(place, act)
            yield Case(
                f"receipt-{act}", reader, size=size, end="read", place=place, act=act, receipt=True
            )  # fmt: skip


def _messages(chance: random.Random) -> Iterator[Case]:
    """The same for text messages: --lines, read as the seal says."""
    acts: tuple[Act, ...] = ("fin", "reset", "delay", "flip", "lose", "repeat")
    for act in acts:
        size, lines = chance.choice(((1000, 50), (500_000, 20_000)))
        for place in _places(chance, size, lines):
            end: End = chance.choice(("write", "read"))
            if _is_past(end, place):
                continue
            reader = frozenset({OK}) if act == "delay" else frozenset({OK, SPENT, CUT, DIFFERS, SLOW})
            if act == "fin":
                reader = (
                    _after_reader_cut(place, act) if end == "read" else _after_writer_cut(place, exact=True)
                )
            yield Case(
                f"lines-{act}", reader, size=size, lines=lines, end=end, place=place, act=act,
                bit=chance.randrange(8), amount=chance.choice((1, 2, 100)), limit="1s",
            )  # fmt: skip


def _all() -> tuple[Case, ...]:
    chance = random.Random(SEED)
    families = (_cuts, _damage, _patience, _murders, _commands, _receipts, _messages)
    cases = [case for family in families for case in family(chance)]
    plain = [
        replace(
            case,
            number=number,
            buffer=chance.choice((1, 2, 64)),
            target="stdout"
            if case.target == "file" and not case.receipt and chance.random() < 0.25
            else case.target,
        )
        for number, case in enumerate(cases)
    ]
    return tuple(plain)


CASES = _all()
CI_CASES = frozenset(random.Random(SEED).sample(range(len(CASES)), len(CASES) // 3))

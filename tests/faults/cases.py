"""The cases of the fault suite: every family of misfortunes on the way, and the choice that CI runs.

What a case is stands in `case.py`; the families that are about who consumes are in `consumers.py`, whole
pipelines in `pipelines.py`.
"""

from __future__ import annotations

import random
from dataclasses import replace
from signal import SIGSTOP
from typing import TYPE_CHECKING

from tests.faults.case import (
    ANY_WRITER,
    BIG,
    COMMAND,
    CUT,
    DIFFERS,
    LEFT,
    LOST,
    OK,
    SEED,
    SIZES,
    SLOW,
    SPENT,
    Case,
    is_before,
    places,
    reader_statuses,
)
from tests.faults.consumers import early_consumers, struck_consumers
from tests.faults.place import PARTS, Place
from tests.faults.reframing import REFRAMINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.proxy import Act, End

    Family = Callable[[random.Random], Iterator[Case]]

__all__ = ("CASES", "CI_CASES")


def _is_past(end: End, place: Place) -> bool:
    """Is there nothing left to happen? A reader leaves at the close frame."""
    return place.frame == "goodbye" and (end == "read" or place.part == "end")


def _cuts(chance: random.Random) -> Iterator[Case]:
    """FIN, half a FIN and RST, in each part of each frame, on the way up and on the way down."""
    acts: tuple[Act, ...] = ("fin", "half", "reset")
    for act in acts:
        for size in chance.sample(SIZES, 2):
            for place in places(chance, size):
                upwards = reader_statuses(place, act, "write")
                yield Case(act, upwards, size=size, place=place, act=act)
                if place.frame != "goodbye":  # a reader leaves at the close frame
                    yield Case(
                        act, reader_statuses(place, act, "read"), size=size, end="read", place=place, act=act
                    )


def _damage(chance: random.Random) -> Iterator[Case]:
    """Bits flipped, bytes lost and doubled: never a success with other bytes, and never a hang."""
    bad = frozenset({SPENT, CUT, DIFFERS, SLOW, OK})
    acts: tuple[Act, ...] = ("flip", "flip", "lose", "repeat")
    for act in acts:
        for size in chance.sample(SIZES[1:], 2):
            for place in places(chance, size):
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
        for place in places(chance, size):
            end: End = chance.choice(("write", "read"))
            if _is_past(end, place):
                continue
            act: Act = chance.choice(("delay", "split"))
            yield Case(act, whole, whole, size=size, end=end, place=place, act=act)
    for end in ("write", "read"):
        for place in places(chance, BIG[0]):
            if _is_past(end, place):
                continue
            open_ended = is_before(place, "close")
            reader = frozenset({SLOW, CUT, SPENT}) if open_ended else whole
            yield Case("stall", reader, size=BIG[0], end=end, place=place, act="stall", limit="1s")


def _murders(chance: random.Random) -> Iterator[Case]:
    """kill -9 and its milder kin, while the stream is at a place."""
    for signal, statuses in ((9, {-9, OK}), (15, {143, OK}), (2, {130, OK}), (1, {129, OK})):
        for size in (chance.choice(SIZES[:5]), chance.choice(BIG)):
            for place in places(chance, size):
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
        for place in places(chance, BIG[0]):
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
                feed=f"head -c {chance.randint(0, size)} in; {end}",
            )  # fmt: skip
        yield Case(
            "producer-well", frozenset({OK}), frozenset({OK}), size=size, source="producer", feed="cat in"
        )
        yield Case(
            "consumer", frozenset({COMMAND}), frozenset({OK, LEFT}), size=size, target="consumer",
            script="head -c 10 > out; exit 3",
        )  # fmt: skip
        for act in ("fin", "reset", "call"):
            place = chance.choice([place for place in places(chance, size) if is_before(place, "close")])
            reader = reader_statuses(place, "fin" if act == "fin" else "reset", "write")
            yield Case(
                "consumer-cut", reader, ANY_WRITER | {-9}, size=size, place=place, act=act,
                victim="writer" if act == "call" else "nobody", signal=9, target="consumer",
                script="cat > out && echo whole > whole",
            )  # fmt: skip


def _receipts(chance: random.Random) -> Iterator[Case]:
    """write --receipt ends with 0 only when the reader's file is there under its name."""
    for size in (0, 1000, BIG[0]):
        yield Case("receipt", frozenset({OK}), frozenset({OK}), size=size, receipt=True)
        for place in places(chance, size):
            if place.frame == "goodbye" or place.part == "header":
                continue
            yield Case(
                "receipt-reader-9", frozenset({-9, OK}), frozenset({OK, LEFT}),
                size=size, end="read", place=place, victim="reader", signal=9, receipt=True,
            )  # fmt: skip
            act: Act = chance.choice(("fin", "half", "reset"))
            reader = reader_statuses(place, act, "read")
            yield Case(
                f"receipt-{act}", reader, size=size, end="read", place=place, act=act, receipt=True
            )  # fmt: skip


def _messages(chance: random.Random) -> Iterator[Case]:
    """The same for text messages: --lines, read as the seal says."""
    acts: tuple[Act, ...] = ("fin", "reset", "delay", "flip", "lose", "repeat")
    for act in acts:
        size, lines = chance.choice(((1000, 50), (500_000, 20_000)))
        for place in places(chance, size, lines):
            end: End = chance.choice(("write", "read"))
            if _is_past(end, place):
                continue
            reader = frozenset({OK}) if act == "delay" else frozenset({OK, SPENT, CUT, DIFFERS, SLOW})
            if act == "fin":
                reader = reader_statuses(place, act, end)
            yield Case(
                f"lines-{act}", reader, size=size, lines=lines, end=end, place=place, act=act,
                bit=chance.randrange(8), amount=chance.choice((1, 2, 100)), limit="1s",
            )  # fmt: skip


def _reframed(chance: random.Random) -> Iterator[Case]:
    """Other borders on the way: harmless where bytes are meant, never a success where frames are data."""
    whole, bad = frozenset({OK}), frozenset({CUT, DIFFERS})
    streams = (  # bytes, lines, records, and the last frame that has two frames of data behind it
        (9_000_000, 0, False, 6),
        (1000, 50, False, 47),
        (500_000, 20_000, False, 19_997),
        (20_000, 60, True, 27),
    )
    for size, lines, records, last in streams:
        for act in REFRAMINGS:
            harmless = () if records else ("empty-binary",) if lines else ("empty-binary", "join", "halve")
            reader, writer = (whole, whole) if act in harmless else (bad, ANY_WRITER)
            for end in ("write", "read"):
                nths = (None, chance.randrange(last), chance.randrange(last), last)
                for nth in nths:
                    place = Place("open", "end") if nth is None else Place("data", "end", nth)
                    yield Case(
                        f"{'records' if records else 'lines' if lines else 'bytes'}-{act}", reader, writer,
                        size=size, lines=lines, records=records, end=end, place=place, act=act,
                    )  # fmt: skip


def _reframed_ends(chance: random.Random) -> Iterator[Case]:
    """The same with the frame that closes the seal."""
    for act in ("empty-binary", "empty-text", "halve", "swap"):
        for end in ("write", "read"):
            harmless = act == "empty-binary"
            yield Case(
                f"close-{act}", frozenset({OK} if harmless else {CUT, DIFFERS}), size=chance.randint(1, 1000),
                end=end, place=Place("data", "end"), act=act,
            )  # fmt: skip


BRIEF, BRIEF_PAUSE = "silence=1,beat=0.2", 1.5  # a pause is longer than the silence that counts


def _vanishing(chance: random.Random) -> Iterator[Case]:
    """A writer that says nothing any more, its connection standing: the reader ends, before any beat too."""
    gone, silenced = frozenset({CUT}), frozenset({-9})
    endless = "cat in; exec sleep 30"
    takes = "cat >out && echo whole >whole"
    for size in (1000, 70_000, BIG[0]):
        for place in (Place("open", "end"), *(Place("data", part) for part in PARTS)):
            yield Case(
                "vanish-stopped", gone, silenced, size=size, place=place, victim="writer", signal=SIGSTOP,
                source="producer", feed=endless, failing=True, vanishing=True, limits=BRIEF,
                target=chance.choice(("file", "consumer")), script=takes,
            )  # fmt: skip
        for end in ("write", "read"):
            for place in places(chance, size):
                if is_before(place, "open") or not is_before(place, "close"):
                    continue  # what has not begun is not sealed
                yield Case(
                    "vanish-stall", gone, ANY_WRITER | silenced, size=size, end=end, place=place, act="stall",
                    vanishing=True, limits=BRIEF, target=chance.choice(("file", "consumer")), script=takes,
                )  # fmt: skip
        yield Case(
            "beating", frozenset({OK}), frozenset({OK}), size=size, source="producer", limits=BRIEF,
            feed=f"head -c 100 in; sleep {BRIEF_PAUSE}; tail -c +101 in",
        )  # fmt: skip


QUICK_ONES: tuple[Family, ...] = (_cuts, _damage, _patience, _murders, _commands, _receipts, _messages)
SLOW_ONES: tuple[Family, ...] = (_reframed, _reframed_ends, _vanishing, early_consumers, struck_consumers)


def _all() -> tuple[Case, ...]:
    chance = random.Random(SEED)
    cases = [case for family in (*QUICK_ONES, *SLOW_ONES) for case in family(chance)]
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
_quick = sum(1 for family in QUICK_ONES for _ in family(random.Random(SEED)))
CI_CASES = frozenset(
    random.Random(SEED).sample(range(_quick), _quick // 3)
    + random.Random(SEED).sample(range(_quick, len(CASES)), (len(CASES) - _quick) // 10)
)

"""Cases about who consumes: a COMMAND that wants no more, and one whose `iii` is struck by a signal."""

from __future__ import annotations

import signal
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from tests.faults.case import ANY_WRITER, COMMAND, CUT, FAILED, LEFT, OK, Case, reader_statuses
from tests.faults.place import PARTS, Place

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from tests.faults.case import Target, Victim
    from tests.faults.proxy import Act, End

__all__ = ("early_consumers", "struck_consumers")

SIZES = (2000, 70_000, 1 << 20, 9_000_000)
HEAD = 1000  # bytes of the first frame: the rest is held back until the consumer has made `gone`

Fate = Literal["well", "exit", "kill", "cut"]  # of the writer
# What each does once it has enough. The last one waits for the verdict.
EARLY = {
    "ends": "touch gone",
    "fails": "touch gone; exit 3",
    "closes": 'exec <&-; touch gone; cat <&"$III_STREAM_STATUS" >status',
}
FATES: tuple[tuple[Fate, Act, End], ...] = (  # the act: of a cut
    ("well", "call", "write"),
    ("exit", "call", "write"),
    ("kill", "call", "write"),
    ("cut", "fin", "write"),
    ("cut", "half", "write"),
    ("cut", "reset", "write"),
    ("cut", "fin", "read"),
    ("cut", "reset", "read"),
    ("cut", "call", "write"),  # kill -9 of the writer
)

# Nothing is faster: it reads to the end, then makes a file. It is ready when it has the first byte.
TAKER = "head -c 1 >out; touch gone; cat >>out && echo whole >whole"
WHEREABOUTS = {
    "alone": TAKER,
    "behind a pipe": f"cat | sh -c '{TAKER}'",
    "in a session of its own": f"exec setsid sh -c '{TAKER}'",
    "in the background of another session": f"exec 3<&0; setsid sh -c '{TAKER}' <&3 & wait",
    "in a group of its own": f"exec bash -c 'set -m; sh -c \"{TAKER}\" & wait'",
    "left behind": f"(setsid sh -c '{TAKER}' <&3 &) 3<&0; exit 0",
}
STRIKES = (signal.SIGKILL, signal.SIGQUIT, signal.SIGUSR2, signal.SIGALRM, signal.SIGXCPU)


def _held(ending: str = "") -> str:
    """A producer whose rest comes after the consumer has had enough, or is ready."""
    return f"head -c {HEAD} in; until [ -e gone ]; do sleep 0.01; done; tail -c +{HEAD + 1} in{ending}"


def _later(chance: random.Random) -> Place:
    """A place in what was held back."""
    part = chance.choice(PARTS)
    if chance.random() < 0.3:
        return Place("close", part, 0, chance.random())
    return Place("data", part, 1, chance.random())


def early_consumers(chance: random.Random) -> Iterator[Case]:
    """A consumer that wants no more does not end the judgement, unless --stop-early says so."""
    for name, ending in EARLY.items():
        for size in SIZES:
            for fate, act, end in FATES:
                case = Case(
                    f"early-{name}-{fate}", frozenset({OK}), ANY_WRITER | {COMMAND, -9}, size=size, end=end,
                    act=act, source="producer", target="consumer", early=True,
                    script=f"head -c {chance.randrange(HEAD)} >out; {ending}",
                    feed=_held({"exit": "; exit 3", "kill": "; kill -9 $$"}.get(fate, "")),
                    failing=fate in ("exit", "kill"), receipt=chance.random() < 0.4,
                    stop_early=chance.random() < 0.2,
                )  # fmt: skip
                if fate == "cut":
                    victim: Victim = "writer" if act == "call" else "nobody"
                    case = replace(case, place=_later(chance), victim=victim, signal=signal.SIGKILL,
                        may_miss=name == "fails" or case.stop_early)  # fmt: skip
                yield replace(case, reader=_early_reader(case, name), writer=_early_writer(case, name, fate))


def _early_reader(case: Case, consumer: str) -> frozenset[int]:
    if case.place is not None:
        judged = reader_statuses(case.place, "reset" if case.act == "call" else case.act, case.end)
    else:
        judged = frozenset({CUT if case.failing else OK})
    if consumer == "fails":  # it counts, but may not have been noticed yet
        return frozenset({COMMAND}) if judged == {OK} else frozenset({COMMAND, CUT})
    return judged | {OK} if case.stop_early else judged


def _early_writer(case: Case, consumer: str, fate: Fate) -> frozenset[int]:
    if fate == "well" and consumer != "fails" and not case.stop_early:
        return frozenset({OK})
    return case.writer


def struck_consumers(chance: random.Random) -> Iterator[Case]:
    """No consumer outlives its `iii` with half a stream for the whole, wherever it hides."""
    places: tuple[tuple[Target, Victim], ...] = (("consumer", "reader"), ("served", "server"))
    for target, victim in places:
        for where, script in WHEREABOUTS.items():
            size = chance.choice(SIZES)
            well = Case(
                f"well-{target}-{where}".replace(" ", "-"), frozenset({OK}), frozenset({OK}), size=size,
                source="producer", feed=_held(), target=target, script=script,
            )  # fmt: skip
            yield well
            for strike in STRIKES:
                for _ in range(3 if strike is signal.SIGKILL else 1):
                    yield replace(
                        well, family=f"{victim}-{strike.name}-{where}".replace(" ", "-"),
                        reader=frozenset({-strike} if victim == "reader" else {FAILED, LEFT}),
                        writer=ANY_WRITER, size=chance.choice(SIZES), end="read", place=_before_end(chance),
                        victim=victim, signal=strike, at_once=True,
                    )  # fmt: skip


def _before_end(chance: random.Random) -> Place:
    """A place in what was held back, at which something is still to come."""
    while (place := _later(chance)).frame == "close" and place.part == "end":
        pass
    return place

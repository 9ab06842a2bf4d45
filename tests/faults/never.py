"""What must never happen, whatever the misfortune and whatever runs the case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ("Arrived", "Ending", "Tried", "never", "untold")

Arrived = Literal["whole", "part", "nothing", "other"]

KNOWN = frozenset({"in", "out", "whole", "gone", "status"})  # and what the processes say
KILLED = -9


class Tried(Protocol):
    """What a case says of itself, as far as it matters here."""

    @property
    def size(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def victim(self) -> str: ...
    @property
    def receipt(self) -> bool: ...
    @property
    def endless(self) -> bool:
        """The end of the stream never reaches the reader."""

    @property
    def early(self) -> bool:
        """The consumer does not want everything."""

    @property
    def stop_early(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Ending:
    """What is there when all is over. Exit statuses are those of a shell; None had to be killed."""

    statuses: dict[str, int | None]
    arrived: Arrived
    files: frozenset[str]  # besides what the processes say
    running: Sequence[str]  # programs that were left behind
    verdict: str = ""  # what a consumer was told of the stream

    @property
    def writer(self) -> int | None:
        return self.statuses["writer"]

    @property
    def reader(self) -> int | None:
        return self.statuses["reader"]


def never(case: Tried, ending: Ending) -> Iterator[str]:
    """What must not happen and did."""
    reader, arrived = ending.reader, ending.arrived
    if None in ending.statuses.values():
        yield "a process outlived its time limit"
    if ending.running:
        yield f"left running: {', '.join(sorted(ending.running))}"
    if reader == 0 and case.endless and not case.stop_early:
        yield "the reader says 0 of a stream without its end"
    if reader == 0 and (arrived == "other" or (arrived != "whole" and not case.early)):
        yield f"the reader says 0 and has {arrived}"
    if case.target == "file" and arrived not in ("nothing", "whole"):
        yield f"-o left a file with {arrived}"
    if case.target == "file" and arrived == "whole" and reader != 0 and case.victim != "reader":
        yield "-o left a file and the reader failed"
    if case.receipt and ending.writer == 0 and (reader != 0 if case.early else arrived != "whole"):
        yield f"a receipt for {arrived}"
    if case.receipt and ending.writer == 0 and case.stop_early:
        yield "a receipt of a reader that stopped early"
    if "whole" in ending.files and reader != 0:
        yield "the consumer took a cut stream for a whole one"
    told = ending.verdict.replace(" ", "")
    if '"verified":true' in told and (reader != 0 or case.endless):
        yield f"the consumer was told {told}"
    if told and ('"exit":0' in told) != (reader == 0):
        yield f"the consumer was told {told}"
    if reader != KILLED and (left := ending.files - KNOWN):
        yield f"left behind: {', '.join(sorted(left))}"


def untold(statuses: dict[str, int | None], talk: dict[str, str], keys: set[str]) -> Iterator[str]:
    """A failure is one line that says what failed, never a traceback and never a key."""
    for name, text in talk.items():
        status = statuses[name]
        if "Traceback" in text or ("Error:" in text and "Error: {" not in text):
            yield f"the {name} shows a traceback"
        if any(key in text for key in keys):
            yield f"the {name} shows a key"
        if status not in (0, None) and status > 0 and not text.strip():
            yield f"the {name} fails without a word"

"""What a progress line says. Pure: a snapshot goes in, text comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iii_cli.terminal.amounts import span_text, volume_text
from iii_cli.terminal.text import clean, ellipsis, width_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    DrawBar = Callable[[float, int], str]

__all__ = ("Snapshot", "bar_line", "event_fields", "plain_line", "summary_line")

BAR_WIDEST, BAR_WANTED, BAR_NARROWEST = 40, 12, 10  # columns; fewer show no more than the percentage does
WANTED = 4  # figures that a bar does not push aside: volume, rate, percentage, ETA
LABEL_WIDEST = 20
# What is said of an end, and how it is said where a line is short.
SHORT_WORDS = {
    "confirmed by the reader": "confirmed",
    "not confirmed by the reader": "not confirmed",
    "the end could not be verified": "not verified",
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stream at one moment: bytes, bytes a second, seconds. `waiting` says why nothing moves.

    `confirmed` is what the other side has said to have; None: nobody will say.
    """

    moved: int
    total: int | None
    seconds: float
    rate: float
    waiting: str | None = None
    label: str = ""
    over: bool = False
    confirmed: int | None = None

    @property
    def average(self) -> float:
        """Bytes a second since the beginning."""
        return self.moved / self.seconds if self.seconds > 0 else 0.0

    @property
    def fraction(self) -> float | None:
        """How much of it is done, 0 to 1. None where the total is unknown, or was a wrong hint."""
        done = self.moved if self.confirmed is None else self.confirmed
        return done / self.total if self.total and done <= self.total else None

    @property
    def eta(self) -> float | None:
        """Seconds that are left at the present rate."""
        if self.total is None or self.fraction is None:
            return None
        if self.confirmed is not None:  # word comes seldom: there is no present rate
            return self.seconds * (self.total / self.confirmed - 1) if self.confirmed else None
        return (self.total - self.moved) / self.rate if self.rate >= 1 else None

    def to_json(self) -> dict[str, Any]:
        """The fields of a progress event."""
        return {
            "bytes": self.moved,
            "total": self.total,
            "rate": round(self.rate),
            "average": round(self.average),
            "seconds": round(self.seconds, 3),
            "eta": None if self.eta is None else round(self.eta, 1),
            "waiting": self.waiting,
        } | ({} if self.confirmed is None else {"confirmed": self.confirmed})


def event_fields(streams: Sequence[Snapshot]) -> dict[str, Any]:
    """The fields of a progress event. Of several streams: the sum, and `streams` with each by its label."""
    if len(streams) == 1:
        return streams[0].to_json()
    waiting = [each.waiting for each in streams if not each.over]
    total = Snapshot(
        moved=sum(each.moved for each in streams),
        total=None,
        seconds=max((each.seconds for each in streams), default=0.0),
        rate=sum(each.rate for each in streams),
        waiting=waiting[0] if waiting and all(waiting) else None,
    )
    return total.to_json() | {"streams": [{"label": each.label, **each.to_json()} for each in streams]}


def plain_line(now: Snapshot) -> str:
    """One line for a log."""
    label = f"{clean(now.label)}: " if now.label else ""
    return label + ", ".join([_volume(now), *_figures(now)])


def bar_line(now: Snapshot, columns: int, draw: DrawBar, *, label_width: int = 0) -> str:
    """One line of at most `columns`, with a bar where there is room and a total.

    `label_width`: of the widest label among the lines that are drawn together.
    """
    label = ""
    if now.label:
        width = min(label_width, LABEL_WIDEST)
        label = ellipsis(clean(now.label), width).ljust(width + 2)
    return (
        ellipsis(label, columns) if len(label) >= columns else label + _drawn(now, columns - len(label), draw)
    )


def _drawn(now: Snapshot, columns: int, draw: DrawBar) -> str:
    if now.waiting is not None:
        return _waiting_line(now, columns)
    done = now.moved if now.confirmed is None else now.confirmed
    volume, figures = f"{volume_text(done):>8}", _figures(now, steady=True)
    if now.fraction is None:
        return _joined([volume, *figures], columns)
    whole, brief = [volume + _of_total(now), *figures], [volume, *figures]
    for parts, bar in ((whole, BAR_WANTED), (brief, BAR_NARROWEST)):
        if len("  ".join(parts[:WANTED])) + 2 + bar <= columns:
            line = _joined(parts, columns - 2 - bar)
            return f"{draw(now.fraction, min(BAR_WIDEST, columns - 2 - len(line)))}  {line}"
    return _joined(brief, columns)


def _waiting_line(now: Snapshot, columns: int) -> str:
    """What is known comes before how much has moved, where a line is short."""
    reason = clean(now.waiting or "")
    for line in (f"{_volume(now)}  {reason}", f"{volume_text(now.moved)}  {reason}"):
        if width_of(line) <= columns:
            return line
    return ellipsis(reason, columns)


def summary_line(
    streams: Sequence[Snapshot], words: Sequence[str], *, stopped: bool, columns: int | None = None
) -> str:
    """The one line at the end. On `columns` it says less, but how it ended in any case."""
    begin = "stopped after " if stopped else ""
    seconds = max((each.seconds for each in streams), default=0.0)
    span = f" in {seconds:.1f} s" if seconds < 60 else f" in {span_text(seconds)}"
    short = [SHORT_WORDS.get(word, word) for word in words]
    line = ""
    for exact, rate, ending in (
        (True, True, words),
        (False, True, words),
        (False, False, words),
        (False, False, short),
    ):
        streamed = ", ".join(_moved(each, exact=exact, rate=rate and len(streams) > 1) for each in streams)
        average = f", {volume_text(streams[0].average)}/s" if rate and len(streams) == 1 else ""
        line = ", ".join([f"{begin}{streamed}{span}{average}", *ending])
        if columns is None or width_of(line) <= columns:
            break
    return line


def _moved(now: Snapshot, *, exact: bool, rate: bool) -> str:
    label = f"{clean(now.label)} " if now.label else ""
    digits = f" ({now.moved:,} bytes)" if exact and now.moved >= 1024 else ""
    return f"{label}{volume_text(now.moved)}{digits}" + (f" at {volume_text(now.average)}/s" if rate else "")


def _volume(now: Snapshot) -> str:
    if now.confirmed is None:
        return volume_text(now.moved) + _of_total(now)
    return f"{volume_text(now.moved)} sent, {volume_text(now.confirmed)}{_of_total(now)}"


def _of_total(now: Snapshot) -> str:
    total = f" of {volume_text(now.total)}" if now.fraction is not None and now.total is not None else ""
    return total if now.confirmed is None else f"{total} confirmed"


def _figures(now: Snapshot, *, steady: bool = False) -> list[str]:
    """The most wanted first: what does not fit is left out from the end. `steady`: they keep their width."""
    if now.waiting is not None:
        return [clean(now.waiting)]
    if now.over:
        return ["done"]
    percent = [] if now.fraction is None else [f"{now.fraction:.0%}"]
    eta = [] if now.eta is None else [f"ETA {span_text(now.eta)}"]
    rate = f"{volume_text(now.rate)}/s"
    if steady:
        rate, percent = f"{rate:>10}", [f"{text:>4}" for text in percent]
    return [rate, *percent, *eta, span_text(now.seconds), f"average {volume_text(now.average)}/s"]


def _joined(parts: list[str], columns: int) -> str:
    while len(parts) > 1 and len("  ".join(parts)) > columns:
        parts = parts[:-1]
    return ellipsis("  ".join(parts), columns)

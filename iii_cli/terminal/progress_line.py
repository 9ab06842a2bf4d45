"""What a progress line says. Pure: a snapshot goes in, text comes out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iii_cli.terminal.amounts import span_text, volume_text
from iii_cli.terminal.text import clean, ellipsis, width_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    DrawBar = Callable[[float, int], str]

__all__ = ("Snapshot", "bar_line", "plain_line", "summary_line")

BAR_WIDEST, BAR_WANTED, BAR_NARROWEST = 40, 20, 10  # columns; fewer show no more than the percentage does
INDISPENSABLE = 3  # figures that a bar does not push aside: volume, rate, percentage


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stream at one moment: bytes, bytes a second, seconds. `waiting` says why nothing moves."""

    moved: int
    total: int | None
    seconds: float
    rate: float
    waiting: str | None = None

    @property
    def average(self) -> float:
        """Bytes a second since the beginning."""
        return self.moved / self.seconds if self.seconds > 0 else 0.0

    @property
    def fraction(self) -> float | None:
        """How much of it is done, 0 to 1. None where the total is unknown, or was a wrong hint."""
        return self.moved / self.total if self.total and self.moved <= self.total else None

    @property
    def eta(self) -> float | None:
        """Seconds that are left at the present rate."""
        if self.total is None or self.fraction is None or self.rate < 1:
            return None
        return (self.total - self.moved) / self.rate

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
        }


def plain_line(now: Snapshot) -> str:
    """One line for a log."""
    return ", ".join([_volume(now), *_figures(now)])


def bar_line(now: Snapshot, columns: int, draw: DrawBar) -> str:
    """One line of at most `columns`, with a bar where there is room and a total."""
    if now.waiting is not None:
        return ellipsis(f"{_volume(now)}  {clean(now.waiting)}", columns)
    parts = [_volume(now), *_figures(now)]
    if now.fraction is None:
        return _joined(parts, columns)
    line = _joined(parts, columns - BAR_WANTED - 2, keep=INDISPENSABLE)
    width = min(BAR_WIDEST, columns - width_of(line) - 2)
    return f"{draw(now.fraction, width)}  {line}" if width >= BAR_NARROWEST else _joined(parts, columns)


def summary_line(now: Snapshot, words: Sequence[str], *, stopped: bool) -> str:
    """The one line at the end."""
    exact = f" ({now.moved:,} bytes)" if now.moved >= 1024 else ""
    begin = "stopped after " if stopped else ""
    seconds = f"{now.seconds:.1f} s" if now.seconds < 60 else span_text(now.seconds)
    line = f"{begin}{volume_text(now.moved)}{exact} in {seconds}, {volume_text(now.average)}/s"
    return ", ".join([line, *words])


def _volume(now: Snapshot) -> str:
    total = f" of {volume_text(now.total)}" if now.fraction is not None and now.total is not None else ""
    return volume_text(now.moved) + total


def _figures(now: Snapshot) -> list[str]:
    """The most wanted first: what does not fit is left out from the end."""
    if now.waiting is not None:
        return [clean(now.waiting)]
    percent = [] if now.fraction is None else [f"{now.fraction:.0%}"]
    eta = [] if now.eta is None else [f"ETA {span_text(now.eta)}"]
    rate = f"{volume_text(now.rate)}/s"
    return [rate, *percent, *eta, span_text(now.seconds), f"average {volume_text(now.average)}/s"]


def _joined(parts: list[str], columns: int, *, keep: int = 1) -> str:
    while len(parts) > keep and len("  ".join(parts)) > columns:
        parts = parts[:-1]
    line = "  ".join(parts)
    return line if keep > 1 else ellipsis(line, columns)

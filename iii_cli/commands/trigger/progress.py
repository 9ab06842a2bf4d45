"""How the streams of a call get on: a line for each (design.md section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.client.streams import InLane, OutLane
from iii_cli.client.transfer import span_words
from iii_cli.io.progress import Meter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.client.streams import Lane

__all__ = ("meter_of",)


def meter_of(lane: Lane, lanes: Sequence[Lane], *, size: int | None, label: bool) -> Meter:
    """What is counted of one of the `lanes`, which may become more. `label`: is it one of several?"""

    def total() -> int | None:
        if not isinstance(lane, OutLane):
            return size
        opened = lane.reader.opened
        return lane.expected_bytes if opened is None else opened.size

    def waiting(seconds: float) -> str | None:
        if _over(lane):
            return f"waiting {seconds:.0f} s for the result" if all(map(_over, lanes)) else None
        return lane.standing(span_words(seconds))

    name = lane.label if label else ""
    return Meter(
        label=name,
        total=total,
        count=lane.byte_count,
        messages=lane.message_count,
        waiting=waiting,
        over=lambda: _over(lane),
    )


def _over(lane: Lane) -> bool:
    if isinstance(lane, InLane):
        return lane.writer.ended
    return isinstance(lane, OutLane) and lane.reader.verdict is not None

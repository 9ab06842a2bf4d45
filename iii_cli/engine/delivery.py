"""What the core wants done: it decides, the server does it."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

__all__ = ("Close", "Delivery", "Drop", "Send")


class Send(NamedTuple):
    """Send the text as one frame."""

    connection: int
    text: str


class Close(NamedTuple):
    """Send what is queued, then a Close frame without a code, then let go."""

    connection: int


class Drop(NamedTuple):
    """Let go at once, without a Close frame: the worker sees 1006 and may come back."""

    connection: int


Delivery: TypeAlias = Send | Close | Drop

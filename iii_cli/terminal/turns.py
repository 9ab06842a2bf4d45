"""A loop that never has to wait still lets others have their turn."""

from __future__ import annotations

import time

from anyio.lowlevel import checkpoint

__all__ = ("Turns",)

TURN_SECONDS = 0.005  # a time-out may fire this much late; a checkpoint for each MiB would cost two percent


class Turns:
    """Count the time since the event loop last had control."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since = time.monotonic()

    async def give(self) -> None:
        """Let the event loop run once if a turn's time has passed. Cancelled here, nothing has been moved."""
        if time.monotonic() - self._since >= TURN_SECONDS:
            await checkpoint()
            self._since = time.monotonic()

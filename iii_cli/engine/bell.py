"""Waking one task from another, or from the same one before it waits."""

from __future__ import annotations

import anyio

__all__ = ("Bell",)


class Bell:
    """An event that one task waits for again and again. Rung before the wait, it is not missed."""

    __slots__ = ("_event", "_rung")

    def __init__(self) -> None:
        self._event: anyio.Event | None = None
        self._rung = False

    def ring(self) -> None:
        """Wake the one who waits, or the next who would."""
        self._rung = True
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Wait for a ring. Cancelling loses none."""
        if not self._rung:
            event = self._event = anyio.Event()
            await event.wait()
        self._rung = False

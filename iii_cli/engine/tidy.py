"""Giving memory back to the system after a crowd has left."""

from __future__ import annotations

import gc

__all__ = ("Tidy",)

CROWD = 128  # connections that have ended since the last time: fewer are not worth the pause


class Tidy:
    """Notices that many connections have ended.

    A connection's tasks and scopes refer to each other, so they wait for the garbage collector, which may not
    come for hours when nothing happens; and what it frees stays with the C library until it is asked.
    """

    def __init__(self) -> None:
        self._ended = 0
        self._before = 0

    def connection_ended(self) -> None:
        """One more."""
        self._ended += 1

    def look(self) -> None:
        """Called twice a second or so. Acts once a crowd has left and the leaving has ceased."""
        if self._ended >= CROWD and self._ended == self._before:
            self._ended = 0
            gc.collect()
            _trim()
        self._before = self._ended


def _trim() -> None:
    import ctypes

    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # only glibc has it
        return

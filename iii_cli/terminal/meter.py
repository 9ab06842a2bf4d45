"""One stream as it is counted: how much, how fast, of how much, and why nothing moves."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, final

from iii_cli.terminal.progress_line import Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Meter",)

WINDOW_SECONDS = 5.0  # over which the present rate is taken
WAITING_SECONDS = 3.0  # without a byte, until we say what is known


@final
class Meter:
    """The data path pays one integer addition a chunk (`moved`), or nothing where a `count` exists already.

    `total` may be asked for: the reading side learns it from the seal. `waiting` is asked after some seconds
    (its argument) without a byte, and says what is known. `over`: has the stream ended, though others go on?
    `confirmed`: what the other side says to have, where it does.
    """

    def __init__(
        self,
        *,
        label: str = "",
        total: int | Callable[[], int | None] | None = None,
        count: Callable[[], int] | None = None,
        waiting: Callable[[float], str | None] | None = None,
        over: Callable[[], bool] | None = None,
        confirmed: Callable[[], int] | None = None,
    ) -> None:
        self.label = label
        self.bytes = 0
        self._total = total
        self._count = count
        self._waiting = waiting
        self._over = over
        self._confirmed = confirmed
        self.start(0.0)

    def start(self, at: float) -> None:
        """The stream begins now."""
        self._began = self._moved_at = at
        self._seen = 0
        self._window: deque[tuple[float, int]] = deque([(at, 0)])

    def moved(self, count: int) -> None:
        """`count` more bytes are through."""
        self.bytes += count

    def look(self, at: float) -> Snapshot:
        """How the stream stands now, by the clock that `start` was told."""
        moved = self.bytes if self._count is None else self._count()
        if moved != self._seen:
            self._moved_at, self._seen = at, moved
        self._window.append((at, moved))
        while len(self._window) > 2 and self._window[0][0] < at - WINDOW_SECONDS:
            self._window.popleft()
        since, before = self._window[0]
        return Snapshot(
            moved=moved,
            total=self._total() if callable(self._total) else self._total,
            seconds=at - self._began,
            rate=(moved - before) / (at - since) if at > since else 0.0,
            waiting=self._reason(at - self._moved_at),
            label=self.label,
            over=self._over is not None and self._over(),
            confirmed=None if self._confirmed is None else self._confirmed(),
        )

    def _reason(self, seconds: float) -> str | None:
        if seconds < WAITING_SECONDS:
            return None
        reason = None if self._waiting is None else self._waiting(seconds)
        over = self._over is not None and self._over()
        return reason if reason or over else f"nothing has moved for {seconds:.0f} s"

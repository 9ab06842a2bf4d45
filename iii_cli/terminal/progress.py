"""How a stream gets on, told on stderr (design.md section 3).

The data path pays one integer addition a chunk, or nothing where a count exists already: a separate task
looks at it a few times a second. Nothing is shown during the first second. What is shown never holds up
the data: see Stderr.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, final

import anyio

from iii_cli.errors import UsageProblem
from iii_cli.terminal.progress_line import Snapshot, bar_line, plain_line, summary_line
from iii_cli.terminal.talk import Talk, talk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from anyio.abc import TaskGroup, TaskStatus

    from iii_cli.terminal.bar import Bar

__all__ = ("FIRST_SECONDS", "TICK_SECONDS", "Progress", "ProgressMode", "progress_mode")

FIRST_SECONDS = 1.0  # before that nothing is shown: most commands are done by then
TICK_SECONDS = 0.2
WINDOW_SECONDS = 5.0  # over which the present rate is taken
WAITING_SECONDS = 3.0  # without a byte, until we say what is known


class ProgressMode(Enum):
    """How it is shown; the value is the number of seconds between two lines."""

    OFF = 0.0
    BAR = TICK_SECONDS
    JSON = 1.0
    PLAIN = 5.0


def progress_mode(
    option: str,
    *,
    data_on_terminal: bool = False,
    talk: Talk = talk,
    env: Mapping[str, str] = os.environ,
) -> ProgressMode:
    """What `--progress auto|always|never|json` comes to. `-q` silences all but json.

    `data_on_terminal`: stdout shows the data itself to a person, and a bar would be drawn into it. Raises
    UsageProblem for another word.
    """
    if option not in {"auto", "always", "never", "json"}:
        raise UsageProblem("--progress is auto, always, never or json")
    if option == "json":
        return ProgressMode.JSON
    if option == "never" or talk.quiet:
        return ProgressMode.OFF
    if talk.stderr.is_terminal and env.get("TERM", "dumb") != "dumb" and not data_on_terminal:
        return ProgressMode.BAR
    return ProgressMode.PLAIN if option == "always" else ProgressMode.OFF


@final
class Progress:
    """The progress of one stream, one at a time. `async with` shows it, and ends with one summary line.

    `total` may be asked for: the reading side learns it from the seal. `moved` adds bytes; a `count` is asked
    instead where something else counts already. `waiting` is asked after some seconds (its argument) without
    a byte, and says what is known. SIGUSR1 (SIGINFO) prints the line once, whatever the mode.
    """

    def __init__(
        self,
        mode: ProgressMode,
        *,
        total: int | Callable[[], int | None] | None = None,
        count: Callable[[], int] | None = None,
        waiting: Callable[[float], str | None] | None = None,
        color: bool | None = None,
        talk: Talk = talk,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.mode = mode
        self._total = total
        self.bytes = 0
        self._count = count
        self._waiting = waiting
        self._color = color
        self._talk = talk
        self._clock = clock
        self._words: Sequence[str] = ()
        self._bar: Bar | None = None
        self._group: TaskGroup | None = None
        self._began = self._seen_at = self._moved_at = clock()
        self._shown_at = -math.inf
        self._seen = 0
        self._window: deque[tuple[float, int]] = deque([(self._began, 0)])
        if mode is ProgressMode.JSON:
            talk.configure(as_json=True)

    def moved(self, count: int) -> None:
        """`count` more bytes are through."""
        self.bytes += count

    def conclude(
        self, *, digest: str | None = None, verified: bool | None = None, words: Sequence[str] = ()
    ) -> None:
        """What the end of the stream has to say: fields of the last event, and `words` for the summary."""
        self._words = words
        self._talk.facts.update(digest=digest, verified=verified)

    def print_once(self) -> None:
        """Print the line now."""
        now = self._look()
        if self.mode is ProgressMode.JSON:
            self._talk.event("progress", now.to_json())
        else:
            self._talk.tell(plain_line(now))

    def tick(self) -> None:
        """Look at the count, and show it if it is time to."""
        now = self._look()
        due = max(self._began + FIRST_SECONDS, self._shown_at + self.mode.value)
        if self.mode is ProgressMode.OFF or self._seen_at < due:
            return
        self._shown_at = self._seen_at
        if self.mode is ProgressMode.BAR:
            self._talk.draw(bar_line(now, self._talk.stderr.columns - 1, self._draw))
        elif self.mode is ProgressMode.JSON:
            self._talk.event("progress", now.to_json())
        else:
            self._talk.tell(plain_line(now))

    async def __aenter__(self) -> Self:
        self._began = self._moved_at = self._clock()
        group = anyio.create_task_group()
        await group.__aenter__()
        try:
            if hasattr(signal, "SIGUSR1") and threading.current_thread() is threading.main_thread():
                await group.start(self._listen)
            if self.mode is not ProgressMode.OFF:
                group.start_soon(self._run)
        except BaseException:
            await group.__aexit__(*sys.exc_info())
            raise
        self._group = group
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._group is not None
        self._group.cancel_scope.cancel()
        # An error of the body is not the group's: it would come out wrapped. A cancellation is.
        if kind is not None and issubclass(kind, anyio.get_cancelled_exc_class()):
            await self._group.__aexit__(kind, error, trace)
        else:
            await self._group.__aexit__(None, None, None)
        self._end(kind)

    def _end(self, kind: type[BaseException] | None) -> None:
        now = self._look()
        self._talk.draw("")
        self._talk.facts.update(bytes=now.moved, seconds=round(now.seconds, 3))
        if self.mode in {ProgressMode.OFF, ProgressMode.JSON}:
            return
        if kind is None:
            self._talk.tell(summary_line(now, self._words, stopped=False))
        elif now.moved and now.seconds >= FIRST_SECONDS and not issubclass(kind, BrokenPipeError):
            self._talk.tell(summary_line(now, (), stopped=True))

    def _look(self) -> Snapshot:
        at, moved = self._clock(), self.bytes + (self._count() if self._count is not None else 0)
        if moved != self._seen:
            self._moved_at = at
        self._seen_at, self._seen = at, moved
        self._window.append((at, moved))
        while len(self._window) > 2 and self._window[0][0] < at - WINDOW_SECONDS:
            self._window.popleft()
        since, before = self._window[0]
        rate = (moved - before) / (at - since) if at > since else 0.0
        total = self._total() if callable(self._total) else self._total
        return Snapshot(moved, total, at - self._began, rate, self._reason(at - self._moved_at))

    def _reason(self, seconds: float) -> str | None:
        if seconds < WAITING_SECONDS:
            return None
        reason = None if self._waiting is None else self._waiting(seconds)
        return reason or f"nothing has moved for {seconds:.0f} s"

    def _draw(self, fraction: float, width: int) -> str:
        if self._bar is None:
            from iii_cli.terminal.bar import Bar

            self._bar = Bar(color=self._color)
        return self._bar.draw(fraction, width)

    async def _run(self) -> None:
        while True:
            await anyio.sleep(TICK_SECONDS)
            self.tick()

    async def _listen(self, *, task_status: TaskStatus[None]) -> None:
        wanted = [signal.SIGUSR1, *([signal.SIGINFO] if hasattr(signal, "SIGINFO") else [])]
        with anyio.open_signal_receiver(*wanted) as signals:
            task_status.started()
            async for _ in signals:
                self.print_once()

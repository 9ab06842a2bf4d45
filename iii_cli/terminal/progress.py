"""How a stream gets on, told on stderr (design.md section 3).

A separate task looks at the meters a few times a second. Nothing is shown during the first second. What is
shown never holds up the data: see Stderr.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING, final

import anyio

from iii_cli.errors import UsageProblem
from iii_cli.terminal.progress_line import bar_line, event_fields, plain_line, summary_line
from iii_cli.terminal.signals import heard
from iii_cli.terminal.talk import Talk, talk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from anyio.abc import TaskGroup, TaskStatus

    from iii_cli.terminal.bar import Bar
    from iii_cli.terminal.meter import Meter
    from iii_cli.terminal.progress_line import Snapshot

__all__ = ("FIRST_SECONDS", "MARGIN", "TICK_SECONDS", "Progress", "ProgressMode", "progress_mode")

FIRST_SECONDS = 1.0  # before that nothing is shown: most commands are done by then
TICK_SECONDS = 0.2
MARGIN = 3  # columns that stay free, so that the terminal's `^C` does not push a bar onto a second row


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
    """The progress of one stream, or of several at once. `async with` shows it, and ends with one summary
    line. SIGUSR1 (SIGINFO) prints the lines once, whatever the mode.
    """

    def __init__(
        self,
        mode: ProgressMode,
        *meters: Meter,
        color: bool | None = None,
        talk: Talk = talk,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.mode = mode
        self._meters = list(meters)
        self._color = color
        self._talk = talk
        self._clock = clock
        self._words: Sequence[str] = ()
        self._bar: Bar | None = None
        self._group: TaskGroup | None = None
        self._began = self._seen_at = 0.0
        self._start()
        self._shown_at = -math.inf
        if mode is ProgressMode.JSON:
            talk.configure(as_json=True)

    def add(self, meter: Meter) -> None:
        """One stream more, from now on."""
        meter.start(self._clock())
        self._meters.append(meter)

    def conclude(
        self, *, digest: str | None = None, verified: bool | None = None, words: Sequence[str] = ()
    ) -> None:
        """What the end of the stream has to say: fields of the last event, and `words` for the summary."""
        self._words = words
        self._talk.facts.update(digest=digest, verified=verified)

    def print_once(self) -> None:
        """Print the lines now."""
        self._print(self._look())

    def tick(self) -> None:
        """Look at the counts, and show them if it is time to."""
        now = self._look()
        due = max(self._began + FIRST_SECONDS, self._shown_at + self.mode.value)
        if self.mode is ProgressMode.OFF or self._seen_at < due:
            return
        self._shown_at = self._seen_at
        if self.mode is ProgressMode.BAR:
            self._draw(now)
        else:
            self._print(now)

    async def __aenter__(self) -> Self:
        self._start()
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
        cancelled = kind is not None and issubclass(kind, anyio.get_cancelled_exc_class())
        try:
            await self._group.__aexit__(*((kind, error, trace) if cancelled else (None, None, None)))
        finally:
            self._end(kind)

    def _start(self) -> None:
        self._began = self._seen_at = self._clock()
        for meter in self._meters:
            meter.start(self._began)

    def _end(self, kind: type[BaseException] | None) -> None:
        now = self._look()
        self._talk.draw()
        moved, seconds = sum(each.moved for each in now), self._seen_at - self._began
        self._talk.facts.update(bytes=moved, seconds=round(seconds, 3))
        if self.mode in {ProgressMode.OFF, ProgressMode.JSON}:
            return
        columns = self._talk.room if self._talk.stderr.is_terminal else None
        if kind is None:
            self._talk.tell(summary_line(now, self._words, stopped=False, columns=columns))
        elif moved and seconds >= FIRST_SECONDS and not issubclass(kind, BrokenPipeError):
            self._talk.tell(summary_line(now, (), stopped=True, columns=columns))

    def _look(self) -> list[Snapshot]:
        self._seen_at = self._clock()
        return [meter.look(self._seen_at) for meter in self._meters]

    def _print(self, now: list[Snapshot]) -> None:
        if self.mode is ProgressMode.JSON:
            self._talk.event("progress", event_fields(now))
        else:
            for each in now:
                self._talk.tell(plain_line(each))

    def _draw(self, now: list[Snapshot]) -> None:
        columns = self._talk.stderr.columns - MARGIN
        labels = max((len(each.label) for each in now), default=0)
        self._talk.draw(*(bar_line(each, columns, self._draw_bar, label_width=labels) for each in now))

    def _draw_bar(self, fraction: float, width: int) -> str:
        if self._bar is None:
            from iii_cli.terminal.bar import Bar

            self._bar = Bar(color=self._color)
        return self._bar.draw(fraction, width)

    async def _run(self) -> None:
        while True:
            await anyio.sleep(TICK_SECONDS)
            self.tick()

    async def _listen(self, *, task_status: TaskStatus[None]) -> None:
        wanted = heard(("USR1", "INFO"))
        if not wanted:
            task_status.started()
            return
        with _handlers_kept(wanted), anyio.open_signal_receiver(*wanted) as signals:
            task_status.started()
            try:
                async for _ in signals:
                    self.print_once()
            finally:
                signal.pthread_sigmask(signal.SIG_BLOCK, wanted)  # until `_handlers_kept`


@contextmanager
def _handlers_kept(wanted: list[signal.Signals]) -> Iterator[None]:
    """What the program does about these signals is the same afterwards: an event loop leaves the default
    behind, which kills. Whoever leaves the loop's care blocks them for as long as that is so.
    """
    before = {signum: signal.getsignal(signum) for signum in wanted}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        yield
    finally:
        for signum, handler in before.items():
            if handler is not None:  # None: set by C code
                signal.signal(signum, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

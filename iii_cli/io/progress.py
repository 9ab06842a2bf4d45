"""Progress on stderr."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from io import StringIO
from typing import TYPE_CHECKING, Any, final

import anyio

from iii_cli.errors import UsageProblem
from iii_cli.io.console import Talk, clean, ellipsis, span_text, talk, volume_text, width_of
from iii_cli.io.signals import heard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from anyio.abc import TaskGroup, TaskStatus

__all__ = (
    "FIRST_SECONDS",
    "MARGIN",
    "TICK_SECONDS",
    "Bar",
    "Meter",
    "Progress",
    "ProgressMode",
    "Snapshot",
    "bar_line",
    "counted_messages",
    "event_fields",
    "plain_line",
    "progress_mode",
    "summary_line",
)


if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    DrawBar = Callable[[float, int], str]


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

    `confirmed` is what the other side has said to have; None: nobody will say. `messages`: of a stream whose
    data they are.
    """

    moved: int
    total: int | None
    seconds: float
    rate: float
    waiting: str | None = None
    label: str = ""
    over: bool = False
    confirmed: int | None = None
    messages: int | None = None

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
            **counted_messages([self]),
            "total": self.total,
            "rate": round(self.rate),
            "average": round(self.average),
            "seconds": round(self.seconds, 3),
            "eta": None if self.eta is None else round(self.eta, 1),
            "waiting": self.waiting,
        } | ({} if self.confirmed is None else {"confirmed": self.confirmed})


def counted_messages(streams: Iterable[Snapshot]) -> dict[str, int]:
    """The field of an event for the messages of all streams, where there are such."""
    counts = [each.messages for each in streams if each.messages is not None]
    return {"messages": sum(counts)} if counts else {}


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
        messages=counted_messages(streams).get("messages"),
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
        return _joined([volume + _in_messages(now), *figures], columns)
    whole, brief = [volume + _in_messages(now) + _of_total(now), *figures], [volume, *figures]
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
    exactly = [f"{now.moved:,} bytes"] if exact and now.moved >= 1024 else []
    exactly += [] if now.messages is None else [_messages(now.messages)]
    digits = f" ({', '.join(exactly)})" if exactly else ""
    return f"{label}{volume_text(now.moved)}{digits}" + (f" at {volume_text(now.average)}/s" if rate else "")


def _volume(now: Snapshot) -> str:
    if now.confirmed is None:
        return volume_text(now.moved) + _in_messages(now) + _of_total(now)
    return f"{volume_text(now.moved)}{_in_messages(now)} sent, {volume_text(now.confirmed)}{_of_total(now)}"


def _in_messages(now: Snapshot) -> str:
    return "" if now.messages is None else f" ({_messages(now.messages)})"


def _messages(count: int) -> str:
    return f"{count:,} message{'' if count == 1 else 's'}"


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


WINDOW_SECONDS = 5.0  # over which the present rate is taken
WAITING_SECONDS = 3.0  # without a byte, until we say what is known


@final
class Meter:
    """The data path pays one integer addition a chunk (`moved`), or nothing where a `count` exists already.

    `total` may be asked for: the reading side learns it from the seal. `waiting` is asked after some seconds
    (its argument) without a byte, and says what is known. `over`: has the stream ended, though others go on?
    `confirmed`: what the other side says to have, where it does. `messages`: how many, where they are data.
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
        messages: Callable[[], int | None] | None = None,
    ) -> None:
        self.label = label
        self.bytes = 0
        self._total = total
        self._count = count
        self._waiting = waiting
        self._over = over
        self._confirmed = confirmed
        self._messages = messages
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
            messages=None if self._messages is None else self._messages(),
        )

    def _reason(self, seconds: float) -> str | None:
        if seconds < WAITING_SECONDS:
            return None
        reason = None if self._waiting is None else self._waiting(seconds)
        over = self._over is not None and self._over()
        return reason if reason or over else f"nothing has moved for {seconds:.0f} s"


@final
class Bar:
    """Draws into text: where the line goes, and whether it goes, is decided elsewhere."""

    def __init__(self, *, color: bool | None = None, env: Mapping[str, str] = os.environ) -> None:
        """`color` None: as NO_COLOR and the terminal say. `env` says what the terminal can show."""
        self._plain = not _has_lines(env)
        if self._plain:
            return
        from rich.console import Console

        self._text = StringIO()
        self._console = Console(
            file=self._text, force_terminal=True, legacy_windows=False, width=200,
            no_color=None if color is None else not color,
        )  # fmt: skip

    def draw(self, fraction: float, width: int) -> str:
        """`width` columns, `fraction` (0 to 1) of them done."""
        if self._plain:
            return ("#" * int(fraction * width)).ljust(width, "-")
        from rich.progress_bar import ProgressBar

        self._console.print(ProgressBar(total=1.0, completed=fraction, width=width), end="")
        drawn = self._text.getvalue().rstrip("\n")
        self._text.seek(0)
        self._text.truncate()
        # without colours rich leaves the rest out
        return drawn if "\x1b" in drawn else drawn.ljust(width, "─")


def _has_lines(env: Mapping[str, str]) -> bool:
    """Has the terminal's character set, and its font, the lines that rich draws?"""
    locale = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or ""
    return "utf8" in locale.lower().replace("-", "") and env.get("TERM") != "linux"


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
        self._talk.facts.update(bytes=moved, seconds=round(seconds, 3), **counted_messages(now))
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

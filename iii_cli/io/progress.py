"""Progress on stderr: how a stream gets on, drawn for people, as events for programs.

rich.progress composes a line that has a bar; where it stands on the terminal is the console's matter (docs:
design, "Libraries").
"""

from __future__ import annotations

import os
import time
from collections import deque
from enum import Enum
from io import BytesIO, TextIOWrapper
from typing import TYPE_CHECKING, Any, final

import anyio
from msgspec import Struct

from iii_cli.errors import UsageProblem
from iii_cli.io.console import clean, console, ellipsis, width_of
from iii_cli.io.signals import heard, receiving
from iii_cli.quantities import format_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from anyio.abc import TaskGroup

__all__ = (
    "FIRST_SECONDS",
    "MARGIN",
    "TICK_SECONDS",
    "Meter",
    "Progress",
    "ProgressMode",
    "Snapshot",
    "bar_line",
    "event_fields",
    "plain_line",
    "progress_mode",
    "summary_line",
)

FIRST_SECONDS = 1.0  # before that nothing is shown: most commands are done by then
TICK_SECONDS = 0.2
WINDOW_SECONDS = 5.0  # over which the present rate is taken
WAITING_SECONDS = 3.0  # without a byte, until we say what is known
MARGIN = 3  # columns that stay free, so that the terminal's `^C` does not push a bar onto a second row
BAR_WIDEST, BAR_WANTED, BAR_NARROWEST = 40, 12, 10  # columns; fewer show no more than the percentage does
WANTED = 4  # figures that a bar does not push aside: volume, rate, percentage, ETA
LABEL_WIDEST = 20
# What is said of an end, and how it is said where a line is short.
SHORT_WORDS = {
    "confirmed by the reader": "confirmed",
    "not confirmed by the reader": "not confirmed",
    "the end could not be verified": "not verified",
}


class Snapshot(Struct, frozen=True):
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
        fields = {
            "bytes": self.moved,
            "total": self.total,
            "rate": round(self.rate),
            "average": round(self.average),
            "seconds": round(self.seconds, 3),
            "eta": None if self.eta is None else round(self.eta, 1),
            "waiting": self.waiting,
        }
        told = {"messages": self.messages, "confirmed": self.confirmed}
        return fields | {name: count for name, count in told.items() if count is not None}


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
        waiting: Callable[[float], str | None] = lambda seconds: None,
        over: Callable[[], bool] = lambda: False,
        confirmed: Callable[[], int | None] | None = None,
        messages: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.label = label
        self.bytes = 0
        self._total = total if callable(total) else lambda: total
        self._count = count or (lambda: self.bytes)
        self._waiting = waiting
        self._over = over
        self._confirmed = confirmed or (lambda: None)
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
        moved, over, waiting = self._count(), self._over(), None
        if moved != self._seen:
            self._moved_at, self._seen = at, moved
        still = at - self._moved_at
        if still >= WAITING_SECONDS:
            waiting = self._waiting(still) or (None if over else f"nothing has moved for {still:.0f} s")
        self._window.append((at, moved))
        while len(self._window) > 2 and self._window[0][0] < at - WINDOW_SECONDS:
            self._window.popleft()
        since, before = self._window[0]
        return Snapshot(
            moved=moved,
            total=self._total(),
            seconds=at - self._began,
            rate=(moved - before) / (at - since) if at > since else 0.0,
            waiting=waiting,
            label=self.label,
            over=over,
            confirmed=self._confirmed(),
            messages=self._messages(),
        )


# What is said


def _span(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def _total_messages(streams: Iterable[Snapshot]) -> int | None:
    counts = [each.messages for each in streams if each.messages is not None]
    return sum(counts) if counts else None


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
        messages=_total_messages(streams),
    )
    return total.to_json() | {"streams": [{"label": each.label, **each.to_json()} for each in streams]}


def plain_line(now: Snapshot) -> str:
    """One line for a log."""
    label = f"{clean(now.label)}: " if now.label else ""
    return label + ", ".join([_volume(now), *_figures(now)])


def bar_line(now: Snapshot, columns: int, *, color: bool, plain: bool = False, label_width: int = 0) -> str:
    """One line of at most `columns`, with a bar where there is room and a total; `plain`: in ASCII.

    `label_width`: of the widest label among the lines that are drawn together.
    """
    label = ""
    if now.label:
        width = min(label_width, LABEL_WIDEST)
        label = ellipsis(clean(now.label), width).ljust(width + 2)
    if len(label) >= columns:
        return ellipsis(label, columns)
    room = columns - len(label)
    if now.waiting is not None:  # what is known comes before how much has moved, where a line is short
        reason = clean(now.waiting)
        lines = (f"{_volume(now)}  {reason}", f"{format_bytes(now.moved)}  {reason}")
        return label + next((line for line in lines if width_of(line) <= room), ellipsis(reason, room))
    volume = f"{format_bytes(now.moved if now.confirmed is None else now.confirmed):>8}"
    figures = _figures(now, steady=True)
    brief, whole = [volume, *figures], [volume + _in_messages(now) + _of_total(now), *figures]
    if now.fraction is None:
        return label + _joined(whole, room)
    for parts, bar in ((whole, BAR_WANTED), (brief, BAR_NARROWEST)):
        if len("  ".join(parts[:WANTED])) + 2 + bar <= room:
            line = _joined(parts, room - 2 - bar)
            return label + _with_bar(now.fraction, line, room, color=color, plain=plain)
    return label + _joined(brief, room)


def _with_bar(fraction: float, text: str, columns: int, *, color: bool, plain: bool) -> str:
    """The text behind a bar, which takes the room that is left. Imports rich at the first bar, 50 ms."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    bar = BarColumn(
        bar_width=None,
        style="bright_black",
        complete_style="magenta",
        finished_style="green",
        table_column=Column(max_width=BAR_WIDEST),
    )
    words = TextColumn(" {task.description}", markup=False, table_column=Column(no_wrap=True))
    paper = Console(
        file=TextIOWrapper(BytesIO(), "ascii" if plain else "utf-8"),
        width=columns,
        height=1,  # without it a terminal of an unknown kind has 80 columns
        force_terminal=True,
        color_system="standard" if color else None,
        no_color=not color,
    )
    line = Progress(bar, words, console=paper, auto_refresh=False)
    line.add_task(text, total=1000, completed=int(1000 * fraction))
    with paper.capture() as drawn:
        paper.print(line, end="")
    return drawn.get().rstrip("\n")


def summary_line(
    streams: Sequence[Snapshot], words: Sequence[str], *, stopped: bool, columns: int | None = None
) -> str:
    """The one line at the end. On `columns` it says less, but how it ended in any case."""
    begin = "stopped after " if stopped else ""
    seconds = max((each.seconds for each in streams), default=0.0)
    span = f" in {seconds:.1f} s" if seconds < 60 else f" in {_span(seconds)}"
    short = [SHORT_WORDS.get(word, word) for word in words]
    line = ""
    for exact, rate, ending in (
        (True, True, words),
        (False, True, words),
        (False, False, words),
        (False, False, short),
    ):
        streamed = ", ".join(_moved(each, exact=exact, rate=rate and len(streams) > 1) for each in streams)
        average = f", {format_bytes(streams[0].average)}/s" if rate and len(streams) == 1 else ""
        line = ", ".join([f"{begin}{streamed}{span}{average}", *ending])
        if columns is None or width_of(line) <= columns:
            break
    return line


def _moved(now: Snapshot, *, exact: bool, rate: bool) -> str:
    label = f"{clean(now.label)} " if now.label else ""
    exactly = [f"{now.moved:,} bytes"] if exact and now.moved >= 1024 else []
    exactly += [] if now.messages is None else [_messages(now.messages)]
    digits = f" ({', '.join(exactly)})" if exactly else ""
    return f"{label}{format_bytes(now.moved)}{digits}" + (
        f" at {format_bytes(now.average)}/s" if rate else ""
    )


def _volume(now: Snapshot) -> str:
    moved = format_bytes(now.moved) + _in_messages(now)
    if now.confirmed is not None:
        moved += f" sent, {format_bytes(now.confirmed)}"
    return moved + _of_total(now)


def _of_total(now: Snapshot) -> str:
    total = f" of {format_bytes(now.total)}" if now.fraction is not None and now.total is not None else ""
    return total if now.confirmed is None else f"{total} confirmed"


def _in_messages(now: Snapshot) -> str:
    return "" if now.messages is None else f" ({_messages(now.messages)})"


def _messages(count: int) -> str:
    return f"{count:,} message{'' if count == 1 else 's'}"


def _figures(now: Snapshot, *, steady: bool = False) -> list[str]:
    """The most wanted first: what does not fit is left out from the end. `steady`: they keep their width."""
    if now.waiting is not None:
        return [clean(now.waiting)]
    if now.over:
        return ["done"]
    percent = [] if now.fraction is None else [f"{now.fraction:.0%}"]
    eta = [] if now.eta is None else [f"ETA {_span(now.eta)}"]
    rate = f"{format_bytes(now.rate)}/s"
    if steady:
        rate, percent = f"{rate:>10}", [f"{text:>4}" for text in percent]
    return [rate, *percent, *eta, _span(now.seconds), f"average {format_bytes(now.average)}/s"]


def _joined(parts: list[str], columns: int) -> str:
    while len(parts) > 1 and len("  ".join(parts)) > columns:
        parts = parts[:-1]
    return ellipsis("  ".join(parts), columns)


# Where and when it is shown


class ProgressMode(Enum):
    """How it is shown; the value is the number of seconds between two lines."""

    OFF = 0.0
    BAR = TICK_SECONDS
    JSON = 1.0
    PLAIN = 5.0


def progress_mode(option: str, *, data_on_terminal: bool = False) -> ProgressMode:
    """What `--progress auto|always|never|json` comes to. `-q` silences all but json.

    `data_on_terminal`: stdout shows the data itself to a person, and a bar would be drawn into it. Raises
    UsageProblem for another word.
    """
    if option not in {"auto", "always", "never", "json"}:
        raise UsageProblem("--progress is auto, always, never or json")
    if option == "json":
        return ProgressMode.JSON
    if option == "never" or console.quiet:
        return ProgressMode.OFF
    if console.stderr.is_terminal and os.environ.get("TERM", "dumb") != "dumb" and not data_on_terminal:
        return ProgressMode.BAR
    return ProgressMode.PLAIN if option == "always" else ProgressMode.OFF


@final
class Progress:
    """The progress of one stream, or of several at once. `async with` shows it, and ends with one summary
    line. SIGUSR1 (SIGINFO) prints the lines once, whatever the mode.
    """

    def __init__(self, mode: ProgressMode, *meters: Meter, color: bool = True) -> None:
        self.mode = mode
        self._meters = list(meters)
        self._color = color
        self._words: Sequence[str] = ()
        self._ticking: TaskGroup | None = None
        self._began = 0.0
        if mode is ProgressMode.JSON:
            console.configure(as_json=True)

    def add(self, meter: Meter) -> None:
        """One stream more, from now on."""
        meter.start(time.monotonic())
        self._meters.append(meter)

    def conclude(
        self, *, digest: str | None = None, verified: bool | None = None, words: Sequence[str] = ()
    ) -> None:
        """What the end of the stream has to say: fields of the last event, and `words` for the summary."""
        self._words = words
        console.facts.update(digest=digest, verified=verified)

    async def __aenter__(self) -> Self:
        self._began = time.monotonic()
        for meter in self._meters:
            meter.start(self._began)
        self._ticking = anyio.create_task_group()
        await self._ticking.__aenter__()
        self._ticking.start_soon(self._answer)
        if self.mode is not ProgressMode.OFF:
            self._ticking.start_soon(self._run)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._ticking is not None
        self._ticking.cancel_scope.cancel()
        # An error of the body is not the group's: it would come out wrapped. A cancellation is.
        cancelled = kind is not None and issubclass(kind, anyio.get_cancelled_exc_class())
        try:
            await self._ticking.__aexit__(*((kind, error, trace) if cancelled else (None, None, None)))
        finally:
            self._end(kind)

    async def _answer(self) -> None:
        """To each signal that asks, one after the other: in a handler they would come within each other."""
        with receiving(heard(("USR1", "INFO"))) as signals:
            async for _ in signals:
                self._print(self._look())

    async def _run(self) -> None:
        await anyio.sleep(FIRST_SECONDS)
        while True:
            if self.mode is ProgressMode.BAR:
                self._draw(self._look())
            else:
                self._print(self._look())
            await anyio.sleep(self.mode.value)

    def _look(self) -> list[Snapshot]:
        now = time.monotonic()
        return [meter.look(now) for meter in self._meters]

    def _print(self, streams: list[Snapshot]) -> None:
        if self.mode is ProgressMode.JSON:
            console.event("progress", event_fields(streams))
        else:
            for each in streams:
                console.tell(plain_line(each))

    def _draw(self, streams: list[Snapshot]) -> None:
        columns, plain = console.stderr.columns - MARGIN, not _has_lines(os.environ)
        labels = max((len(each.label) for each in streams), default=0)
        console.draw(
            *(bar_line(each, columns, color=self._color, plain=plain, label_width=labels) for each in streams)
        )

    def _end(self, kind: type[BaseException] | None) -> None:
        streams, seconds = self._look(), time.monotonic() - self._began
        console.draw()
        moved, messages = sum(each.moved for each in streams), _total_messages(streams)
        counted = {} if messages is None else {"messages": messages}
        console.facts.update(bytes=moved, seconds=round(seconds, 3), **counted)
        if self.mode in {ProgressMode.OFF, ProgressMode.JSON}:
            return
        columns = console.room if console.stderr.is_terminal else None
        if kind is None:
            console.tell(summary_line(streams, self._words, stopped=False, columns=columns))
        elif moved and seconds >= FIRST_SECONDS and not issubclass(kind, BrokenPipeError):
            console.tell(summary_line(streams, (), stopped=True, columns=columns))


def _has_lines(env: Mapping[str, str]) -> bool:
    """Has the terminal's character set, and its font, the lines of a bar?"""
    locale = env.get("LC_ALL") or env.get("LC_CTYPE") or env.get("LANG") or ""
    return "utf8" in locale.lower().replace("-", "") and env.get("TERM") != "linux"

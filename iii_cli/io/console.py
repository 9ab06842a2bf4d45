"""What people and programs are told: clean text, lines and drawings on stderr, tables and JSON on stdout."""

from __future__ import annotations

import errno
import os
import re
import select
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, final

from iii_cli.errors import Failure, FunctionFailed, cannot_write
from iii_cli.io.descriptors import PIPE_BUF, is_ready

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = (
    "Console",
    "Stderr",
    "aligned",
    "clean",
    "console",
    "ellipsis",
    "emit",
    "escape_json",
    "mask_refs",
    "print_json",
    "print_table",
    "stdout_columns",
    "stdout_is_terminal",
    "width_of",
)

# Text of strangers

# Patterns are text: `re` compiles and keeps them at their first use, and most commands have none.
# Whole sequences first, so that their letters do not stay behind: CSI, then OSC and its kin, then the rest.
# No part may begin inside another: the time stays proportional to the length, whatever a worker sends.
_SEQUENCE = (
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x80-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]"
)
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_INVISIBLE = "\u2028\u2029\ufff9-\ufffb\U000e0000-\U000e007f"  # line separators, annotations, tags
# Without a width: an id with one of these looks like another id.
_HIDDEN = (
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b\u2060-\u2064\u206a-\u206f\u3164\ufeff\uffa0"
)
# So are the joiners, but beside other scripts, and within emoji, they are a part of writing.
_JOINERS = r"(?<![^\x00-\x7f])[\u200c\u200d]++|(?<![\u200c\u200d])[\u200c\u200d]++(?![^\x00-\x7f])"
_UNSAFE = f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_BIDI}{_INVISIBLE}{_HIDDEN}]"
_UNSAFE_IN_JSON = f"[\x7f-\x9f{_BIDI}{_INVISIBLE}{_HIDDEN}\ud800-\udfff]|{_JOINERS}"
_REF_KEY = r"""(iii:\w+:[^\s:'"]+:|\\?"access_key\\?":\s*\\?")[^\s'"\\,;)]+"""
_BREAKS = r"[\t\n\r\x0b\x0c\x85\u2028\u2029]+"
_SURROGATE = "[\ud800-\udfff]"


def clean(text: str, *, keep_newlines: bool = False) -> str:
    """`text` without control sequences, control characters, bidirectional marks and what has no width.

    Line breaks and tabs become a space, so that a line stays a line; `keep_newlines` keeps newlines and
    tabs, for text that may have several lines. Half a surrogate pair becomes U+FFFD: it has no UTF-8.
    """
    if text.isascii() and text.isprintable():
        return text
    text = re.sub(_SEQUENCE, "", text)
    text = text.replace("\r\n", "\n") if keep_newlines else re.sub(_BREAKS, " ", text)
    text = re.sub(_JOINERS, "", re.sub(_UNSAFE, "", text))
    return re.sub(_SURROGATE, "\ufffd", text)


def mask_refs(text: str) -> str:
    """`text` with `***` for the keys of the refs in it: people put refs where names and files belong."""
    return re.sub(_REF_KEY, r"\1***", text) if "iii:" in text or "access_key" in text else text


def escape_json(text: str) -> str:
    r"""JSON text with the characters that `clean` removes written as \uXXXX: the value stays the same."""
    return re.sub(_UNSAFE_IN_JSON, _escaped, text)


def _escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def width_of(text: str) -> int:
    """How many columns of a terminal `text` takes. Text that is not `clean` has no width."""
    if text.isascii():
        return len(text)
    from unicodedata import category, east_asian_width

    return sum(
        0 if category(char) in {"Mn", "Me", "Cf"} else 2 if east_asian_width(char) in {"W", "F"} else 1
        for char in text
    )


def ellipsis(text: str, columns: int) -> str:
    """`text`, cut to `columns` with a `…` where it is longer."""
    if width_of(text) <= columns:
        return text
    kept, used = 0, 1
    for char in text:
        used += width_of(char)
        if used > columns:
            break
        kept += 1
    return text[:kept].rstrip() + "…" if columns > 0 else ""


# stderr

ERASE_LINE = "\r\x1b[K"
ROWS_MAX = 1000  # that a job draws
PATIENCE = 1.0  # seconds that a full pipe holds us up: the data, and an engine, must go on


@final
class Stderr:
    """Descriptor 2: whole lines, and below them what is drawn on a terminal.

    Never raises: there is nobody left to tell.
    """

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self._drawn: Sequence[str] = ()
        self._columns = 0  # of the terminal when they were drawn
        self._lost = 0  # lines

    @property
    def is_terminal(self) -> bool:
        """Does a person read this, as it comes?"""
        return os.isatty(self._fd)

    @property
    def _has_jobs(self) -> bool:
        return self.is_terminal and hasattr(os, "tcgetpgrp")  # Windows has none

    @property
    def columns(self) -> int:
        """The width of the terminal, 80 where it does not say."""
        return _terminal_size(self._fd)[0]

    def write(self, text: str) -> None:
        """Write `text` as it is.

        A pipe that nobody reads holds us up once; then it misses lines, and hears how many.
        """
        if self._fd == 2 and _is_handed_over(sys.stderr, sys.__stderr__):
            with suppress(OSError, ValueError):
                sys.stderr.write(text)
                sys.stderr.flush()
            return
        missing = f"iii: {self._lost} lines are missing here, nobody read them\n" if self._lost else ""
        rest = memoryview(f"{missing}{text}".encode(errors="replace"))
        with suppress(OSError):
            while rest:
                if not self._takes_more():
                    self._lost += text.count("\n")
                    return
                rest = rest[os.write(self._fd, rest[:PIPE_BUF]) :]
            self._lost = 0

    def _takes_more(self) -> bool:
        patience = None if self.is_terminal else 0 if self._lost else PATIENCE
        return is_ready(self._fd, select.POLLOUT, patience)

    def write_above(self, text: str) -> None:
        """Write whole lines above what is drawn, be it by us or by another process of the job."""
        if self._drawn and self._may_draw(len(self._drawn)):
            self.write(self._erasing() + text + "\n".join(self._drawn))
        elif rows := self._rows_of_another():
            # It will go up from the last of its rows to erase them, so as many must be there.
            self.write(_erasing(rows) + text + "\n" * (rows - 1))
        else:
            self.write(text)

    def draw(self, lines: Sequence[str]) -> None:
        """Draw `lines` in place of those before; none takes them away. Nothing where somebody else draws."""
        if not lines and not self._drawn:
            return
        columns, rows = _terminal_size(self._fd)
        lines = lines[: max(1, rows - 1)]
        if self._may_draw(len(lines)):
            erasing = self._erasing()
            self._drawn, self._columns = tuple(lines), columns
            self.write(erasing + "\n".join(lines))

    def _may_draw(self, rows: int) -> bool:
        if not self._has_jobs or (self._is_ours() and self._claim(rows)):
            return True
        self._drawn = ()  # what was drawn has become part of the past
        self._claim(0)
        return False

    def _is_ours(self) -> bool:
        """May we draw? Not from the background, nor over a pager or a password prompt."""
        import termios

        try:
            if os.tcgetpgrp(self._fd) != os.getpgrp():
                return False
        except OSError:
            pass  # not the terminal of our session: nobody else's jobs are on it either
        try:
            modes: int = termios.tcgetattr(self._fd)[3]
        except termios.error:
            return True
        # Who changes these has the whole screen, or asks for a secret.
        return bool(modes & termios.ICANON and modes & termios.ECHO)

    def _erasing(self) -> str:
        """Back to where the drawing began. Most terminals fold what no longer fits when they become
        narrower. xterm and GNU screen cut, and what is above the drawing is not ours to erase.
        """
        rows, columns = len(self._drawn), self.columns
        cuts = os.environ.get("XTERM_VERSION") or os.environ.get("STY")
        if columns < self._columns and not cuts:
            rows = sum(max(1, -(-width_of(clean(line)) // columns)) for line in self._drawn)
        return _erasing(rows)

    def _claim(self, rows: int) -> bool:
        """Take the terminal for a drawing of `rows`, 0 gives it back. False: another process draws there.

        Of the processes of one job only one draws at a time, or two of a pipeline would draw over each other.
        Locks on the terminal say who: as many bytes as rows, at a place that is the job's. They vanish with
        their process. A system that has none for terminals lets everybody draw.
        """
        if not rows:
            _lock(self._fd, 0, 0, take=False)
            return True
        start = self._place()
        if not _lock(self._fd, start, rows):
            return False
        _lock(self._fd, start + rows, ROWS_MAX - rows, take=False)
        return True

    def _rows_of_another(self) -> int:
        """How many rows another process of the job in the foreground draws at the moment."""
        if not self._has_jobs or _is_handed_over(sys.stderr, sys.__stderr__):
            return 0
        start, rows = self._place(), 0
        while rows < ROWS_MAX and not _lock(self._fd, start + rows, 1):
            rows += 1
        _lock(self._fd, start + rows, 1, take=False)
        return rows

    def _place(self) -> int:
        try:
            return ROWS_MAX * os.tcgetpgrp(self._fd)
        except OSError:
            return 0  # not the terminal of our session


def _erasing(rows: int) -> str:
    return ERASE_LINE if rows < 2 else f"\r\x1b[{rows - 1}A\x1b[J"


def _lock(fd: int, start: int, count: int, *, take: bool = True) -> bool:
    """Lock these bytes, or let go of them; 0: all that follow. False where another process has some."""
    from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf

    try:
        lockf(fd, LOCK_EX | LOCK_NB if take else LOCK_UN, count, start)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)
    return True


def _terminal_size(fd: int) -> tuple[int, int]:
    """Columns and rows; 80 and 24 where it does not say."""
    try:
        columns, rows = os.get_terminal_size(fd)
    except OSError:
        return 80, 24
    return columns or 80, rows or 24


def _is_handed_over(stream: object, own: object) -> bool:
    """Has a test, or a program that runs us inside, put something in the place of a standard stream?"""
    return stream is not None and stream is not own


PREFIX = "iii: "


@final
class Console:
    """Tells people and programs on stderr what happens. Nothing here raises.

    `facts` are the fields of the last event: bytes, digest, verified, seconds.
    """

    def __init__(self, stderr: Stderr | None = None) -> None:
        self.stderr = Stderr() if stderr is None else stderr
        self.quiet = False
        self.as_json = False
        self.facts: dict[str, Any] = {}
        self._amid_a_line = False  # data on the terminal

    @property
    def room(self) -> int:
        """Columns of the terminal that one line of ours has."""
        return self.stderr.columns - len(PREFIX)

    def configure(self, *, quiet: bool | None = None, as_json: bool | None = None) -> None:
        """`-q` and `--progress json`. What is None stays as it is."""
        self.quiet = self.quiet if quiet is None else quiet
        self.as_json = self.as_json if as_json is None else as_json

    def notice(self, text: str) -> None:
        """One line for a person, unless it wants quiet. The text may be a stranger's: it is cleaned."""
        if not self.quiet:
            self.tell(text)

    def tell(self, text: str) -> None:
        """One line for a person that even `-q` does not silence."""
        text = clean(text)
        if self.as_json:
            self.event("notice", {"message": text})
        else:
            self._line(f"{PREFIX}{text}")

    def problem(self, failure: Failure) -> None:
        """What went wrong: one line. A failed function as the engine's own CLI shows it."""
        if self.as_json:
            fields = {
                "message": clean(failure.message),
                "hint": None if failure.hint is None else clean(failure.hint),
                "where": failure.where,
                "exit": int(failure.exit_status),
            }
            self.event("error", fields)
        elif isinstance(failure, FunctionFailed):
            import json

            body = escape_json(json.dumps(failure.body(), indent=2, ensure_ascii=False))
            self._line(f"Error: {body}" + (f"\niii: {clean(failure.hint)}" if failure.hint else ""))
        else:
            self._line(f"{PREFIX}{clean(str(failure))}")

    def event(self, name: str, fields: Mapping[str, Any]) -> None:
        """One JSON object on one line. Only where `as_json` was asked for."""
        import json

        document = json.dumps({"event": name, **fields}, ensure_ascii=False, separators=(",", ":"))
        self._line(escape_json(document))

    def done(self, exit_status: int) -> None:
        """The last thing: take the drawing away; in JSON mode the last event."""
        self.draw()
        if self.as_json:
            nothing = dict.fromkeys(("bytes", "digest", "verified", "seconds"))
            self.event("done", {"exit": int(exit_status), **nothing, **self.facts})

    def draw(self, *lines: str) -> None:
        """Keep `lines` as the last ones of the terminal, in place of those before; none takes them away."""
        self.stderr.draw(lines)

    def data_was_shown(self, last: bytes) -> None:
        """Data went to the terminal, and ended with that byte, if any came at all."""
        self._amid_a_line = last != b"\n" if last else self._amid_a_line

    def new_line(self) -> str:
        """What brings the terminal to the start of a line, once, where data left it amid one."""
        amid, self._amid_a_line = self._amid_a_line, False
        return "\n" if amid and self.stderr.is_terminal else ""

    def _line(self, text: str) -> None:
        self.stderr.write_above(f"{self.new_line()}{mask_refs(text)}\n")


console = Console()
"""The one of this process."""

# stdout

GAP = "  "
NARROW = 12  # columns: what is not wider is not cut, rather is the last column left out
NARROWEST = 8  # columns below which a cut text says nothing


def stdout_is_terminal() -> bool:
    """Does a person read our stdout?"""
    return sys.stdout.isatty() if _is_handed_over(sys.stdout, sys.__stdout__) else os.isatty(1)


def stdout_columns() -> int:
    """How wide the terminal is that reads our stdout; 80 where it does not say."""
    return _terminal_size(1)[0]


def emit(text: str) -> None:
    """Write `text` to stdout, all of it, and at once.

    A terminal gets it without control and bidirectional characters, a program as it is. Waits for a slow
    reader and cannot be cancelled: not for streams. Raises BrokenPipeError, and LocalProblem (a full disk, a
    closed stdout).
    """
    if stdout_is_terminal():
        text = clean(text, keep_newlines=True)
    if _is_handed_over(sys.stdout, sys.__stdout__):
        sys.stdout.write(text)
        return
    try:
        if sys.stdout is not None:
            sys.stdout.flush()  # what others printed before comes first
        rest = memoryview(text.encode(errors="replace"))
        while rest:
            try:
                rest = rest[os.write(1, rest) :]
            except BlockingIOError:  # someone made the shell's description non-blocking
                is_ready(1, select.POLLOUT, None)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write("standard output", error) from None


def print_json(value: Any) -> None:
    """Print one document. On a terminal nothing in it moves the cursor, and its value stays the same."""
    import json

    text = json.dumps(value, indent=2, ensure_ascii=False)
    if stdout_is_terminal() or re.search(_SURROGATE, text):  # half a pair has no UTF-8
        text = escape_json(text)
    emit(text + "\n")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table for a person; for a program the rows alone, tab-separated, one line each.

    The texts may be a stranger's: they are cleaned. The first column is never cut, it is what people copy.
    """
    table = [[clean(cell) for cell in row] for row in rows]
    if not stdout_is_terminal():
        emit("".join("\t".join(row) + "\n" for row in table))
    elif table:
        emit("".join(_lines([list(header), *table], stdout_columns())))


def _lines(table: list[list[str]], columns: int) -> Iterable[str]:
    widths = _fit([max(map(width_of, column)) for column in zip(*table, strict=True)], columns)
    cut = [[first, *map(ellipsis, others, widths[1:])] for first, *others in table]
    return (f"{line}\n" for line in aligned(cut, widths))


def aligned(rows: Sequence[Sequence[str]], widths: Sequence[int] | None = None) -> Iterator[str]:
    """A line for each row of clean texts, in columns as wide as what stands in them."""
    if widths is None:
        widths = [max(map(width_of, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=True))
        yield GAP.join(padded).rstrip()


def _fit(widths: list[int], columns: int) -> list[int]:
    """Take from the widest column until all fit; then leave columns out, the last ones first.

    A first column that has the whole line is not waited for: its longest cells stand out of the table.
    """
    widths = list(widths)
    if widths[0] + len(GAP) + NARROWEST > columns:
        widths[0] = max(NARROWEST, columns // 2)
    while len(widths) > 1 and sum(widths) + len(GAP) * (len(widths) - 1) > columns:
        widest = max(range(1, len(widths)), key=widths.__getitem__)
        if widths[widest] > (NARROW if len(widths) > 2 else NARROWEST):
            widths[widest] -= 1
        elif len(widths) > 2:
            widths.pop()
        else:
            break
    return widths

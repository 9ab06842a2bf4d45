"""What people and programs are told: stderr, tables, JSON, clean text."""

from __future__ import annotations

import errno
import os
import re
import select
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any, NamedTuple, final

from iii_cli.errors import Failure, FunctionFailed, cannot_write
from iii_cli.io.descriptors import Kind, grow_pipe, kind_of, own_description, writable

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

__all__ = (
    "GAP",
    "Drawing",
    "Finding",
    "Outlet",
    "Stderr",
    "Talk",
    "clean",
    "ellipsis",
    "emit",
    "escape_json",
    "mask_refs",
    "print_checklist",
    "print_json",
    "print_table",
    "span_text",
    "stdout_columns",
    "stdout_is_terminal",
    "talk",
    "volume_text",
    "width_of",
)


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


def volume_text(count: float) -> str:
    """`0 B`, `1023 B`, `1.50 KiB`, `64.0 MiB`, `640 MiB`: three digits that count, in powers of 1024."""
    if count < 1023.5:
        return f"{count:.0f} B"
    unit = ""
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):  # noqa: B007 - the last one reached is the one to show
        count /= 1024
        if count < 999.5:
            break
    digits = 2 if count < 9.995 else 1 if count < 99.95 else 0
    return f"{count:.{digits}f} {unit}"


def span_text(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


PIPE_BUF = 4096  # what a writable pipe takes without blocking (pipe(7))


@final
class Outlet:
    """Raises OSError where `fd` is not open for writing. Never closes `fd`."""

    def __init__(self, fd: int) -> None:
        if not writable(fd):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.kind = kind_of(fd)
        self._fd = fd
        self._own: int | None = None
        self._socket: socket.socket | None = None
        if self.kind is Kind.SOCKET:
            self._open_socket()
        elif self.kind in {Kind.PIPE, Kind.TERMINAL}:
            if self.kind is Kind.PIPE:
                grow_pipe(fd)
            self._own = own_description(fd, os.O_WRONLY)
        self._blocks = self._own is None and self._may_block()

    @property
    def ready_fd(self) -> int:
        """The descriptor to wait for after a BlockingIOError."""
        return self._fd if self._own is None else self._own

    def offer(self, data: memoryview) -> int:
        """Write a part of `data`; how much. Raises OSError, and BlockingIOError where nothing fits."""
        if self._socket is not None:
            return self._socket.send(data, self._flags)
        if self._blocks:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            if not poll.poll(0):
                raise BlockingIOError
            return os.write(self._fd, data[:PIPE_BUF])
        return os.write(self.ready_fd, data)

    def close(self) -> None:
        """Give back what was opened here. Safe to repeat. Raises OSError."""
        if self._socket is not None:
            self._socket.detach()
            self._socket = None
        if self._own is not None:
            own, self._own, self._blocks = self._own, None, True
            os.close(own)

    def _may_block(self) -> bool:
        """Not a file, and no device such as /dev/null, which epoll refuses because it is always ready."""
        if self.kind in {Kind.FILE, Kind.BLOCK}:
            return False
        if self.kind is not Kind.DEVICE or not hasattr(select, "epoll"):
            return True
        with select.epoll() as probe:
            try:
                probe.register(self._fd, select.EPOLLOUT)
            except PermissionError:
                return False
        return True

    def _open_socket(self) -> None:
        import socket

        self._socket = socket.socket(fileno=self._fd)
        self._flags = socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0)


BACKLOG_BYTES = 64 << 10  # as much again as a pipe of the usual size holds
ROWS_MAX = 1000  # that a job draws
PATIENCE = 1.0  # seconds that a full backlog may hold us up, once: a slow reader keeps up, a stalled one not


@final
class Stderr:
    """Writes to descriptor 2 without ever raising: there is nobody left to tell."""

    def __init__(self, fd: int = 2, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fd = fd
        self._clock = clock
        self._outlet: Outlet | None = None
        self._gone = False
        self._stalled = False
        self._backlog = bytearray()
        self._lost = 0

    @property
    def is_terminal(self) -> bool:
        """Does a person read this, as it comes?"""
        outlet = self._open()
        return outlet is not None and outlet.kind is Kind.TERMINAL

    @property
    def columns(self) -> int:
        """The width of the terminal, 80 where it does not say."""
        try:
            return os.get_terminal_size(self._fd).columns or 80
        except OSError:
            return 80

    @property
    def rows(self) -> int:
        """The height of the terminal, 24 where it does not say."""
        try:
            return os.get_terminal_size(self._fd).lines or 24
        except OSError:
            return 24

    @property
    def is_ours(self) -> bool:
        """May we draw on the terminal? Not from the background, over a pager, or over a password prompt."""
        if not hasattr(os, "tcgetpgrp"):  # Windows has no jobs
            return True
        try:
            if os.tcgetpgrp(self._fd) != os.getpgrp():
                return False
        except OSError:
            pass  # not the terminal of our session: nobody else's jobs are on it either
        return _is_plain(self._fd)

    def claim(self, rows: int) -> bool:
        """Take the terminal for a drawing of `rows`, 0 gives it back. False: another process draws there.

        Of the processes of one job only one draws at a time, or two of a pipeline would draw over each other.
        Locks on the terminal say who: as many bytes as rows, at a place that is the job's. They vanish with
        their process. A system that has none for terminals lets everybody draw.
        """
        if rows == 0:
            _lock(self._fd, 0, 0, take=False)
            return True
        start = self._place()
        if not _lock(self._fd, start, rows):
            return False
        _lock(self._fd, start + rows, ROWS_MAX - rows, take=False)
        return True

    def rows_of_another(self) -> int:
        """How many rows another process of the job in the foreground draws at the moment."""
        if not self.is_terminal:
            return 0
        start, rows = self._place(), 0
        while rows < ROWS_MAX and not _lock(self._fd, start + rows, 1):
            rows += 1
        _lock(self._fd, start + rows, 1, take=False)
        return rows

    def _place(self) -> int:
        try:
            return ROWS_MAX * os.tcgetpgrp(self._fd)
        except (OSError, AttributeError):
            return 0  # not the terminal of our session, or no jobs

    @property
    def is_idle(self) -> bool:
        """Has everything that was written left us? A drawing that is not urgent waits for that."""
        self._push()
        return not self._backlog

    def write(self, text: str) -> None:
        """Take whole lines. Returns at once, or within a second if the backlog is full and nothing reads."""
        if self._fd == 2 and sys.stderr is not sys.__stderr__ and sys.stderr is not None:
            _hand_over(text)
            return
        data = text.encode(errors="replace")
        if len(self._backlog) + len(data) > BACKLOG_BYTES and not self._make_room(len(data)):
            self._lost += text.count("\n")
            return
        self._backlog += data
        self._push()

    def drain(self, seconds: float = PATIENCE) -> None:
        """Wait until everything has left us, for `seconds` at most: before the process ends."""
        deadline = self._clock() + seconds
        while not self.is_idle:
            left = deadline - self._clock()
            if left <= 0 or not self._wait(left):
                return

    def _make_room(self, size: int) -> bool:
        """Wait for a reader that is slow. One that has stalled is not waited for again until it moves."""
        deadline = self._clock() + PATIENCE
        while True:
            before = len(self._backlog)
            self._push()
            self._stalled = self._stalled and len(self._backlog) == before
            if not self._backlog or len(self._backlog) + size <= BACKLOG_BYTES:
                return True
            left = deadline - self._clock()
            if self._stalled or left <= 0 or not self._wait(left):
                self._stalled = True
                return False

    def _push(self) -> None:
        """Write what fits."""
        outlet = self._open()
        if outlet is None:
            self._backlog.clear()
            return
        try:
            while self._backlog:
                with memoryview(self._backlog) as view:
                    count = outlet.offer(view)
                del self._backlog[:count]
                if not self._backlog and self._lost:
                    lost, self._lost = self._lost, 0
                    self._backlog += f"iii: {lost} lines are missing here, nobody read them\n".encode()
        except BlockingIOError:
            return
        except OSError:
            self._gone = True
            self._backlog.clear()

    def _open(self) -> Outlet | None:
        if self._outlet is None and not self._gone:
            try:
                self._outlet = Outlet(self._fd)
            except OSError:
                self._gone = True
        return None if self._gone else self._outlet

    def _wait(self, seconds: float) -> bool:
        outlet = self._open()
        if outlet is None:
            return False
        poll = select.poll()
        poll.register(outlet.ready_fd, select.POLLOUT)
        return bool(poll.poll(max(1, int(seconds * 1000))))


def _lock(fd: int, start: int, count: int, *, take: bool = True) -> bool:
    """Lock these bytes, or let go of them; 0: all that follow. False where another process has some."""
    try:
        from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, lockf
    except ImportError:  # Windows
        return True
    try:
        lockf(fd, LOCK_EX | LOCK_NB if take else LOCK_UN, count, start)
    except OSError as error:
        return error.errno not in (errno.EAGAIN, errno.EACCES)
    return True


def _is_plain(fd: int) -> bool:
    """Does the terminal edit lines and echo them? Whoever changes that has the whole screen, or asks for a
    secret.
    """
    import termios

    try:
        modes: int = termios.tcgetattr(fd)[3]
    except termios.error:
        return True
    return bool(modes & termios.ICANON and modes & termios.ECHO)


def _hand_over(text: str) -> None:
    """Someone else wants to have it: a test, a program that runs us inside."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):
        return


ERASE_LINE = "\r\x1b[K"


@final
class Drawing:
    """Knows what is drawn on `stderr`, and gives the text that changes it. The caller writes that."""

    def __init__(self, stderr: Stderr) -> None:
        self._stderr = stderr
        self._lines: Sequence[str] = ()
        self._columns = 0  # of the terminal when they were drawn

    def replace(self, lines: Sequence[str]) -> str:
        """Draw `lines` in place of those before. Nothing on a terminal that somebody else has now."""
        if not lines and not self._lines:
            return ""
        lines = lines[: max(1, self._stderr.rows - 1)]
        if not self._may_draw(len(lines)):
            return ""
        return self._erase() + self._put(lines)

    def around(self, text: str) -> str:
        """Whole lines above what is drawn, be it by us or by another process of the job."""
        if self._lines and self._may_draw(len(self._lines)):
            return self._erase() + text + self._put(self._lines)
        if rows := self._stderr.rows_of_another():
            # It will go up from the last of its rows to erase them, so as many must be there.
            return f"{_erasing(rows)}{text}" + "\n" * (rows - 1)
        return text

    def _may_draw(self, rows: int) -> bool:
        if not self._stderr.is_terminal or (self._stderr.is_ours and self._stderr.claim(rows)):
            return True
        self._lines = ()  # what was drawn has become part of the past
        self._stderr.claim(0)
        return False

    def _put(self, lines: Sequence[str]) -> str:
        self._lines = tuple(lines)
        self._columns = self._stderr.columns
        return "\n".join(self._lines)

    def _erase(self) -> str:
        """Back to where the drawing began. Most terminals fold what no longer fits when they become
        narrower.
        """
        rows, columns = len(self._lines), self._stderr.columns
        if columns < self._columns and _folds():
            rows = sum(max(1, -(-width_of(clean(line)) // columns)) for line in self._lines)
        return _erasing(rows)


def _erasing(rows: int) -> str:
    return ERASE_LINE if rows < 2 else f"\r\x1b[{rows - 1}A\x1b[J"


def _folds() -> bool:
    """Not xterm itself and not GNU screen: these cut, and what is above the drawing is not ours to erase."""
    return not os.environ.get("XTERM_VERSION") and not os.environ.get("STY")


PREFIX = "iii: "


@final
class Talk:
    """Nothing here raises, and nothing waits for a reader of stderr for longer than a second.

    `facts` are the fields of the last event: bytes, digest, verified, seconds.
    """

    def __init__(self, stderr: Stderr | None = None) -> None:
        self.stderr = Stderr() if stderr is None else stderr
        self.quiet = False
        self.as_json = False
        self.facts: dict[str, Any] = {}
        self._drawing = Drawing(self.stderr)
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
        """What went wrong: one line. A failed function as the engine's own CLI shows it (protocol.md 8.2)."""
        if self.as_json:
            self.event("error", _error_fields(failure))
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
        """Say the last thing: in JSON mode the last event, else what is left of the backlog."""
        self.draw()
        if self.as_json:
            nothing = dict.fromkeys(("bytes", "digest", "verified", "seconds"))
            self.event("done", {"exit": int(exit_status), **nothing, **self.facts})
        self.stderr.drain()

    def draw(self, *lines: str) -> None:
        """Keep `lines` as the last ones of the terminal, in place of those before; none takes them away.

        Skipped while the terminal is behind: the next drawing will do.
        """
        if not lines or self.stderr.is_idle:
            self.stderr.write(self._drawing.replace(lines))

    def data_was_shown(self, last: bytes) -> None:
        """Data went to the terminal, and ended with that byte, if any came at all."""
        self._amid_a_line = last != b"\n" if last else self._amid_a_line

    def new_line(self) -> str:
        """What brings the terminal to the start of a line, once, where data left it amid one."""
        amid, self._amid_a_line = self._amid_a_line, False
        return "\n" if amid and self.stderr.is_terminal else ""

    def _line(self, text: str) -> None:
        self.stderr.write(self.new_line() + self._drawing.around(f"{mask_refs(text)}\n"))


talk = Talk()
"""The one of this process."""


def _error_fields(failure: Failure) -> dict[str, Any]:
    return {
        "message": clean(failure.message),
        "hint": None if failure.hint is None else clean(failure.hint),
        "where": failure.where,
        "exit": int(failure.exit_status),
    }


GAP = "  "
NARROW = 12  # columns: what is not wider is not cut, rather is the last column left out
NARROWEST = 8  # columns below which a cut text says nothing


def stdout_is_terminal() -> bool:
    """Does a person read our stdout?"""
    if _is_handed_over():
        return sys.stdout.isatty()
    try:
        return os.isatty(1)
    except OSError:
        return False


def emit(text: str) -> None:
    """Write `text` to stdout, all of it, and at once.

    A terminal gets it without control and bidirectional characters, a program as it is. Waits for a slow
    reader and cannot be cancelled: not for streams. Raises BrokenPipeError, and LocalProblem (a full disk, a
    closed stdout).
    """
    if stdout_is_terminal():
        text = clean(text, keep_newlines=True)
    if _is_handed_over():
        sys.stdout.write(text)
        return
    rest = memoryview(text.encode(errors="replace"))
    try:
        if sys.stdout is not None:
            sys.stdout.flush()  # what others printed before comes first
        while rest:
            rest = rest[_write(rest) :]
    except BrokenPipeError:
        raise
    except OSError as error:
        raise cannot_write("standard output", error) from None


def print_json(value: Any, *, sort_keys: bool = False) -> None:
    """Print one document. On a terminal nothing in it moves the cursor, and its value stays the same."""
    import json

    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=sort_keys)
    emit((escape_json(text) if stdout_is_terminal() or not _has_utf8(text) else text) + "\n")


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
    for first, *others in table:
        cells = [first, *map(ellipsis, others, widths[1:])]
        padded = (cell + " " * (width - width_of(cell)) for cell, width in zip(cells, widths, strict=False))
        yield GAP.join(padded).rstrip() + "\n"


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


def stdout_columns() -> int:
    """How wide the terminal is that reads our stdout; 80 where it does not say."""
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def _is_handed_over() -> bool:
    """Has a test, or a program that runs us inside, put something in the place of stdout?"""
    return sys.stdout is not None and sys.stdout is not sys.__stdout__


def _has_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _write(rest: memoryview) -> int:
    while True:
        try:
            return os.write(1, rest)
        except BlockingIOError:  # someone made the shell's description non-blocking
            poll = select.poll()
            poll.register(1, select.POLLOUT)
            poll.poll()


CHECKLIST_NARROWEST = 20  # columns for the text, however narrow the terminal is


class Finding(NamedTuple):
    """One thing that was looked at. The texts may be a stranger's: they are cleaned where they are
    printed.
    """

    check: str
    level: str  # ok, note, warning, problem
    found: str
    advice: str | None = None  # what to do; None where it is fine


def print_checklist(findings: Sequence[Finding]) -> None:
    """Print all; nothing is cut. Piped: level, check, what was found and what to do, between tabs.

    Raises as `emit`.
    """
    if stdout_is_terminal():
        lines = _wrapped(findings, stdout_columns())
    else:
        lines = ("\t".join(clean(cell) for cell in _cells(finding)) for finding in findings)
    emit("".join(f"{line}\n" for line in lines))


def _cells(finding: Finding) -> tuple[str, str, str, str]:
    return (finding.level, finding.check, finding.found, finding.advice or "")


def _wrapped(findings: Sequence[Finding], columns: int) -> Iterator[str]:
    level_width = max((len(finding.level) for finding in findings), default=0)
    check_width = max((len(finding.check) for finding in findings), default=0)
    margin = " " * (level_width + check_width + 2 * len(GAP))
    width = max(columns - len(margin), CHECKLIST_NARROWEST)
    for finding in findings:
        head = f"{finding.level:{level_width}}{GAP}{finding.check:{check_width}}{GAP}"
        for at, line in enumerate(_fold(finding.found, width) or [""]):
            yield (margin if at else head) + line
        if finding.advice:
            for at, line in enumerate(_fold(finding.advice, width - len("-> "))):
                yield margin + ("   " if at else "-> ") + line


def _fold(text: str, width: int) -> list[str]:
    return textwrap.wrap(clean(text), width, break_long_words=False, break_on_hyphens=False)

"""What goes to stdout when it is not a stream: tables for people, tab-separated lines and JSON for programs.

Light: no rich. It would cost more than most commands take, for lines around a table.
"""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING, Any

from iii_cli.errors import LocalProblem
from iii_cli.terminal.text import clean, ellipsis, escape_json, width_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ("GAP", "emit", "print_json", "print_table", "stdout_columns", "stdout_is_terminal")

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
        raise LocalProblem(f"cannot write to standard output: {error.strerror or error}") from None


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

"""Rows: a table on a terminal, tab-separated values without a header for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

__all__ = ("print_rows",)


def print_rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write the rows to stdout. Their text may be a stranger's: it is cleaned, and one row stays one line."""
    from iii_cli.terminal.text import clean, width_of

    table = [[clean(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        sys.stdout.writelines("\t".join(row) + "\n" for row in table)
        return
    if not table:
        return
    table.insert(0, list(header))
    widths = [max(map(width_of, column)) for column in zip(*table, strict=True)]
    for row in table:
        padded = (cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")

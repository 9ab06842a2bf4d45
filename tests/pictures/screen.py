"""What stands on a terminal after everything was written to it: as much of one as our output needs."""

from __future__ import annotations

import re

__all__ = ("shown",)

TOKEN = re.compile(
    r"\x1b\[(?P<count>\d*)(?P<move>[AKJ])|(?P<style>\x1b\[[\d;]*m)|\x1b\[[?\d;]*[a-zA-Z]|(?P<text>.)", re.S
)


def shown(written: str) -> str:
    """The lines that are left, styles included, after the cursor went back, up, and erased.

    Lines are as long as they are: nothing wraps. A style belongs to the character behind it.
    """
    rows: list[list[str]] = [[]]
    row = column = 0
    pending = ""
    for match in TOKEN.finditer(written):
        text, move = match["text"], match["move"]
        if match["style"]:
            pending += match["style"]
        elif move == "A":
            row = max(0, row - int(match["count"] or 1))
        elif move == "K":
            del rows[row][0 if match["count"] == "2" else column :]
        elif move == "J":
            del rows[row][column:], rows[row + 1 :]
        elif text == "\r":
            column = 0
        elif text == "\n":
            row += 1
            rows += [[] for _ in range(row + 1 - len(rows))]
        elif text is not None:
            rows[row] += [" "] * (column - len(rows[row]))
            rows[row][column : column + 1] = [pending + text]
            column, pending = column + 1, ""
    rows[row][column:column] = [pending]
    return "\n".join("".join(cells).rstrip() for cells in rows)

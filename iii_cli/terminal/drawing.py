"""The last lines of a terminal, drawn again and again in the same place.

Light: talk is needed before anything heavy is loaded.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

from iii_cli.terminal.text import clean, width_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.terminal.stderr import Stderr

__all__ = ("Drawing",)

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
        if self._stderr.is_terminal and not self._stderr.is_ours:
            self._lines = ()  # what was drawn has become part of the past
            return ""
        return self._erase() + self._put(lines)

    def around(self, text: str) -> str:
        """Whole lines above what is drawn."""
        lines, before = self._lines, self.replace(())
        return before + text + self._put(lines) if before else text

    def _put(self, lines: Sequence[str]) -> str:
        self._lines = tuple(lines[: max(1, self._stderr.rows - 1)])
        self._columns = self._stderr.columns
        return "\n".join(self._lines)

    def _erase(self) -> str:
        """Back to where the drawing began. Most terminals fold what no longer fits when they become
        narrower.
        """
        rows, columns = len(self._lines), self._stderr.columns
        if columns < self._columns and _folds():
            rows = sum(max(1, -(-width_of(clean(line)) // columns)) for line in self._lines)
        return ERASE_LINE if rows < 2 else f"\r\x1b[{rows - 1}A\x1b[J"


def _folds() -> bool:
    """Not xterm itself and not GNU screen: these cut, and what is above the drawing is not ours to erase."""
    return not os.environ.get("XTERM_VERSION") and not os.environ.get("STY")

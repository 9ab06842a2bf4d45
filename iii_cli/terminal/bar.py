"""The bar itself, drawn by rich: loaded only when one is really shown."""

from __future__ import annotations

from io import StringIO
from typing import final

from rich.console import Console
from rich.progress_bar import ProgressBar

__all__ = ("Bar",)


@final
class Bar:
    """Draws into text: where the line goes, and whether it goes, is decided elsewhere."""

    def __init__(self, *, color: bool | None = None) -> None:
        """`color` None: as NO_COLOR and the terminal say."""
        self._text = StringIO()
        self._console = Console(
            file=self._text, force_terminal=True, legacy_windows=False,
            no_color=None if color is None else not color,
        )  # fmt: skip

    def draw(self, fraction: float, width: int) -> str:
        """`width` columns, `fraction` (0 to 1) of them done."""
        bar = ProgressBar(total=1.0, completed=fraction, width=width)
        self._console.print(bar, end="")
        drawn = self._text.getvalue().rstrip("\n")
        self._text.seek(0)
        self._text.truncate()
        return (
            drawn if "\x1b" in drawn else drawn.ljust(width, "─")
        )  # without colours rich leaves the rest out

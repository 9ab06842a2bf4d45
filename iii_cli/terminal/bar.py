"""The bar itself, drawn by rich where the terminal has the characters: loaded only when one is shown."""

from __future__ import annotations

import os
from io import StringIO
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("Bar",)


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

"""Text of a stranger, made safe to print (design.md section 3: no control, no bidirectional characters)."""

from __future__ import annotations

import unicodedata

__all__ = ("printable",)

# control, format (the bidirectional ones are among them), lone surrogates, private use, line ends
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def printable(text: str, limit: int = 500) -> str:
    """`text` on one line without control, bidirectional or other invisible characters, at most `limit` long.

    What is taken away leaves a space, so words do not run together. Longer text ends with an ellipsis.
    """
    if len(text) > 2 * limit:
        text = text[: 2 * limit]  # a bound on the work below
    clean = "".join(" " if unicodedata.category(c) in _HIDDEN else c for c in text)
    words = " ".join(clean.split())
    return words if len(words) <= limit else f"{words[: limit - 1]}…"

"""Text that came from a worker or the engine, made safe for a person's terminal (design.md section 3).

A description may hold escape sequences that move the cursor, set the clipboard or hide what follows,
and bidirectional marks that make one command look like another. Light: the standard library only.
"""

from __future__ import annotations

import re

__all__ = ("clean", "ellipsis", "escape_json", "mask_refs", "width_of")

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

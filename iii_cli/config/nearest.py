"""What a mistyped name was probably meant to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.errors import UsageProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("did_you_mean", "nearest", "unknown_name")


def nearest(name: str, known: Sequence[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    import difflib

    matches = difflib.get_close_matches(name[:200], known, n=1)
    return matches[0] if matches else None


def did_you_mean(match: str | None, otherwise: str | None = None) -> str | None:
    """The hint that names what was probably meant, or `otherwise`."""
    return f"did you mean {match!r}?" if match else otherwise


def unknown_name(noun: str, name: str, known: Sequence[str], otherwise: str) -> UsageProblem:
    """The error for a name that is not there, with the nearest that is, or `otherwise` as the hint."""
    return UsageProblem(f"no {noun} {name!r}", hint=did_you_mean(nearest(name, known), otherwise))

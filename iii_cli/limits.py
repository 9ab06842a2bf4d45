"""Time limits that nobody sets on the command line, and how a test shortens them.

`III_TEST_LIMITS="drain=1,silence=2.5"` is for our own tests: what lasts a minute is tried in a second.
"""

from __future__ import annotations

import os

__all__ = ("limit",)

_SHORTENED = dict(
    pair.split("=", 1) for pair in os.environ.get("III_TEST_LIMITS", "").split(",") if "=" in pair
)


def limit(name: str, seconds: float) -> float:
    """The limit of that name: `seconds`, unless a test says otherwise."""
    return float(_SHORTENED.get(name, seconds))

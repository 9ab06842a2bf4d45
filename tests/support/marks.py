"""Cases of a test that newcomers need not wait for."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ("in_ci",)


def in_ci(*cases: Any) -> list[Any]:
    """Parameters that only CI runs; a tuple has one for each name."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.ci) for case in cases
    ]

"""Cases of a test that newcomers need not wait for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("in_ci", "in_ci_but")


def in_ci(*cases: Any) -> list[Any]:
    """Parameters that only CI runs; a tuple has one for each name."""
    return [
        pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.ci) for case in cases
    ]


def in_ci_but(kept: Iterable[Any], cases: Iterable[Any]) -> list[Any]:
    """All cases as parameters, in their order; only CI runs those that are not among `kept`."""
    quick, every = list(kept), list(cases)
    assert all(case in every for case in quick), "what is kept is one of the cases"
    return [case if case in quick else in_ci(case)[0] for case in every]

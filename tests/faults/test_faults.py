"""Every misfortune of a sealed stream, through the installed program. See cases.py and running.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.cases import CASES, CI_CASES, Case
from tests.faults.running import Engine, Run, engine_running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.running import Outcome

OUTCOMES = pytest.StashKey[list["Outcome"]]()


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[Engine]:
    with engine_running() as engine:
        yield engine


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            case,
            id=str(case),
            marks=[pytest.mark.soak, *([pytest.mark.ci] if case.number in CI_CASES else [])],
        )
        for case in CASES
    ],
)
def test_no_misfortune_is_taken_for_success(
    case: Case, shared_engine: Engine, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if case.victim == "engine":
        with engine_running() as engine:
            outcome = Run(case, engine, tmp_path).outcome()
    else:
        outcome = Run(case, shared_engine, tmp_path).outcome()
    request.config.stash.setdefault(OUTCOMES, []).append(outcome)
    assert not outcome.wrong, outcome.row()


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 300
    assert len(CI_CASES) == len(CASES) // 3

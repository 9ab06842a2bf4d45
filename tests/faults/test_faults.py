"""Every misfortune of a sealed stream, through the installed program. See cases.py and running.py."""

from __future__ import annotations

import resource
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.cases import CASES, CI_CASES
from tests.faults.pipelines import CI_PIPELINES, PIPELINES
from tests.faults.running import Engine, Run, engine_running
from tests.faults.signalling import PipelineRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.faults.case import Case
    from tests.faults.pipelines import Pipeline
    from tests.faults.running import Outcome

OUTCOMES = pytest.StashKey[list["Outcome"]]()


@pytest.fixture(scope="module")
def shared_engine() -> Iterator[Engine]:
    with engine_running() as engine:
        yield engine


@pytest.fixture(scope="module", autouse=True)
def no_core_files() -> Iterator[None]:
    """Some signals leave one where the system is told so."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


def trials(cases: Iterable[Case | Pipeline], in_ci: frozenset[int]) -> list[Any]:
    """All of them by hand, some of them in CI."""
    return [
        pytest.param(case, id=str(case), marks=pytest.mark.ci if case.number in in_ci else pytest.mark.soak)
        for case in cases
    ]


def check(outcome: Outcome, request: pytest.FixtureRequest) -> None:
    request.config.stash.setdefault(OUTCOMES, []).append(outcome)
    assert not outcome.wrong, outcome.row()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("case", trials(CASES, CI_CASES))
def test_no_misfortune_is_taken_for_success(
    case: Case, shared_engine: Engine, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if case.victim == "engine":
        with engine_running() as engine:
            outcome = Run(case, engine, tmp_path).outcome()
    else:
        outcome = Run(case, shared_engine, tmp_path).outcome()
    check(outcome, request)


@pytest.mark.timeout(60)
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how a producer ended")
@pytest.mark.parametrize("case", trials(PIPELINES, CI_PIPELINES))
def test_no_half_of_a_pipeline_is_sealed(
    case: Pipeline, shared_engine: Engine, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    check(PipelineRun(case, shared_engine, tmp_path).outcome(), request)


def test_there_are_enough_cases() -> None:
    assert len(CASES) + len(PIPELINES) >= 1100
    assert 200 <= len(CI_CASES) + len(CI_PIPELINES) <= (len(CASES) + len(PIPELINES)) // 3

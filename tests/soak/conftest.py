"""How long the soak takes: `--hours`, or III_SOAK_MINUTES, or ten minutes."""

from __future__ import annotations

import os

import pytest

MARGIN = 1200  # seconds beyond the load


def _minutes(config: pytest.Config) -> float:
    hours: float | None = config.getoption("--hours")
    return hours * 60 if hours is not None else float(os.environ.get("III_SOAK_MINUTES", "10"))


@pytest.fixture
def minutes(request: pytest.FixtureRequest) -> float:
    return _minutes(request.config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "minutes" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(_minutes(config) * 60 + MARGIN))

"""What every test shares: both event loops."""

from __future__ import annotations

import gc

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hours", type=float, help="how long the soak takes (tests/soak); ten minutes without")


def pytest_collection_finish() -> None:
    """What was collected stays to the end: tests that look for garbage need not go through it each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish() -> None:
    """Plugins that look for garbage at the end find everything again."""
    gc.unfreeze()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Async tests run on both loops."""
    backend: str = request.param
    return backend

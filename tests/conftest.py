"""What every test shares: both event loops."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hours", type=float, help="how long the soak takes (tests/soak); ten minutes without")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Async tests run on both loops."""
    backend: str = request.param
    return backend

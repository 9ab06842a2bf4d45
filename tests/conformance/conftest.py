"""The engine that the conversations are held with: ours, or the one at III_CONFORMANCE_URL."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.clocked import clocked_engine
from tests.support.stage import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.clocked import Clock


@pytest.fixture
def anyio_backend() -> str:
    """The client of these tests is asyncio's, and `engine run` is too."""
    return "asyncio"


@pytest.fixture(scope="session")
def engine() -> Iterator[tuple[str, Clock | None]]:
    """Its URL, and its clock where it is ours."""
    url = os.environ.get("III_CONFORMANCE_URL")
    if url is not None:
        yield url, None
        return
    with clocked_engine("--log", "off") as ours:
        yield ours


@pytest.fixture
async def sockets(engine: tuple[str, Clock | None]) -> AsyncIterator[Stage]:
    """An engine on sockets."""
    stage = Stage(*engine)
    yield stage
    await stage.close()

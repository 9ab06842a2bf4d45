"""The engine that the conversations are held with: ours, or the one at III_CONFORMANCE_URL."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from iii_cli.engine.server import EngineServer
from iii_cli.engine.settings import SECOND
from tests.conformance.stage import PureStage, SocketStage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def anyio_backend() -> str:
    """The client of these tests is asyncio's, and `engine run` is too."""
    return "asyncio"


@pytest.fixture
async def sockets() -> AsyncIterator[SocketStage]:
    """An engine on sockets."""
    url = os.environ.get("III_CONFORMANCE_URL")
    if url is not None:
        stage = SocketStage(url)
        yield stage
        await stage.close()
        return
    moved = 0
    offset = time.time_ns() - time.monotonic_ns()
    server = EngineServer(now=lambda: time.monotonic_ns() + offset + moved)

    def move_clock(seconds: float) -> None:
        nonlocal moved
        moved += int(seconds * SECOND)
        server.tick()

    async with anyio.create_task_group() as tasks:
        stage = SocketStage(
            await tasks.start(partial(server.serve, "127.0.0.1", 0, shutdown_timeout=0)), move_clock
        )
        yield stage
        await stage.close()
        tasks.cancel_scope.cancel()


@pytest.fixture
def pure() -> PureStage:
    """A core without sockets."""
    return PureStage()

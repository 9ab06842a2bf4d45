"""An engine on real sockets in this process: what it says, and connections to it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from iii_cli.engine.model import Settings
from iii_cli.engine.server import EngineServer
from tests.support.raw import RawSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ("Place", "opened")


class Place:
    """The engine, its log, and sockets to it."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.said: list[dict[str, Any]] = []
        self.url = ""
        self.server = EngineServer(settings=Settings(**settings), notice=self.notice)
        self.sockets: list[RawSocket] = []

    def notice(self, event: str, /, **details: Any) -> None:
        self.said.append({"event": event, **details})

    def reasons(self, event: str) -> list[str]:
        return [line["reason"] for line in self.said if line["event"] == event]

    async def dial(self, target: str, *headers: str, method: str = "GET") -> RawSocket:
        self.sockets.append(await RawSocket.open(self.url, target, *headers, method=method))
        return self.sockets[-1]


@asynccontextmanager
async def opened(**settings: Any) -> AsyncIterator[Place]:
    """Cancelled at the end, with all sockets to it dropped."""
    place = Place(settings)
    async with anyio.create_task_group() as tasks:
        serve = partial(place.server.serve, "127.0.0.1", 0, shutdown_timeout=0)
        place.url = await tasks.start(serve)
        yield place
        for socket in place.sockets:
            socket.drop()
        tasks.cancel_scope.cancel()

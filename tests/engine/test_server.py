"""The limits of the engine on real sockets. What it says is held by tests/conformance and tests/pipes."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from iii_cli.engine.model import Settings
from iii_cli.engine.server import EngineServer
from tests.support.raw import BINARY, CONT, PING, PONG, Dropped, RawSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

UNFINISHED = 2 << 20  # bytes beyond the first MiB, of each of some messages


@pytest.fixture
def anyio_backend() -> str:
    """RawSocket is asyncio's."""
    return "asyncio"


class Place:
    """The engine, the reasons that it logs, and sockets to it."""

    def __init__(self, **settings: int) -> None:
        self.url = ""
        self.reasons: list[tuple[str, str]] = []
        self.server = EngineServer(settings=Settings(**settings), notice=self._notice)
        self._sockets: list[RawSocket] = []

    def _notice(self, event: str, /, **details: Any) -> None:
        if "reason" in details:
            self.reasons.append((event, details["reason"]))

    async def dial(self, target: str) -> RawSocket:
        self._sockets.append(await RawSocket.open(self.url, target))
        return self._sockets[-1]

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            self.url = await tasks.start(partial(self.server.serve, "127.0.0.1", 0, shutdown_timeout=0))
            yield
            for raw in self._sockets:
                raw.drop()
            tasks.cancel_scope.cancel()


async def _begin_message(raw: RawSocket, *, of_fragments: bool) -> None:
    """Send 3 MiB of one and wait until they were received."""
    size = (1 << 20) + UNFINISHED
    if of_fragments:
        await raw.send(BINARY, bytes(size // 2), fin=False)
        await raw.send(CONT, bytes(size // 2), fin=False)
        await raw.send(PING)
        assert (await raw.receive()).opcode == PONG
    else:  # a frame of which one byte is missing
        raw.post_bytes(b"\x82\xff" + size.to_bytes(8, "big") + bytes(4 + size - 1))
        await raw.drain()


@pytest.mark.parametrize("of_fragments", [True, False])
async def test_unfinished_messages_of_all_connections_count_together(of_fragments: bool) -> None:
    place = Place(max_unfinished_bytes=4 * UNFINISHED)

    async def until(size: int) -> None:
        with anyio.fail_after(10):
            while place.server.unfinished_bytes != size:
                await anyio.sleep(0.001)

    async with place.opened():
        sockets = [await place.dial("/otel") for _ in range(6)]
        for number, raw in enumerate(sockets[:4], 1):
            await _begin_message(raw, of_fragments=of_fragments)
            await until(number * UNFINISHED)
        with pytest.raises((Dropped, ConnectionError)):
            await _begin_message(sockets[4], of_fragments=of_fragments)
            await sockets[4].receive()
        assert place.reasons == [("telemetry dropped", "the engine holds too much of unfinished messages")]
        await until(4 * UNFINISHED)
        await sockets[5].send(BINARY, bytes(1 << 20))  # what everybody may have goes on
        await sockets[5].send(PING)
        assert (await sockets[5].receive()).opcode == PONG
        if of_fragments:
            await sockets[0].send(CONT, b"")
            await until(3 * UNFINISHED)
        for raw in sockets[:4]:
            raw.drop()
        await until(0)


async def test_connections_beyond_the_limit_are_closed_and_said() -> None:
    place = Place(max_connections=2)
    async with place.opened():
        workers = [await place.dial("/") for _ in range(2)]
        with pytest.raises(Dropped):
            await place.dial("/")
        assert place.reasons == [("connection refused", "too many connections")]
        for worker in workers:
            assert json.loads((await worker.receive()).payload)["type"] == "workerregistered"

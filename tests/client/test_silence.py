"""An hour between two chunks, by a clock that jumps ahead whenever nothing else is to be done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio.testing

from iii_cli.errors import StreamTruncated
from iii_cli.protocol.frames import Opcode
from tests.client.fake_engine import fake_engine
from tests.client.test_ends import read_all, sealed, sealer

if TYPE_CHECKING:
    from iii_cli.net.websocket import WebSocket

HOUR = 3600


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Only trio has such a clock. It waits a moment for the sockets before it jumps."""
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0.02)}


async def test_an_hour_of_silence_is_no_end_of_a_foreign_stream() -> None:
    async def script(ws: WebSocket) -> None:
        for opcode, payload in sealed(b"one", b"two")[1:-1]:
            await ws.send(opcode, payload)
            await anyio.sleep(HOUR)
        await ws.send(Opcode.CLOSE, b"")

    began = anyio.current_time()
    async with fake_engine(script) as engine:
        data, _ = await read_all(engine.endpoint)
    assert data == b"onetwo"
    assert anyio.current_time() - began >= HOUR


@pytest.mark.parametrize("beats", [0, 1, 100])
async def test_a_sealed_stream_that_says_nothing_for_a_minute_has_lost_its_writer(beats: int) -> None:
    async def script(ws: WebSocket) -> None:
        seal = sealer()
        await ws.send(Opcode.TEXT, seal.open_frame())
        for _ in range(beats):
            await anyio.sleep(15)
            await ws.send(Opcode.TEXT, seal.beat_frame())
        await anyio.sleep(HOUR)

    began = anyio.current_time()
    async with fake_engine(script) as engine:
        _, reader = await read_all(engine.endpoint)
        assert reader.verdict is not None
        assert isinstance(reader.verdict.failure(), StreamTruncated)
        assert 60 <= anyio.current_time() - began - 15 * beats < 70

"""One stream into several channels: who dies takes nobody along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from iii_cli.client.channels import ChannelWriter
from iii_cli.client.transfer import Branch, FanOut, upload
from iii_cli.errors import PeerLeft, RefSpent
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.seal import Sealer
from tests.client.fake_engine import REF, FakeEngine, close_without_code, collect, fake_engine

if TYPE_CHECKING:
    from iii_cli.net.websocket import WebSocket


class Letters:
    """A source of a few chunks."""

    name = "letters"
    short_by = 0

    def __init__(self, *chunks: bytes) -> None:
        self.chunks = list(chunks)

    async def read_into(self, view: memoryview) -> int:
        await anyio.lowlevel.checkpoint()
        if not self.chunks:
            return 0
        chunk = self.chunks.pop(0)
        view[: len(chunk)] = chunk
        return len(chunk)


def branch(engine: FakeEngine, name: str) -> Branch:
    return Branch(name, ChannelWriter(engine.endpoint, REF, Sealer(f"{ord(name):032x}")))


async def drop(ws: WebSocket) -> None:
    return


async def test_a_dead_branch_is_given_up_and_the_other_gets_everything() -> None:
    frames: list[tuple[int, bytes]] = []

    async def keep(ws: WebSocket) -> None:
        await ws.send(Opcode.CLOSE, await collect(ws, frames))

    async with fake_engine(keep) as good, fake_engine(drop, close_without_code) as bad:
        fan = FanOut([branch(good, "a"), branch(bad, "b")])
        await fan.open()
        await upload([Letters(b"one", b"two", b"three")], fan)
    assert [payload for opcode, payload in frames if opcode == Opcode.BINARY] == [b"one", b"two", b"three"]
    assert b'"close"' in frames[-1][1]
    assert [each.name for each in fan.living] == ["a"]
    assert [type(failure) for failure in fan.failures] == [PeerLeft]


async def test_with_the_last_branch_the_stream_ends() -> None:
    async with fake_engine(close_without_code) as one, fake_engine(drop, close_without_code) as two:
        fan = FanOut([branch(one, "a"), branch(two, "b")])
        with anyio.fail_after(5), pytest.raises(PeerLeft):  # graver than a used ref
            await fan.open()
            await fan.attend()
        assert {type(failure) for failure in fan.failures} == {RefSpent, PeerLeft}

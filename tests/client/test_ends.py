"""Why an end of a channel ended: what the engine does when it is opened once more tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from iii_cli.client.channels import ChannelReader, ChannelWriter
from iii_cli.errors import (
    EngineUnreachable,
    NothingArrived,
    PeerLeft,
    RefSpent,
    StreamTruncated,
    UnknownTarget,
)
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.seal import Sealer
from tests.client.fake_engine import REF, close_without_code, fake_engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iii_cli.errors import Failure
    from iii_cli.net.websocket import WebSocket

STREAM = "0" * 32


def sealer() -> Sealer:
    return Sealer(STREAM)


def sealed(*chunks: bytes) -> list[tuple[int, bytes]]:
    """The frames of a whole sealed stream."""
    seal = sealer()
    frames: list[tuple[int, bytes]] = [(Opcode.TEXT, seal.open_frame())]
    for chunk in chunks:
        seal.chunk(chunk)
        frames.append((Opcode.BINARY, chunk))
    return [*frames, (Opcode.TEXT, seal.close_frame())]


class Sender:
    """A reader's engine: sends frames, then ends as told."""

    def __init__(self, frames: list[tuple[int, bytes]], *, close: bool) -> None:
        self.frames = frames
        self.close = close

    async def __call__(self, ws: WebSocket) -> None:
        for opcode, payload in self.frames:
            await ws.send(opcode, payload)
        if self.close:
            await ws.send(Opcode.CLOSE, b"")


async def drop(ws: WebSocket) -> None:
    """A connection that ends without a Close."""


@pytest.mark.parametrize("attended", [False, True])
@pytest.mark.parametrize(
    ("first", "then", "why"),
    [
        (close_without_code, close_without_code, RefSpent),
        (drop, close_without_code, PeerLeft),
        (drop, None, UnknownTarget),
    ],
)
async def test_why_a_writer_ended(
    first: Callable[[WebSocket], Awaitable[None]],
    then: Callable[[WebSocket], Awaitable[None]] | None,
    why: type[Failure],
    attended: bool,
) -> None:
    async with fake_engine(first, then) as engine:
        writer = ChannelWriter(engine, REF, sealer())
        with anyio.fail_after(5), pytest.raises(why):
            if attended:
                await writer.attend()  # at once, though it has nothing to send
            await writer.finish()
        with pytest.raises((why, anyio.ClosedResourceError)):
            await writer.push(b"x")


async def test_a_writer_whose_engine_is_gone() -> None:
    async with fake_engine(drop) as engine:
        writer = ChannelWriter(engine, REF, sealer())
        await writer.open()
    with pytest.raises(EngineUnreachable):
        await writer.finish()


@pytest.mark.parametrize(
    ("frames", "close", "again", "why"),
    [
        ([], True, close_without_code, NothingArrived),
        ([], True, None, UnknownTarget),
        ([(Opcode.BINARY, b"x")], False, None, EngineUnreachable),
        (sealed(b"abc")[:2], False, close_without_code, StreamTruncated),
        (sealed(b"abc"), True, None, type(None)),
    ],
)
async def test_why_a_reader_ended(
    frames: list[tuple[int, bytes]],
    close: bool,
    again: Callable[[WebSocket], Awaitable[None]] | None,
    why: type[Failure],
) -> None:
    async with fake_engine(Sender(frames, close=close), again) as engine:
        reader = ChannelReader(engine, REF)
        while await reader.pull():
            pass
        assert isinstance(await reader.failure(), why)

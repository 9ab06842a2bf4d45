"""Channel ends against a scripted engine: why one ended, and anyio's streams on top."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest

from iii_cli.client.channels import ChannelReader, ChannelWriter
from iii_cli.client.transfer import Branch, FanOut
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
from tests.client.fake_engine import REF, close_without_code, collect, fake_engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iii_cli.errors import Failure
    from iii_cli.net.websocket import WebSocket
    from iii_cli.protocol.refs import Endpoint

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


async def read_all(endpoint: Endpoint) -> tuple[bytes, ChannelReader]:
    reader = ChannelReader(endpoint, REF)
    data = b""
    while events := await reader.pull():
        data += b"".join(bytes(payload) for _, payload, _ in events)
    return data, reader


# What the engine does when an end is opened once more tells why it was lost.


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
        writer = ChannelWriter(engine.endpoint, REF, sealer())
        with anyio.fail_after(5), pytest.raises(why):
            if attended:
                await writer.attend()  # at once, though it has nothing to send
            await writer.finish()
        with pytest.raises((why, anyio.ClosedResourceError)):
            await writer.push(b"x")


async def test_a_writer_whose_engine_is_gone() -> None:
    async with fake_engine(drop) as engine:
        writer = ChannelWriter(engine.endpoint, REF, sealer())
        await writer.open()
    with pytest.raises(EngineUnreachable):
        await writer.finish()


async def test_of_several_writers_the_gravest_failure_is_raised_when_none_is_left() -> None:
    async with fake_engine(close_without_code) as one, fake_engine(drop, close_without_code) as two:
        branches = [
            Branch(each.endpoint.address.url, ChannelWriter(each.endpoint, REF, sealer()))
            for each in (one, two)
        ]
        fan = FanOut(branches)
        with anyio.fail_after(5), pytest.raises(PeerLeft):
            await fan.open()
            await fan.attend()
        assert {type(failure) for failure in fan.failures} == {RefSpent, PeerLeft}


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
        _, reader = await read_all(engine.endpoint)
        assert isinstance(await reader.failure(), why)


# Time and memory


async def test_an_abort_never_waits_for_a_reader_that_does_not_read() -> None:
    async def stall(ws: WebSocket) -> None:
        await anyio.sleep_forever()

    async with fake_engine(stall) as engine:
        writer = ChannelWriter(engine.endpoint, REF, sealer())
        with anyio.move_on_after(0.2) as scope:
            while True:
                await writer.push(bytes(1 << 20))
        assert scope.cancelled_caught
        assert writer.statistics().unsent_bytes > 0
        with anyio.fail_after(4):
            await writer.abort(1, "enough")


async def test_a_slow_engine_slows_the_writer_and_what_was_cancelled_goes_out_whole() -> None:
    gate = anyio.Event()
    frames: list[tuple[int, bytes]] = []

    async def slow(ws: WebSocket) -> None:
        await gate.wait()
        await ws.send(Opcode.CLOSE, await collect(ws, frames))

    async with fake_engine(slow) as engine:
        writer = ChannelWriter(engine.endpoint, REF, sealer())
        with anyio.move_on_after(0.2) as scope:
            for _ in range(64):
                await writer.push(bytes(1 << 20))
        assert scope.cancelled_caught, "nobody reads, and 64 MiB went away"
        assert writer.statistics().unsent_bytes <= (1 << 20) + 64
        gate.set()
        await writer.finish()
    sent = sum(len(payload) for opcode, payload in frames if opcode == Opcode.BINARY)
    assert json.loads(frames[-1][1])["iii"]["close"]["bytes"] == sent


# anyio's byte streams


async def test_a_failing_block_aborts_and_a_good_one_finishes() -> None:
    frames: list[tuple[int, bytes]] = []

    async def script(ws: WebSocket) -> None:
        await ws.send(Opcode.CLOSE, await collect(ws, frames))

    async with fake_engine(script) as engine:
        async with ChannelWriter(engine.endpoint, REF, sealer()) as writer:
            with pytest.raises(ValueError, match="words"):
                await writer.open("words")
            await writer.open("text")
            await writer.send_message("ä")
        assert json.loads(frames[0][1])["iii"]["open"]["mode"] == "text"
        assert frames[1] == (Opcode.TEXT, "ä".encode())
        assert b'"close"' in frames[-1][1]
        with pytest.raises(ZeroDivisionError):
            async with ChannelWriter(engine.endpoint, REF, sealer()) as writer:
                await writer.send(b"x")
                raise ZeroDivisionError
        with anyio.fail_after(5):
            while b'"abort"' not in frames[-1][1]:
                await anyio.sleep(0.001)
        with pytest.raises(anyio.ClosedResourceError):
            await writer.send(b"y")


async def test_the_byte_stream_ends_only_after_a_good_end() -> None:
    async with fake_engine(Sender(sealed(b"abc"), close=True)) as engine:
        async with ChannelReader(engine.endpoint, REF) as reader:
            assert [chunk async for chunk in reader] == [b"abc"]
    async with fake_engine(Sender(sealed(b"abc")[:2], close=True)) as engine:
        async with ChannelReader(engine.endpoint, REF) as reader:
            assert await reader.receive(2) == b"ab"
            assert await reader.receive() == b"c"
            with pytest.raises(anyio.BrokenResourceError) as caught:
                await reader.receive()
            assert isinstance(caught.value.__cause__, StreamTruncated)
        with pytest.raises(anyio.ClosedResourceError):
            await reader.receive()


async def test_messages_go_beside_the_bytes() -> None:
    frames: list[tuple[int, bytes]] = [(Opcode.TEXT, b"one"), (Opcode.BINARY, b"bytes")]
    heard: list[str] = []
    async with fake_engine(Sender(frames, close=True)) as engine:
        async with ChannelReader(engine.endpoint, REF, on_message=heard.append) as reader:
            assert [chunk async for chunk in reader] == [b"bytes"]
    assert heard == ["one"]

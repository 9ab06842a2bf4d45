"""Channel ends against a scripted engine: what each kind of end on the wire means."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

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
from iii_cli.protocol.verifier import Outcome
from tests.client.fake_engine import REF, close_without_code, collect, echo_close, fake_engine

if TYPE_CHECKING:
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


async def read_all(endpoint: Endpoint) -> tuple[bytes, ChannelReader]:
    reader = ChannelReader(endpoint, REF)
    data = b""
    while events := await reader.pull():
        data += b"".join(bytes(payload) for _, payload, _ in events)
    return data, reader


async def test_a_writer_sends_a_seal_and_knows_its_own_echo() -> None:
    frames: list[tuple[int, bytes]] = []

    async def script(ws: WebSocket) -> None:
        await ws.send(Opcode.CLOSE, await collect(ws, frames))

    async with fake_engine(script) as engine:
        writer = ChannelWriter(engine.endpoint, REF, sealer())
        await writer.push(b"ab")
        await writer.push_messages(["ä".encode()])
        await writer.finish()
    opened, data, message, closed = frames
    assert json.loads(opened[1])["iii"]["open"]["mode"] == "bytes"
    assert (data, message) == ((Opcode.BINARY, b"ab"), (Opcode.TEXT, "ä".encode()))
    assert json.loads(closed[1])["iii"]["close"]["bytes"] == 2
    assert dict(parse_qsl(engine.requests[0].path.partition("?")[2])) == {"key": "k-1", "dir": "write"}


async def test_a_stream_of_messages_can_say_so() -> None:
    frames: list[tuple[int, bytes]] = []

    async def script(ws: WebSocket) -> None:
        await ws.send(Opcode.CLOSE, await collect(ws, frames))

    async with fake_engine(script) as engine:
        writer = ChannelWriter(engine.endpoint, REF, sealer())
        with pytest.raises(ValueError, match="words"):
            await writer.open("words")
    async with fake_engine(script) as engine, ChannelWriter(engine.endpoint, REF, sealer()) as writer:
        await writer.open("text")
        await writer.send_message("ä")
    assert json.loads(frames[0][1])["iii"]["open"]["mode"] == "text"
    assert frames[1] == (Opcode.TEXT, "ä".encode())


@pytest.mark.parametrize("attended", [False, True])
async def test_a_close_that_is_not_the_echo_means_a_used_ref(attended: bool) -> None:
    async with fake_engine(close_without_code) as engine, anyio.create_task_group() as tasks:
        writer = ChannelWriter(engine.endpoint, REF, None)
        await writer.open()
        if attended:
            with pytest.raises(RefSpent):
                await writer.attend()
        with pytest.raises(RefSpent):
            await writer.push(b"x")
            await writer.finish()
        tasks.cancel_scope.cancel()


async def test_a_silent_writer_hears_at_once_that_the_reader_left() -> None:
    async def drop(ws: WebSocket) -> None:
        return

    async with fake_engine(drop, close_without_code) as engine:
        writer = ChannelWriter(engine.endpoint, REF, sealer())
        with anyio.fail_after(5), pytest.raises(PeerLeft):
            await writer.attend()
        with pytest.raises(PeerLeft):
            await writer.push(b"x")


async def test_a_dropped_connection_and_a_404_mean_an_expired_channel() -> None:
    async def drop(ws: WebSocket) -> None:
        return

    async with fake_engine(drop, None) as engine:
        writer = ChannelWriter(engine.endpoint, REF, sealer())
        with pytest.raises(UnknownTarget):
            await writer.finish()


async def test_a_lost_engine_is_told_from_a_reader_that_left() -> None:
    async def drop(ws: WebSocket) -> None:
        return

    async with fake_engine(drop) as engine:
        writer = ChannelWriter(engine.endpoint, REF, sealer())
        await writer.open()
    with pytest.raises(EngineUnreachable):
        await writer.finish()


async def test_an_abort_reaches_the_reader_with_its_reason() -> None:
    frames: list[tuple[int, bytes]] = []
    seen = anyio.Event()

    async def script(ws: WebSocket) -> None:
        await collect(ws, frames)
        seen.set()

    async with fake_engine(script) as engine:
        writer = ChannelWriter(engine.endpoint, REF, sealer())
        await writer.push(b"x")
        await writer.abort(11, "pg_dump exited 1")
        await seen.wait()
    assert json.loads(frames[-1][1])["iii"]["abort"] == {"code": 11, "reason": "pg_dump exited 1"}


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


async def test_a_failing_block_aborts_and_a_good_one_finishes() -> None:
    frames: list[tuple[int, bytes]] = []

    async def script(ws: WebSocket) -> None:
        await ws.send(Opcode.CLOSE, await collect(ws, frames))

    async with fake_engine(script) as engine:
        async with ChannelWriter(engine.endpoint, REF, sealer()) as writer:
            await writer.send(b"x")
        assert b'"close"' in frames[-1][1]
        with pytest.raises(ZeroDivisionError):
            async with ChannelWriter(engine.endpoint, REF, sealer()) as writer:
                await writer.send(b"x")
                raise ZeroDivisionError
        with pytest.raises(anyio.ClosedResourceError):
            await writer.send(b"y")


async def test_a_sealed_stream_is_verified() -> None:
    async with fake_engine(Sender(sealed(b"abc", b"d" * 3_000_000), close=True)) as engine:
        data, reader = await read_all(engine.endpoint)
        assert data == b"abc" + b"d" * 3_000_000
        assert reader.verdict is not None
        assert reader.verdict.outcome is Outcome.VERIFIED
        assert await reader.failure() is None


@pytest.mark.parametrize("close", [True, False])
async def test_every_cut_of_a_sealed_stream_is_truncated(close: bool) -> None:
    frames = sealed(b"abc", b"def")
    for cut in range(1, len(frames)):
        async with fake_engine(Sender(frames[:cut], close=close), close_without_code) as engine:
            _, reader = await read_all(engine.endpoint)
            assert isinstance(await reader.failure(), StreamTruncated)


async def test_nothing_is_a_used_ref_or_an_expired_one() -> None:
    async with fake_engine(close_without_code) as engine:
        _, reader = await read_all(engine.endpoint)
        assert isinstance(await reader.failure(), NothingArrived)
    async with fake_engine(close_without_code, None) as engine:
        _, reader = await read_all(engine.endpoint)
        assert isinstance(await reader.failure(), UnknownTarget)


async def test_a_foreign_end_without_a_close_frame_is_a_lost_engine() -> None:
    async with fake_engine(Sender([(Opcode.BINARY, b"x")], close=False), None) as engine:
        _, reader = await read_all(engine.endpoint)
        assert isinstance(await reader.failure(), EngineUnreachable)


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
    seal = sealer()
    frames: list[tuple[int, bytes]] = [(Opcode.TEXT, seal.open_frame())]
    for text in (b"one", b"two"):
        seal.message(text)
        frames.append((Opcode.TEXT, text))
    seal.chunk(b"bytes")
    frames += [(Opcode.BINARY, b"bytes"), (Opcode.TEXT, seal.close_frame())]
    heard: list[str] = []
    async with fake_engine(Sender(frames, close=True)) as engine:
        async with ChannelReader(engine.endpoint, REF, on_message=heard.append) as reader:
            assert [chunk async for chunk in reader] == [b"bytes"]
    assert heard == ["one", "two"]


async def test_a_slow_engine_slows_the_writer() -> None:
    gate = anyio.Event()

    async def slow(ws: WebSocket) -> None:
        await gate.wait()
        await echo_close(ws)

    async with fake_engine(slow) as engine:
        writer = ChannelWriter(engine.endpoint, REF, sealer())
        with anyio.move_on_after(0.2) as scope:
            for _ in range(64):
                await writer.push(bytes(1 << 20))
        assert scope.cancelled_caught, "nobody reads, and 64 MiB went away"
        assert writer.statistics().unsent_bytes <= (1 << 20) + 64
        gate.set()
        await writer.finish()

"""The streams of a call on the embedded engine: gates, sizes, frames, last words."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from iii_cli.client.call import new_stream_id
from iii_cli.client.channels import ChannelReader, ChannelWriter
from iii_cli.client.connection import Caller
from iii_cli.client.streams import Demand, InLane, OutLane, Supply, frame_bytes
from iii_cli.client.transfer import download
from iii_cli.engine.server import serve_engine
from iii_cli.errors import ContentDiffers, StreamAborted, UnknownTarget, sole_cause
from iii_cli.protocol.refs import Endpoint, EngineAddress
from iii_cli.protocol.seal import Mode, Sealer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from iii_cli.protocol.frames import Buffer


@asynccontextmanager
async def calling() -> AsyncIterator[tuple[Endpoint, Caller]]:
    """An engine, and a caller on it."""
    async with anyio.create_task_group() as tasks:
        url: Any = await tasks.start(serve_engine, "127.0.0.1", 0)
        endpoint = Endpoint(EngineAddress.parse(url))
        caller = await Caller.open(endpoint)
        tasks.start_soon(caller.attend)
        with anyio.fail_after(5):
            yield endpoint, caller
        caller.close()
        tasks.cancel_scope.cancel()


class Memory:
    """A source of one piece, or of nothing for ever; and a sink that says how it ended."""

    name = "memory"
    short_by = 0
    durable = False

    def __init__(self, data: bytes = b"", *, endless: bool = False) -> None:
        self.data = data
        self.end = ""
        self._endless = endless

    async def read_into(self, view: memoryview) -> int:
        if not self.data and self._endless:
            await anyio.sleep_forever()
        count = min(len(view), len(self.data))
        view[:count] = self.data[:count]
        self.data = self.data[count:]
        return count

    async def open(self) -> None:
        return

    def expect_text(self) -> None:
        return

    async def write(self, chunk: Buffer) -> None:
        self.data += bytes(chunk)

    def has_readers(self) -> bool:
        return False

    async def write_many(self, chunks: Iterable[Buffer]) -> None:
        for chunk in chunks:
            await self.write(chunk)

    def judge(self, status: int, *, verified: bool, count: int) -> None:
        """Nobody asks."""

    async def finish(self) -> None:
        self.end = "finished"

    def discard(self) -> None:
        self.end = self.end or "discarded"


async def ready() -> None:
    return


def out_lane(endpoint: Endpoint, reader: ChannelReader, sink: Memory, theirs: Any, **more: Any) -> OutLane:
    @asynccontextmanager
    async def demand() -> AsyncIterator[Demand]:
        yield Demand(sink)

    return OutLane(
        label="--out x",
        theirs=theirs,
        reader=reader,
        demand=demand,
        copy=partial(download, reader),
        ready=ready,
        dismiss=sink.discard,
        **more,
    )


@pytest.mark.parametrize("sealed", [True, False])
async def test_only_what_cannot_be_verified_waits_for_the_success(sealed: bool) -> None:
    async with calling() as (endpoint, caller):
        writer_ref, reader_ref = await caller.create_channel()
        sink, gate, over = Memory(), anyio.Event(), anyio.Event()
        lane = out_lane(endpoint, ChannelReader(endpoint, reader_ref), sink, writer_ref)

        async def move() -> None:
            await lane.move(gate)
            over.set()

        async with anyio.create_task_group() as tasks:
            await lane.open()
            tasks.start_soon(move)
            sealer = Sealer(new_stream_id()) if sealed else None
            async with ChannelWriter(endpoint, writer_ref, sealer) as theirs:
                await theirs.push(b"data")
            if sealed:
                await over.wait()
            else:
                while not lane.settled:
                    await anyio.sleep(0.001)
                assert (sink.data, sink.end) == (b"data", "")
            gate.set()
        assert (sink.data, sink.end) == (b"data", "finished")


async def test_a_size_that_was_promised_is_held_against_what_came() -> None:
    async with calling() as (endpoint, caller):
        writer_ref, reader_ref = await caller.create_channel()
        sink, gate = Memory(), anyio.Event()
        gate.set()
        lane = out_lane(endpoint, ChannelReader(endpoint, reader_ref), sink, writer_ref, expected_bytes=5)
        async with ChannelWriter(endpoint, writer_ref, None) as theirs:
            await theirs.push(b"data")
        with pytest.raises(ContentDiffers, match="the result says 5 bytes, 4 arrived"):
            await lane.move(gate)
        assert sink.end == "discarded"


def in_lane(endpoint: Endpoint, source: Memory, writer_ref: Any, reader_ref: Any, **more: Any) -> InLane:
    @asynccontextmanager
    async def supply() -> AsyncIterator[Supply]:
        yield Supply([source])

    return InLane(
        label="--in x",
        theirs=reader_ref,
        writer=ChannelWriter(endpoint, writer_ref, Sealer(new_stream_id())),
        supply=supply,
        mode=Mode.BYTES,
        **more,
    )


async def test_frames_are_no_longer_than_the_channel_may_hold() -> None:
    async with calling() as (endpoint, caller):
        writer_ref, reader_ref = await caller.create_channel()
        lane = in_lane(endpoint, Memory(b"x" * 25), writer_ref, reader_ref, longest_frame=10)
        await lane.move(anyio.Event())
        assert lane.writer.statistics().frames == 3
        assert await ChannelReader(endpoint, reader_ref).receive() == b"x" * 25


@pytest.mark.parametrize(
    ("buffer", "longest"), [(1, 1 << 20), (16, 1 << 20), (64, 256 << 10), (1024, 16 << 10)]
)
def test_frames_times_buffer_stay_within_16_mib(buffer: int, longest: int) -> None:
    assert frame_bytes(buffer) == longest


async def test_a_reader_of_ours_hears_why_a_stream_was_given_up() -> None:
    async with calling() as (endpoint, caller):
        writer_ref, reader_ref = await caller.create_channel()
        lane = in_lane(endpoint, Memory(b"data", endless=True), writer_ref, reader_ref)
        reader = ChannelReader(endpoint, reader_ref)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lane.move, anyio.Event())
            assert await reader.receive() == b"data"
            assert lane.waits_for_us()
            lane.give_up_as(1, "the call failed: E7")
            tasks.cancel_scope.cancel()
        with pytest.raises(anyio.BrokenResourceError) as caught:
            await reader.receive()
        assert isinstance(caught.value.__cause__, StreamAborted)
        assert "the call failed: E7" in str(caught.value)


async def test_a_lane_that_never_moved_lets_go_of_its_end() -> None:
    async with calling() as (endpoint, caller):
        writer_ref, reader_ref = await caller.create_channel()
        lane = in_lane(endpoint, Memory(), writer_ref, reader_ref)
        await lane.open()
        await lane.close()
        with pytest.raises(anyio.BrokenResourceError, match="the call was not made"):
            await ChannelReader(endpoint, reader_ref).receive()


async def test_many_calls_share_one_connection() -> None:
    async with calling() as (_, caller):
        failures: list[str] = []

        async def call() -> None:
            try:
                await caller.call("nope", {})
            except Exception as error:
                failures.append(str(sole_cause(error)))

        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(call)
        assert len(failures) == 50
        caller.close()
        with pytest.raises(Exception, match="was lost"):
            await caller.call("nope", {})


async def test_a_channel_of_another_engine_is_unknown() -> None:
    async with calling() as (_, caller):
        writer_ref, _ = await caller.create_channel()
    async with calling() as (endpoint, _):
        with pytest.raises(UnknownTarget):
            await ChannelWriter(endpoint, writer_ref, None).open()

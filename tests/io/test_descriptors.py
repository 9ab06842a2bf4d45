"""What is cancelled at a descriptor loses no byte and repeats none; what it is, tests/pipes tries."""

from __future__ import annotations

import os
import random
import socket
from typing import TYPE_CHECKING

import anyio
import pytest

from iii_cli.io.sinks import DescriptorSink, Sink
from iii_cli.io.sources import Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DATA = random.Random(3).randbytes(5 << 20)
OPENED_AGAIN = "iii_cli.io.descriptors._opened_again"
Pair = tuple[Sink, Source]


async def read_all(source: Source, into: bytearray | None = None, room: int = 100_003) -> bytes:
    got = bytearray() if into is None else into
    view = memoryview(bytearray(room))
    while count := await source.read_into(view):
        got += view[:count]
    return bytes(got)


@pytest.fixture(params=["pipe", "shared pipe", "socket"])
async def pair(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> AsyncIterator[tuple[Sink, Source]]:
    if request.param == "shared pipe":
        monkeypatch.setattr(OPENED_AGAIN, lambda fd, flags: fd)  # macOS, another user's pipe
    is_socket = request.param == "socket"
    ends = [end.detach() for end in socket.socketpair()] if is_socket else os.pipe()
    sink = DescriptorSink(ends[1], name="the sink", owned=True)
    source = Source(ends[0], name="the source", owned=True)
    yield sink, source
    sink.discard()
    source.close()


async def test_a_clogged_sink_makes_its_writer_wait_and_counts_what_went(pair: Pair) -> None:
    sink, source = pair
    with anyio.move_on_after(0.05) as scope:
        await sink.write(DATA)
    assert scope.cancelled_caught, "nobody reads: the writer must wait"
    got = bytearray()
    async with anyio.create_task_group() as group:
        group.start_soon(read_all, source, got)
        await sink.write(memoryview(DATA)[sink.bytes_written :])
        await sink.finish()
    assert got == DATA, "taken up where it was cancelled, nothing is lost and nothing comes twice"


async def test_cancelling_a_reader_loses_nothing(pair: Pair) -> None:
    sink, source = pair
    got = bytearray()
    for part in (DATA[:1000], DATA[1000:2000]):
        with anyio.move_on_after(0.02) as scope:
            await read_all(source, got)
        assert scope.cancelled_caught
        await sink.write(part)
    await sink.finish()
    await read_all(source, got)
    assert got == DATA[:2000]


async def test_closed_under_a_waiter_the_descriptor_stays_until_it_has_gone(pair: Pair) -> None:
    sink, source = pair
    await sink.write(b"x")
    await source.read_into(memoryview(bytearray(1)))
    async with anyio.create_task_group() as group:
        group.start_soon(read_all, source)
        await anyio.wait_all_tasks_blocked()
        source.close()
        ours, theirs = os.pipe()  # would take the number, and lose its registration to the waiter's clean-up
        newcomer = Source(ours, name="the source", owned=True)
        got = bytearray()
        group.start_soon(read_all, newcomer, got)
        await anyio.wait_all_tasks_blocked()
        await sink.finish()
        os.write(theirs, b"for the newcomer")
        os.close(theirs)
    assert got == b"for the newcomer"
    newcomer.close()

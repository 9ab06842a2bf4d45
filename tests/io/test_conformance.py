"""What every pair of a sink and a source must keep, whatever lies between them."""

from __future__ import annotations

import os
import random
import socket
import tempfile
from typing import TYPE_CHECKING

import anyio
import pytest

from iii_cli.io.process import PIPE, Child, ConsumerSink, spawn
from iii_cli.io.sinks import DescriptorSink, OutFile, Sink
from iii_cli.io.sources import Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DATA = random.Random(3).randbytes(5 << 20)


@pytest.fixture(params=["pipe", "shared pipe", "socket", "fifo", "child"])
async def pair(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> AsyncIterator[tuple[Sink, Source]]:
    kind = request.param
    child: Child | None = None
    if kind == "shared pipe":
        monkeypatch.setattr("iii_cli.io.console.own_description", lambda _fd, _flags: None)
        monkeypatch.setattr("iii_cli.io.sources.own_description", lambda _fd, _flags: None)
    if kind == "child":
        child = spawn(["cat"], stdin=PIPE, stdout=PIPE)
        assert child.stdin is not None
        assert child.stdout is not None
        yield ConsumerSink(child), child.stdout
        await child.terminate()
    elif kind == "fifo":
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "fifo")
            os.mkfifo(path)
            source = Source.open_file(path)
            sink = OutFile.prepare(path)
            yield sink, source
            sink.discard()
            source.close()
    else:
        ends = [end.detach() for end in socket.socketpair()] if kind == "socket" else os.pipe()
        sink = DescriptorSink(ends[1], name="the sink", owned=True)
        source = Source.from_fd(ends[0], owned=True)
        yield sink, source
        sink.discard()
        source.close()


Pair = tuple[Sink, Source]


async def read_all(source: Source, into: bytearray) -> None:
    view = memoryview(bytearray(100_003))
    while count := await source.read_into(view):
        into += view[:count]


async def test_everything_arrives_in_order(pair: Pair) -> None:
    sink, source = pair
    got = bytearray()
    async with anyio.create_task_group() as group:
        group.start_soon(read_all, source, got)
        await sink.write_many([DATA[:10], DATA[10:70_000], memoryview(DATA)[70_000 : 3 << 20]])
        await sink.write(DATA[3 << 20 :])
        await sink.finish()
    assert got == DATA
    assert (sink.bytes_written, source.bytes_read) == (len(DATA), len(DATA))


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
        group.start_soon(read_all, source, bytearray())
        await anyio.wait_all_tasks_blocked()
        source.close()
        ours, theirs = os.pipe()  # would take the number, and lose its registration to the waiter's clean-up
        newcomer = Source.from_fd(ours, owned=True)
        got = bytearray()
        group.start_soon(read_all, newcomer, got)
        await anyio.wait_all_tasks_blocked()
        await sink.finish()
        os.write(theirs, b"for the newcomer")
        os.close(theirs)
    assert got == b"for the newcomer"
    newcomer.close()

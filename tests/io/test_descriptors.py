"""Bytes through real files, pipes, FIFOs, sockets, terminals and devices; and what descriptors are."""

from __future__ import annotations

import fcntl
import os
import random
import select
import socket
import tempfile
from typing import TYPE_CHECKING

import anyio
import pytest

from iii_cli.errors import LocalProblem
from iii_cli.io.descriptors import descriptor_named
from iii_cli.io.outfile import open_output
from iii_cli.io.process import PIPE, Child, spawn
from iii_cli.io.sinks import DescriptorSink, Sink
from iii_cli.io.sources import Source
from tests.io.opened import opened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

DATA = random.Random(3).randbytes(5 << 20)
OPENED_AGAIN = "iii_cli.io.descriptors._opened_again"
Pair = tuple[Sink, Source]


async def read_all(source: Source, into: bytearray | None = None, room: int = 100_003) -> bytes:
    got = bytearray() if into is None else into
    view = memoryview(bytearray(room))
    while count := await source.read_into(view):
        got += view[:count]
    return bytes(got)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            continue


@pytest.fixture(params=["pipe", "shared pipe", "socket", "fifo", "child"])
async def pair(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, anyio_backend: str
) -> AsyncIterator[tuple[Sink, Source]]:
    kind = request.param
    child: Child | None = None
    if kind == "shared pipe":
        monkeypatch.setattr(OPENED_AGAIN, lambda fd, flags: fd)  # macOS, another user's pipe
    if kind == "child":
        child = spawn(["cat"], stdin=PIPE, stdout=PIPE)
        assert child.stdin is not None
        assert child.stdout is not None
        yield child.stdin, child.stdout
        await child.terminate()
    elif kind == "fifo":
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "fifo")
            os.mkfifo(path)
            source = Source.open_file(path)
            sink = open_output(path)
            yield sink, source
            sink.discard()
            source.close()
    else:
        ends = [end.detach() for end in socket.socketpair()] if kind == "socket" else os.pipe()
        sink = DescriptorSink(ends[1], name="the sink", owned=True)
        source = Source(ends[0], name="the source", owned=True)
        yield sink, source
        sink.discard()
        source.close()


async def test_everything_arrives_in_order(pair: Pair) -> None:
    sink, source = pair
    got = bytearray()
    async with anyio.create_task_group() as group:
        group.start_soon(read_all, source, got)
        await sink.write(DATA[:10])
        await sink.write(memoryview(DATA)[10:])
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


# sources


async def test_size_honours_the_offset_that_the_shell_left(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"header\nbody")
    fd = os.open(tmp_path / "in", os.O_RDONLY)
    os.read(fd, 7)
    source = Source(fd, name="the source", owned=True)
    assert source.size == 4
    assert await read_all(source) == b"body"
    source.close()


async def test_a_file_that_shrinks_says_by_how_much(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"x" * 100)
    source = Source.open_file(str(path))
    os.truncate(path, 60)
    assert len(await read_all(source)) == 60
    assert source.short_by == 40
    source.close()


async def test_the_shared_description_stays_blocking_and_the_pipe_grows(pipe: tuple[int, int]) -> None:
    source = Source(pipe[0], name="the source", owned=False)
    os.write(pipe[1], b"x")
    await source.read_into(memoryview(bytearray(1)))
    assert os.get_blocking(pipe[0])
    assert fcntl.fcntl(pipe[0], fcntl.F_GETPIPE_SZ) >= 1 << 20
    source.close()
    os.fstat(pipe[0])


async def test_a_fifo_without_a_writer_is_waited_for_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    source = Source.open_file(str(path))
    with anyio.move_on_after(0.02) as scope:
        await read_all(source)
    assert scope.cancelled_caught, "no writer yet is not the end of the data"
    writer = os.open(path, os.O_WRONLY)
    os.write(writer, b"late")
    os.close(writer)
    assert await read_all(source) == b"late"
    source.close()


async def test_devices() -> None:
    null = Source.open_file("/dev/null")
    assert await read_all(null) == b""
    null.close()
    zero = Source.open_file("/dev/zero")
    with anyio.move_on_after(0.03) as scope:
        await read_all(zero, room=1 << 20)  # never has to wait, and can be cancelled all the same
    assert scope.cancelled_caught
    zero.close()


async def test_a_terminal_is_read_without_touching_its_flags() -> None:
    controller, terminal = os.openpty()
    source = Source(terminal, name="the source", owned=True)
    assert source.is_terminal
    os.write(controller, b"typed\n")
    view = memoryview(bytearray(100))
    assert bytes(view[: await source.read_into(view)]) == b"typed\n"
    assert os.get_blocking(terminal)
    os.write(controller, b"\x04")
    assert await source.read_into(view) == 0
    assert await source.read_into(view) == 0, "one Ctrl-D is enough"
    source.close()
    os.close(controller)


def test_what_cannot_be_read_is_one_line(tmp_path: Path, pipe: tuple[int, int]) -> None:
    for path, reason in (
        (tmp_path, "it is a folder"),
        (tmp_path / "missing", "No such file or directory"),
        (tmp_path / "a\0b", "embedded null byte"),
        ("/dev/fd/987654", "it is closed"),
    ):
        with pytest.raises(LocalProblem, match=reason):
            Source.open_file(str(path))
    with pytest.raises(LocalProblem, match="it is closed"):
        Source(pipe[1], name="the source", owned=False)


# sinks


async def test_dev_null_never_waits_and_can_be_cancelled() -> None:
    sink = DescriptorSink(os.open("/dev/null", os.O_WRONLY), name="/dev/null", owned=True)
    with anyio.move_on_after(0.03) as scope:
        while True:
            await sink.write(b"x" * 4096)
    assert scope.cancelled_caught
    await sink.finish()


async def test_a_stopped_terminal_does_not_stop_the_loop() -> None:
    controller, terminal = os.openpty()
    sink = DescriptorSink(terminal, name="the terminal", owned=True)
    with anyio.move_on_after(0.05) as scope:
        await sink.write(DATA)
    assert scope.cancelled_caught
    assert os.get_blocking(terminal)
    sink.discard()
    os.close(controller)


def test_what_is_not_open_for_writing_is_refused_at_once(pipe: tuple[int, int]) -> None:
    with pytest.raises(LocalProblem, match="cannot write to the pipe: it is closed"):
        DescriptorSink(pipe[0], name="the pipe", owned=False)
    with pytest.raises(LocalProblem, match="it is closed"):
        DescriptorSink(987654, name="nothing", owned=False)


async def test_nothing_stays_open_and_the_writer_hears_of_it(pipe: tuple[int, int]) -> None:
    before = opened()
    for end in ("finish", "discard"):
        sink = DescriptorSink(os.dup(pipe[1]), name="the pipe", owned=True)
        if end == "finish":
            await sink.finish()
        sink.discard()
    source = Source(os.dup(pipe[0]), name="the pipe", owned=True)
    source.close()
    source.close()
    assert opened() == before
    os.close(pipe[0])
    poll = select.poll()
    poll.register(pipe[1], select.POLLOUT)
    assert poll.poll(0)[0][1] & select.POLLERR


# what descriptors are


def test_names_of_descriptors(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/stdout")
    (tmp_path / "loop").symlink_to("loop")
    assert descriptor_named("/dev/stdin") == 0
    assert descriptor_named(str(tmp_path / "log")) == 1
    assert descriptor_named("/dev/fd/63") == 63
    assert descriptor_named("/proc/self/fd/7") == 7
    for path in ("/dev/null", "/dev/fd/", "/dev/fd/x", "stdout", str(tmp_path / "loop"), ""):
        assert descriptor_named(path) is None

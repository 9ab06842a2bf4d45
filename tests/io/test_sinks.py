"""Sinks over real files, pipes, sockets and devices."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import anyio
import pytest

from iii_cli.errors import LocalProblem
from iii_cli.io.sinks import DescriptorSink
from tests.io.opened import opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MORE_THAN_A_PIPE_HOLDS = b"0123456789abcdef" * (1 << 17)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            continue


@pytest.fixture(params=["reopened", "shared"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With a description of our own, and without one (macOS, another user's pipe)."""
    if request.param == "shared":
        monkeypatch.setattr("iii_cli.io.console.own_description", lambda _fd, _flags: None)
    return str(request.param)


async def drain(fd: int, into: bytearray) -> None:
    while True:
        await anyio.wait_readable(fd)
        if not (chunk := os.read(fd, 1 << 16)):
            return
        into += chunk


@pytest.mark.usefixtures("how")
async def test_a_slow_reader_slows_the_writer_and_gets_everything(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    sink = DescriptorSink(writing, name="the pipe", owned=True)
    got = bytearray()
    with anyio.move_on_after(0.05) as scope:
        await sink.write(MORE_THAN_A_PIPE_HOLDS)
    assert scope.cancelled_caught, "a stalled pipe makes its writer wait, and the wait can be cancelled"
    assert 0 < sink.bytes_written < len(MORE_THAN_A_PIPE_HOLDS)
    async with anyio.create_task_group() as group:
        group.start_soon(drain, reading, got)
        await sink.write(memoryview(MORE_THAN_A_PIPE_HOLDS)[sink.bytes_written :])
        await sink.finish()
    assert bytes(got) == MORE_THAN_A_PIPE_HOLDS
    assert not sink.durable


@pytest.mark.usefixtures("how")
async def test_the_shared_description_stays_blocking(pipe: tuple[int, int]) -> None:
    sink = DescriptorSink(pipe[1], name="the pipe", owned=False)
    await sink.write(b"x")
    assert os.get_blocking(pipe[1])
    await sink.finish()
    os.write(pipe[1], b"y")
    assert os.read(pipe[0], 2) == b"xy"


@pytest.mark.usefixtures("how")
async def test_a_reader_that_left_is_a_broken_pipe(pipe: tuple[int, int]) -> None:
    sink = DescriptorSink(pipe[1], name="the pipe", owned=False)
    await sink.write(b"x")
    os.close(pipe[0])
    with pytest.raises(BrokenPipeError):
        await sink.write(b"y")
    sink.discard()


async def test_a_reader_that_left_before_we_began(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    sink = DescriptorSink(pipe[1], name="the pipe", owned=False)
    with pytest.raises(BrokenPipeError):
        await sink.write(b"y")
    sink.discard()


@pytest.mark.usefixtures("how")
async def test_a_reader_that_leaves_while_we_wait(pipe: tuple[int, int]) -> None:
    sink = DescriptorSink(pipe[1], name="the pipe", owned=False)
    with anyio.move_on_after(0.02):
        await sink.write(MORE_THAN_A_PIPE_HOLDS)
    async with anyio.create_task_group() as group:
        group.start_soon(_expect_broken_pipe, sink)
        await anyio.wait_all_tasks_blocked()
        os.close(pipe[0])
    sink.discard()


async def _expect_broken_pipe(sink: DescriptorSink) -> None:
    with pytest.raises(BrokenPipeError):
        await sink.write(b"more")


async def test_a_file_is_durable_and_keeps_its_offset(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT, 0o600)
    os.write(fd, b"before ")
    sink = DescriptorSink(fd, name="the file", owned=True)
    assert sink.durable
    await sink.write(b"bytes")
    await sink.write_many([b" and", b" lines", bytearray(b"!"), memoryview(b"\n")])
    await sink.finish()
    assert (tmp_path / "out").read_bytes() == b"before bytes and lines!\n"
    assert sink.bytes_written == 17


@pytest.mark.parametrize("sizes", [[], [0], [1] * 3000, [70_000, 1, 70_000], [65_536, 65_536, 5]])
async def test_many_chunks_keep_their_order(tmp_path: Path, sizes: list[int]) -> None:
    chunks = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    fd = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT, 0o600)
    sink = DescriptorSink(fd, name="the file", owned=True)
    await sink.write_many(chunks)
    await sink.finish()
    assert (tmp_path / "out").read_bytes() == b"".join(chunks)


async def test_a_full_disk_is_a_local_problem() -> None:
    sink = DescriptorSink(os.open("/dev/full", os.O_WRONLY), name="/dev/full", owned=True)
    with pytest.raises(LocalProblem, match=r"cannot write to /dev/full: No space left on device"):
        await sink.write(b"x")
    sink.discard()


async def test_dev_null_never_waits_and_can_be_cancelled() -> None:
    sink = DescriptorSink(os.open("/dev/null", os.O_WRONLY), name="/dev/null", owned=True)
    with anyio.move_on_after(0.03) as scope:
        while True:
            await sink.write(b"x" * 4096)
    assert scope.cancelled_caught
    await sink.finish()


async def test_a_socket_as_stdout() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sink = DescriptorSink(ours.fileno(), name="the socket", owned=False)
        with anyio.move_on_after(0.02) as scope:
            await sink.write(MORE_THAN_A_PIPE_HOLDS)
        assert scope.cancelled_caught
        assert ours.getblocking()
        theirs.close()
        with pytest.raises(BrokenPipeError):
            await sink.write(b"x")
        sink.discard()


async def test_a_stopped_terminal_does_not_stop_the_loop() -> None:
    controller, terminal = os.openpty()
    sink = DescriptorSink(terminal, name="the terminal", owned=True)
    with anyio.move_on_after(0.05) as scope:
        await sink.write(MORE_THAN_A_PIPE_HOLDS)
    assert scope.cancelled_caught
    assert os.get_blocking(terminal)
    sink.discard()
    os.close(controller)


def test_what_is_not_open_for_writing_is_refused_at_once(pipe: tuple[int, int]) -> None:
    with pytest.raises(LocalProblem, match="cannot write to the pipe: it is closed"):
        DescriptorSink(pipe[0], name="the pipe", owned=False)
    with pytest.raises(LocalProblem, match="it is closed"):
        DescriptorSink(987654, name="nothing", owned=False)


async def test_nothing_stays_open(pipe: tuple[int, int]) -> None:
    before = opened()
    for end in ("finish", "discard"):
        sink = DescriptorSink(os.dup(pipe[1]), name="the pipe", owned=True)
        if end == "finish":
            await sink.finish()
        sink.discard()
    assert opened() == before

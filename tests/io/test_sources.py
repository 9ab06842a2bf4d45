"""Sources over real files, pipes, FIFOs, sockets and devices."""

from __future__ import annotations

import fcntl
import os
import select
import socket
from typing import TYPE_CHECKING

import anyio
import pytest

from iii_cli.errors import LocalProblem
from iii_cli.io.sources import Source
from tests.io.opened import opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


async def read_all(source: Source, room: int = 1 << 16) -> bytes:
    got = bytearray()
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


@pytest.mark.parametrize("content", [b"", b"x", b"\0\n" * 5000])
async def test_a_file_is_read_whole_and_knows_its_size(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "in").write_bytes(content)
    source = Source.open_file(str(tmp_path / "in"))
    assert source.size == (len(content) or None)
    assert await read_all(source, 1000) == content
    assert source.bytes_read == len(content)
    assert source.short_by == 0
    source.close()


async def test_size_honours_the_offset_that_the_shell_left(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"header\nbody")
    fd = os.open(tmp_path / "in", os.O_RDONLY)
    os.read(fd, 7)
    source = Source.from_fd(fd, owned=True)
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


async def test_a_file_of_proc_makes_no_promise() -> None:
    source = Source.open_file("/proc/self/status")
    assert source.size is None
    assert b"Pid:" in await read_all(source)
    source.close()


async def test_a_pipe_waits_and_ends(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    source = Source.from_fd(reading, owned=False)
    view = memoryview(bytearray(10))
    async with anyio.create_task_group() as group:
        group.start_soon(_write_later, writing)
        assert await source.read_into(view) == 3
    os.close(writing)
    assert await source.read_into(view) == 0
    assert await source.read_into(view) == 0, "the end stays the end"
    source.close()


async def _write_later(fd: int) -> None:
    await anyio.lowlevel.checkpoint()
    os.write(fd, b"abc")


@pytest.mark.parametrize("reopened", [True, False])
async def test_cancelling_a_wait_loses_no_byte(
    pipe: tuple[int, int], reopened: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not reopened:
        monkeypatch.setattr("iii_cli.io.sources.own_description", lambda _fd, _flags: None)
    source = Source.from_fd(pipe[0], owned=False)
    view = memoryview(bytearray(10))
    for expected in (b"one", b"two"):
        with anyio.move_on_after(0.01) as scope:
            await source.read_into(view)
        assert scope.cancelled_caught
        os.write(pipe[1], expected)
        assert bytes(view[: await source.read_into(view)]) == expected
    source.close()


async def test_the_shared_description_stays_blocking_and_the_pipe_grows(pipe: tuple[int, int]) -> None:
    source = Source.from_fd(pipe[0], owned=False)
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


async def test_a_socket_as_stdin() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        source = Source.from_fd(ours.fileno(), owned=False)
        with anyio.move_on_after(0.01) as scope:
            await read_all(source)
        assert scope.cancelled_caught
        theirs.sendall(b"hello")
        theirs.close()
        assert await read_all(source) == b"hello"
        assert ours.getblocking()
        source.close()
        assert ours.fileno() >= 0
        os.fstat(ours.fileno())


async def test_devices() -> None:
    null = Source.open_file("/dev/null")
    assert await read_all(null) == b""
    null.close()
    zero = Source.open_file("/dev/zero")
    with anyio.move_on_after(0.03) as scope:
        await read_all(zero, 1 << 20)  # never has to wait, and can be cancelled all the same
    assert scope.cancelled_caught
    zero.close()


async def test_a_terminal_is_read_without_touching_its_flags() -> None:
    controller, terminal = os.openpty()
    source = Source.from_fd(terminal, owned=True)
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


async def test_dev_fd_keeps_the_offset(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"0123456789")
    fd = os.open(tmp_path / "in", os.O_RDONLY)
    os.lseek(fd, 5, os.SEEK_SET)
    (tmp_path / "link").symlink_to(f"/dev/fd/{fd}")
    source = Source.open_file(str(tmp_path / "link"))
    assert await read_all(source) == b"56789"
    source.close()
    os.close(fd)


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
        Source.from_fd(pipe[1], owned=False)


async def test_an_io_error_is_a_local_problem() -> None:
    source = Source.open_file("/proc/self/mem")  # address 0 is never mapped: EIO
    with pytest.raises(LocalProblem, match=r"cannot read /proc/self/mem: Input/output error"):
        await read_all(source)
    source.close()


async def test_close_gives_everything_back(pipe: tuple[int, int]) -> None:
    before = opened()
    source = Source.from_fd(os.dup(pipe[0]), owned=True)
    source.close()
    source.close()
    assert opened() == before
    os.close(pipe[0])
    poll = select.poll()
    poll.register(pipe[1], select.POLLOUT)
    assert poll.poll(0)[0][1] & select.POLLERR, "the writer hears that nobody reads any more"

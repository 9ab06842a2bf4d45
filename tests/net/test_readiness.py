"""Lingering changes how fast a wait ends, never whether, and never what others may do meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from iii_cli.net.sockets import (
    LINGER_MS,
    each_time_readable,
    new_loop,
    wait_readable,
    wait_writable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKENDS: list[Any] = [("asyncio", {"loop_factory": new_loop}), ("asyncio", {}), ("trio", {})]


@pytest.fixture(params=BACKENDS, ids=["lingering", "asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe, non-blocking at both ends."""
    ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def other_pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    yield ends
    for end in ends:
        os.close(end)


async def test_what_is_ready_is_not_waited_for(pipe: tuple[int, int]) -> None:
    os.write(pipe[1], b"x")
    with anyio.fail_after(5):
        await wait_readable(pipe[0])
        await wait_writable(pipe[1])


async def test_data_that_comes_later_ends_the_wait(pipe: tuple[int, int]) -> None:
    late = threading.Timer(4 * LINGER_MS / 1000, os.write, (pipe[1], b"x"))
    late.start()
    with anyio.fail_after(5):
        await wait_readable(pipe[0])
    assert os.read(pipe[0], 9) == b"x"
    late.join()


async def test_a_full_pipe_is_waited_for_until_it_is_read(pipe: tuple[int, int]) -> None:
    while True:
        try:
            os.write(pipe[1], bytes(4096))
        except BlockingIOError:
            break

    async def empty() -> None:
        await wait_readable(pipe[0])
        os.read(pipe[0], 1 << 20)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(empty)
            await wait_writable(pipe[1])


async def test_a_time_limit_ends_the_wait(pipe: tuple[int, int]) -> None:
    with anyio.move_on_after(0.001) as scope:
        await wait_readable(pipe[0])
    assert scope.cancelled_caught


async def test_others_go_on_while_one_lingers(pipe: tuple[int, int], other_pipe: tuple[int, int]) -> None:
    async def answer() -> None:
        for _ in range(100):
            await wait_readable(other_pipe[0])
            os.read(other_pipe[0], 9)
            os.write(pipe[1], b"answer")

    # A hundred waits that each ended only after the lingering would take half a second.
    with anyio.fail_after(100 * LINGER_MS / 1000 / 2):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            for _ in range(100):
                os.write(other_pipe[1], b"question")
                await wait_readable(pipe[0])
                os.read(pipe[0], 9)


async def test_a_signal_is_heard_while_one_lingers(pipe: tuple[int, int]) -> None:
    async def wait_for_ever() -> None:
        await wait_readable(pipe[0])

    with anyio.fail_after(5), anyio.open_signal_receiver(signal.SIGUSR1) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_for_ever)
            late = threading.Timer(0.001, os.kill, (os.getpid(), signal.SIGUSR1))
            late.start()
            async for received in signals:
                assert received is signal.SIGUSR1
                break
            late.join()
            tasks.cancel_scope.cancel()


async def test_who_is_about_to_send_is_not_held_up(pipe: tuple[int, int]) -> None:
    """A sender lets others run before it sends (client.link); its receiver must not linger just then."""
    came = anyio.Event()

    async def receive() -> None:
        nonlocal came
        while True:
            await wait_readable(pipe[0])
            os.read(pipe[0], 9)
            came.set()

    with anyio.fail_after(100 * LINGER_MS / 1000 / 2):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(receive)
            for _ in range(100):
                await checkpoint()
                os.write(pipe[1], b"message")
                await came.wait()
                came = anyio.Event()
            tasks.cancel_scope.cancel()


async def test_the_second_who_waits_for_the_same_is_refused(pipe: tuple[int, int]) -> None:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait_readable, pipe[0])
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(anyio.BusyResourceError):
                await wait_readable(pipe[0])
            await wait_writable(pipe[1])
            tasks.cancel_scope.cancel()
    os.write(pipe[1], b"x")
    with anyio.fail_after(5):
        await wait_readable(pipe[0])


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A pair, of which the first is non-blocking."""
    mine, peers = socket.socketpair()
    mine.setblocking(False)
    with mine, peers:
        yield mine, peers


async def test_each_time_is_each_time_until_it_is_enough(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    mine, peers = sockets
    heard: list[bytes] = []

    def hear() -> bool:
        heard.append(mine.recv(1))
        if len(heard) < 3:
            peers.send(b"%d" % len(heard))
        return len(heard) == 3

    peers.send(b"0")
    with anyio.fail_after(5):
        await each_time_readable(mine, hear)
        assert heard == [b"0", b"1", b"2"]
        peers.send(b"x")
        await wait_readable(mine)
    assert mine.recv(9) == b"x", "nobody listens any more"


async def test_what_is_raised_each_time_is_raised(sockets: tuple[socket.socket, socket.socket]) -> None:
    mine, peers = sockets

    def fail() -> bool:
        raise LookupError(mine.recv(9))

    peers.send(b"boom")
    with anyio.fail_after(5), pytest.raises(LookupError, match="boom"):
        await each_time_readable(mine, fail)


async def test_each_time_ends_with_its_scope(sockets: tuple[socket.socket, socket.socket]) -> None:
    mine, peers = sockets
    with anyio.move_on_after(0.001) as scope:
        await each_time_readable(mine, lambda: False)
    assert scope.cancelled_caught
    peers.send(b"x")
    with anyio.fail_after(5):
        await wait_readable(mine)

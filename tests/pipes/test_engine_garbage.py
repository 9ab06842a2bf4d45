"""A client that sends garbage hurts only itself: everyone else's stream goes on, and memory stays bounded."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.support.raw import BINARY, CLOSE, TEXT, Dropped, Frame, RawSocket
from tests.support.stage import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

pytestmark = [pytest.mark.ci, pytest.mark.timeout(120)]

MEMORY_MAX = 400  # MiB: one message of 64 MiB and its copies, the stream, the interpreter


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def engine() -> Iterator[tuple[str, int]]:
    """An engine process: its URL and its number."""
    command = [sys.executable, "-m", "iii_cli", "engine", "run", "--port", "0", "--print-url", "--log", "off"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    process.stdout.close()
    yield url, process.pid
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.fixture
async def stage(engine: tuple[str, int]) -> AsyncIterator[Stage]:
    stage = Stage(engine[0])
    yield stage
    await stage.close()


def _peak(pid: int) -> int:
    """The most memory that it ever had, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("VmHWM"))


def _raw(stage: Stage) -> socket.socket:
    parts = urlsplit(stage.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), timeout=5)


async def random_bytes(stage: Stage) -> None:
    for seed in range(20):
        noise = random.Random(seed).randbytes(20_000)
        with _raw(stage) as raw:
            raw.sendall(noise)
        worker = await stage.open("/")
        worker.post_bytes(noise)
        await worker.receive_end_of_all()


async def half_frames(stage: Stage) -> None:
    for _ in range(50):
        for target in ("/", "/otel"):
            raw = await stage.open(target)
            raw.post_bytes(b"\x82\xff" + (16 << 20).to_bytes(8, "big") + b"\0\0\0\0half")
            await raw.drain()


async def too_large_messages(stage: Stage) -> None:
    for target in ("/", "/otel", None):
        raw = await stage.open(target) if target else await stage.end((await stage.refs())[0])
        with pytest.raises(Dropped):
            for number in range(5):
                await raw.send(TEXT if number == 0 else 0, b"x" * (13 << 20), fin=number == 4)
            while True:
                await raw.receive(20)


async def tiny_frames(stage: Stage) -> None:
    worker = await stage.open("/")
    for _ in range(10_000):
        worker.post(Frame(TEXT, b"{"))
    writer = await stage.end((await stage.refs())[0])
    for _ in range(10_000):
        writer.post(Frame(BINARY, b""))
    await worker.drain()
    await writer.send(0x9)


async def a_slow_head(stage: Stage) -> None:
    slow = [_raw(stage) for _ in range(100)]
    for raw in slow:
        raw.sendall(b"GET / HTTP/1.1\r\n")
    for _ in range(3):
        for raw in slow:
            raw.sendall(b"X-Slow: yes\r\n")
        await asyncio.sleep(0.05)
    for raw in slow:
        raw.close()


@pytest.mark.parametrize(
    "garbage",
    [random_bytes, half_frames, too_large_messages, tiny_frames, a_slow_head],
    ids=lambda g: g.__name__,
)
async def test_everyone_elses_stream_goes_on(
    engine: tuple[str, int], stage: Stage, garbage: Callable[[Stage], Awaitable[None]]
) -> None:
    refs = await stage.refs()
    writer, reader = await stage.end(refs[0]), await stage.end(refs[1])
    worker = await stage.worker()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        sent = tasks.create_task(_stream(writer, stop))
        received = tasks.create_task(_drain(reader))
        await garbage(stage)
        stop.set()
    assert 0 < sent.result() == received.result()
    await worker.quiet()
    assert _peak(engine[1]) < MEMORY_MAX


async def _stream(writer: RawSocket, stop: asyncio.Event) -> int:
    count = 0
    while not stop.is_set() or count < 10:
        await writer.send(BINARY, count.to_bytes(4, "big") * 1000)
        count += 1
        await asyncio.sleep(0.001)
    await writer.send(CLOSE)
    return count


async def _drain(reader: RawSocket) -> int:
    count = 0
    while (frame := await reader.receive(20)).opcode != CLOSE:
        assert frame.payload == count.to_bytes(4, "big") * 1000
        count += 1
    return count


async def test_a_head_that_does_not_come_is_closed_after_ten_seconds_without_a_word(
    stage: Stage,
) -> None:
    loop = asyncio.get_running_loop()
    with _raw(stage) as raw:
        raw.setblocking(False)
        begun = loop.time()
        for _ in range(3):  # a header line every 5 s does not help
            await loop.sock_sendall(raw, b"GET / HTTP/1.1\r\n" if loop.time() - begun < 1 else b"X: y\r\n")
            try:
                async with asyncio.timeout(5):
                    assert await loop.sock_recv(raw, 100) == b""
                    break
            except TimeoutError:
                continue
        assert 9.5 < loop.time() - begun < 12

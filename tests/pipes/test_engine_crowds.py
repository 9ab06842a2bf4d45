"""Many of everything at once: nothing is lost, and everything is given back.

pytest -m ci -s tests/pipes/test_engine_crowds.py
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.support.raw import BINARY, CLOSE, Frame, RawSocket
from tests.support.stage import Party, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.ci, pytest.mark.timeout(300)]

WORKERS, FLOWING, CALLS = 1000, 200, 50_000  # and a channel for each worker
CHUNKS, CHUNK = 64, 64 << 10
DESCRIPTORS = 3 * WORKERS + 100  # of the engine, and as many of the test itself


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Engine:
    """An engine process, and what it takes of the system."""

    def __init__(self) -> None:
        command = [
            sys.executable,
            "-m",
            "iii_cli",
            "engine",
            "run",
            "--port",
            "0",
            "--print-url",
            "--log",
            "off",
        ]
        # How much is in flight at the worst moment is a matter of scheduling, and glibc keeps what held it.
        # Buffers of 32 KiB and more in mappings of their own go back when they are freed: what is counted
        # here is what the engine kept.
        environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(32 << 10)}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        self._process.stdout.close()

    def memory(self) -> float:
        """Resident MiB."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize() / (1 << 20)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(20) == 0


@pytest.fixture
def engine() -> Iterator[Engine]:
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc here to read the engine's memory from")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < DESCRIPTORS:
        pytest.skip(f"only {hard} descriptors here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    engine = Engine()
    yield engine
    engine.stop()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


async def _given_back(engine: Engine, descriptors: int) -> float:
    """Wait until every socket has been let go. Says how much memory is kept then."""
    with anyio.move_on_after(20):
        while engine.descriptors() > descriptors:
            await anyio.sleep(0.1)
    _say(f"after the crowd: {engine.memory():.1f} MiB, {engine.descriptors()} descriptors")
    assert engine.descriptors() == descriptors
    return engine.memory()


async def test_everything_at_once_and_everything_given_back(engine: Engine) -> None:
    """What a crowd leaves behind serves the next one: memory is flat over repeated crowds."""
    descriptors = engine.descriptors()
    _say(f"fresh: {engine.memory():.1f} MiB, {descriptors} descriptors")
    memories = []
    for _ in range(3):
        await _load(engine, WORKERS, FLOWING, calls=CALLS)
        memories.append(await _given_back(engine, descriptors))
    assert max(memories) <= 1.1 * memories[0]


async def _load(engine: Engine, count: int, flowing: int, *, calls: int) -> None:
    """A crowd comes, does everything at once, and leaves."""
    stage = Stage(engine.url)
    workers = await _many(stage, count)
    ends = []
    for number, worker in enumerate(workers):
        await worker.say("registerfunction", id=f"load::{number}")
        refs = await worker.call("engine::channels::create", {})
        ends.append((await stage.end(refs["writer"]), await stage.end(refs["reader"])))
    _say(f"{count} workers and channels: {engine.memory():.1f} MiB, {engine.descriptors()} descriptors")
    begun = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number, worker in enumerate(workers):
            tasks.create_task(_serve_and_call(worker, number, count, calls // count))
        for writer, reader in ends[:flowing]:
            tasks.create_task(_write(writer))
            tasks.create_task(_read(reader))
    moved = flowing * CHUNKS * CHUNK >> 20
    _say(f"{calls} calls and {moved} MiB: {time.perf_counter() - begun:.1f} s, {engine.memory():.1f} MiB")
    await stage.close()


async def _many(stage: Stage, count: int) -> list[Party]:
    workers: list[Party] = []
    for _ in range(count // 50):
        workers += await asyncio.gather(*(stage.worker() for _ in range(50)))
    return workers


async def _serve_and_call(worker: Party, number: int, among: int, mine: int) -> None:
    """Call its neighbours one by one and answer those that call in between, until all are done."""
    sent = done = served = 0
    while done < mine or served < mine:
        if sent == done and sent < mine:
            sent += 1
            await worker.invoke(f"load::{(number + sent) % among}", {"n": sent})
        message = await worker.next(60)
        if message["type"] == "invokefunction":
            await worker.answer(message, result=message["data"]["n"])
            served += 1
        else:
            done += 1
            assert message["result"] == done


async def _write(writer: RawSocket) -> None:
    for number in range(CHUNKS):
        await writer.send(BINARY, bytes([number]) * CHUNK)
    await writer.send(CLOSE, b"\x03\xe8")
    assert await writer.receive_close(60) == (1000, "")


async def _read(reader: RawSocket) -> None:
    for number in range(CHUNKS):
        assert await reader.receive(60) == Frame(BINARY, bytes([number]) * CHUNK)
    assert await reader.receive_close(60) == (None, "")

"""One stream through the engine: a writer and a reader of one kind, and what they and the engine used."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING, NamedTuple

from tests.benchmarks.processes import LIMIT_SECONDS, reap, start, wait_connected
from tests.support.calls import create_channel

if TYPE_CHECKING:
    from tests.benchmarks.peers import Peer
    from tests.benchmarks.processes import Engine

__all__ = ("Streamed", "delivers", "stream")


class Streamed(NamedTuple):
    """From the start of the writer to the end of both. The processes around them are not counted."""

    seconds: float
    writer_cpu: float
    reader_cpu: float
    engine_cpu: float
    writer_peak: int  # bytes
    reader_peak: int
    failed: bool  # did one of the two end with an error?

    @property
    def cpu(self) -> float:
        """Of the writer and the reader, from their starts to their ends."""
        return self.writer_cpu + self.reader_cpu


def stream(
    peer: Peer, engine: Engine, source: list[str] | str, sink: list[str] | str, *, lines: bool = False
) -> Streamed:
    """Run one. `source` and `sink`: a path, or the words of a command in a pipe before or behind."""
    writer_ref, reader_ref = create_channel(engine.url)
    reading = peer.command("read", engine.url, reader_ref, lines)
    writing = peer.command("write", engine.url, writer_ref, lines)
    around = []
    given: IO[bytes]
    with ExitStack() as open_files:
        if isinstance(sink, str):
            output = open_files.enter_context(open(sink, "wb"))
            reader = start(reading, None, output.fileno(), **peer.environ)
        else:
            reader = start(reading, None, subprocess.PIPE, **peer.environ)
            assert reader.stdout is not None
            around.append(start(sink, open_files.enter_context(reader.stdout).fileno()))
            reader.stdout.close()
        wait_connected(reader)
        before, begun = engine.cpu(), time.perf_counter()
        if isinstance(source, str):
            given = open_files.enter_context(open(source, "rb"))
        else:
            feeder = start(source, None, subprocess.PIPE)
            assert feeder.stdout is not None
            given = open_files.enter_context(feeder.stdout)
            around.append(feeder)
        writer = start(writing, given.fileno(), None, **peer.environ)
        given.close()
        wrote, read = reap(writer), reap(reader)
        for process in around:
            reap(process)
        seconds = time.perf_counter() - begun
    failed = bool(wrote.status or read.status)
    return Streamed(seconds, wrote.cpu, read.cpu, engine.cpu() - before, wrote.peak, read.peak, failed)


def delivers(peer: Peer, engine: Engine, data: bytes, *, lines: bool = False) -> bool:
    """Does what is written arrive? Shown once, before its speed means anything."""
    writer_ref, reader_ref = create_channel(engine.url)
    reader = start(peer.command("read", engine.url, reader_ref, lines), None, subprocess.PIPE, **peer.environ)
    wait_connected(reader)
    writer = start(
        peer.command("write", engine.url, writer_ref, lines), subprocess.PIPE, None, **peer.environ
    )
    with ThreadPoolExecutor() as beside:
        writing = beside.submit(writer.communicate, data, LIMIT_SECONDS)
        got, _ = reader.communicate(timeout=LIMIT_SECONDS)
        writing.result()
    return got == data

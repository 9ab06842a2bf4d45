"""What grows with the size of a stream and with the number of channels, and what does not."""

from __future__ import annotations

import os
import statistics
import sys
import time
from typing import TYPE_CHECKING

from tests.benchmarks.processes import engine as new_engine
from tests.benchmarks.processes import start, wait_connected
from tests.benchmarks.results import Result, at_most
from tests.benchmarks.streams import stream
from tests.benchmarks.throughput import random_file
from tests.support.calls import create_channel
from tests.support.refs import address_of, target_of
from tests.support.websocket import BINARY, connect, frame, header

if TYPE_CHECKING:
    import socket
    import subprocess
    from pathlib import Path

    from tests.benchmarks.bench import Bench
    from tests.benchmarks.processes import Engine
    from tests.support.refs import Ref

__all__ = ("channels", "memory", "pairs", "sizes")

MIB = 1 << 20
MEMORY_MIB = 48
SLOW_READER = """
import os, sys, time
rate, begun, count = float(sys.argv[1]), time.monotonic(), 0
while data := os.read(0, 1 << 20):
    count += len(data)
    time.sleep(max(0.0, count / rate - (time.monotonic() - begun)))
"""


def sizes(bench: Bench) -> Result:
    """The cost of each byte, and the peak of memory, from small streams to large ones."""
    ours, rows, peaks = bench.peers[0], [], [0, 0]
    empty = stream(ours, bench.engine, "/dev/null", "/dev/null")
    for size in bench.sizes.scale:
        run = stream(ours, bench.engine, ["cat", *_cached(bench, size)], "/dev/null")
        cost = (run.cpu + run.engine_cpu - empty.cpu - empty.engine_cpu) / (size / (1 << 30))
        rate = f"{size / MIB / run.seconds:.0f}"
        rows.append(
            [_mib(size), f"{run.seconds:.2f}", rate, f"{cost:.2f}", *_peaks(run.writer_peak, run.reader_peak)]
        )
        peaks = [max(peaks[0], run.writer_peak), max(peaks[1], run.reader_peak)]
        sys.stderr.write(f"{rows[-1]}\n")
    aims = [
        at_most(
            f"peak memory of `{end}`, {_mib(bench.sizes.scale[-1])}, fast reader",
            MEMORY_MIB,
            peak / MIB,
            " MiB",
        )
        for end, peak in zip(("write", "read"), peaks, strict=True)
    ]
    note = (
        "`cat FILE… | iii channel write` … `iii channel read > /dev/null`. CPU s per GiB is that of the "
        "writer, the reader and the engine "
        f"together, less that of an empty stream ({empty.cpu + empty.engine_cpu:.2f} s)."
    )
    columns = ["size", "seconds", "MiB/s", "CPU s per GiB", "peak of write, MiB", "peak of read, MiB"]
    return Result("Cost and size", note, columns, rows, aims)


def memory(bench: Bench) -> Result:
    """The peak of memory while the reader is slow."""
    size, rate = bench.sizes.scale[-1], bench.sizes.slow
    slow = [sys.executable, "-c", SLOW_READER, str(rate)]
    run = stream(bench.peers[0], bench.engine, str(_sparse(bench, size)), slow)
    aims = [
        at_most(f"peak memory of `{end}`, {_mib(size)}, slow reader", MEMORY_MIB, peak / MIB, " MiB")
        for end, peak in (("write", run.writer_peak), ("read", run.reader_peak))
    ]
    title = f"{_mib(size)} into a slow reader"
    note = f"The program behind `iii channel read` takes {rate / MIB:.0f} MiB/s; everybody before it waits."
    columns = ["seconds", "MiB/s", "peak of write, MiB", "peak of read, MiB", "peak of the engine, MiB"]
    engine_peak = f"{bench.engine.memory('VmHWM') / MIB:.0f}"
    rows = [
        [
            f"{run.seconds:.1f}",
            f"{size / MIB / run.seconds:.0f}",
            *_peaks(run.writer_peak, run.reader_peak),
            engine_peak,
        ]
    ]
    return Result(title, note, columns, rows, aims)


def pairs(bench: Bench) -> Result:
    """Many pairs at once: does each get its share?"""
    count, size = bench.sizes.pairs, bench.sizes.pair
    ends, gates = _waiting_pairs(bench, count)
    path, begun = str(_sparse(bench, size)), time.perf_counter()
    feeders = []
    for gate in gates:
        feeders.append(start(["cat", path], None, gate))
        os.close(gate)
    readers = {process.pid for process in ends[::2]}
    finished, cpu = [], 0.0
    for _ in range(len(ends) + len(feeders)):
        pid, status, used = os.wait3(0)
        if status:
            raise RuntimeError("one of the pairs failed")
        if pid in readers:
            finished.append(time.perf_counter() - begun)
            cpu += used.ru_utime + used.ru_stime
    for process in (*ends, *feeders):
        process.returncode = 0
    rates = [size / MIB / seconds for seconds in finished]
    fairness = sum(rates) ** 2 / (len(rates) * sum(rate**2 for rate in rates))
    row = [
        f"{count * size / MIB / max(finished):.0f}",
        f"{min(finished):.2f}",
        f"{statistics.median(finished):.2f}",
        f"{max(finished):.2f}",
        f"{fairness:.3f}",
        f"{bench.engine.memory('VmHWM') / MIB:.0f}",
    ]
    note = (
        f"{_mib(size)} through each, all let go together once all are connected. Fairness is Jain's index of "
        "their rates: 1 where all are the same."
    )
    columns = ["MiB/s of all", "first done, s", "median, s", "last, s", "fairness", "peak of the engine, MiB"]
    return Result(f"{count} pairs at once", note, columns, [row], [])


def channels(bench: Bench) -> Result:
    """What an open channel costs the engine."""
    count, rows = bench.sizes.channels, []
    with new_engine(None) as fresh:
        before = fresh.memory()
        refs = [create_channel(fresh.url) for _ in range(count)]
        rows.append(["created", _each(fresh, before, count)])
        ends = [(_open(fresh, writer), _open(fresh, reader)) for writer, reader in refs]
        rows.append(["both ends connected", _each(fresh, before, count)])
        for length in (64, MIB):
            _send_through(ends, length)
            rows.append([f"a message of {length:,} bytes went through each", _each(fresh, before, count)])
        for writer, reader in ends:
            writer.close()
            reader.close()
    note = f"{count} channels on a fresh engine; its resident memory, less that before the first of them."
    return Result("Memory of an open channel", note, ["state", "KiB of the engine for each"], rows, [])


def _send_through(ends: list[tuple[socket.socket, socket.socket]], length: int) -> None:
    message = frame(BINARY, bytes(length), b"mask")
    for writer, reader in ends:
        writer.sendall(message)
        missing = len(header(BINARY, length, None)) + length
        while missing:
            missing -= len(reader.recv(missing))


def _open(engine: Engine, ref: Ref) -> socket.socket:
    return connect(*address_of(engine.url), target_of(ref))


def _each(engine: Engine, before: int, count: int) -> str:
    return f"{(engine.memory() - before) / 1024 / count:.1f}"


def _waiting_pairs(bench: Bench, count: int) -> tuple[list[subprocess.Popen[bytes]], list[int]]:
    """Readers and writers in turn, all connected; and the pipes into the writers."""
    ours, ends, gates = bench.peers[0], [], []
    for _ in range(count):
        writer, reader = create_channel(bench.engine.url)
        ends.append(start(ours.command("read", bench.engine.url, reader, False)))
        out, into = os.pipe()
        ends.append(start(ours.command("write", bench.engine.url, writer, False), out))
        os.close(out)
        gates.append(into)
    wait_connected(*ends)
    return ends, gates


def _sparse(bench: Bench, size: int) -> Path:
    path = bench.folder / f"sparse-{size}"
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def _cached(bench: Bench, size: int) -> list[str]:
    """Files that make `size` bytes together, none larger than 1 GiB, all in the page cache."""
    one = min(size, 1 << 30)
    return [str(random_file(bench, one))] * (size // one)


def _peaks(writer: int, reader: int) -> list[str]:
    return [f"{writer / MIB:.0f}", f"{reader / MIB:.0f}"]


def _mib(size: int) -> str:
    return f"{size >> 30} GiB" if size >= 1 << 30 else f"{size >> 20} MiB"

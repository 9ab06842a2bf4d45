"""The engine's relay beside socat: the same cheap writer and reader, with one or the other between them."""

from __future__ import annotations

import shutil
import socket
import sys
from subprocess import PIPE
from typing import TYPE_CHECKING, NamedTuple

from tests.benchmarks.processes import reap, start
from tests.benchmarks.results import Result, at_least, median
from tests.support.calls import create_channel
from tests.support.refs import address_of, target_of

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench
    from tests.benchmarks.processes import Engine

__all__ = ("relays",)

MIB = 1 << 20


def relays(bench: Bench) -> Result:
    """One after the other, in each round."""
    size, ours, theirs = bench.sizes.relay, [], []
    for _ in range(bench.rounds):
        ours.append(_through_engine(bench.engine, size))
        if shutil.which("socat") is not None:
            theirs.append(_through_socat(size))
    ratio = (
        median(his.seconds / mine.seconds for mine, his in zip(ours, theirs, strict=True)) if theirs else None
    )
    rows = [_row("the engine, frames of 1 MiB", ours, size), _row("socat, plain TCP", theirs, size)]
    note = (
        f"{size >> 20} MiB from the cheapest writer there can be to the cheapest reader (`raw.py`): frames "
        "that are all the same and masked beforehand, and nobody looks at what arrives."
    )
    aims = [at_least("the engine's relay against `socat` relaying plain TCP", 0.45, ratio)]
    return Result("The relay", note, ["relay", "MiB/s", "its CPU s per GiB"], rows[: 1 + bool(theirs)], aims)


def _row(name: str, runs: list[_Relayed], size: int) -> list[str]:
    if not runs:
        return []
    rate = size / MIB / median(run.seconds for run in runs)
    return [name, f"{rate:.0f}", f"{median(run.cpu for run in runs) / size * (1 << 30):.2f}"]


class _Relayed(NamedTuple):
    """From the reader's first byte to its last, and what the relay used of the processors."""

    seconds: float
    cpu: float


def _through_engine(engine: Engine, size: int) -> _Relayed:
    """`size` bytes through a channel, in frames of 1 MiB."""
    host, port = address_of(engine.url)
    writer, reader = create_channel(engine.url)
    place = host, str(port)
    before = engine.cpu()
    seconds = _timed(
        [*place, str(size), target_of(writer)],
        [*place, str(size), target_of(reader)],
    )
    return _Relayed(seconds, engine.cpu() - before)


def _through_socat(size: int) -> _Relayed:
    """The same bytes as plain TCP through socat."""
    for_writer, for_reader = _free_ports()
    relay = start(
        [
            *("socat", "-u", "-b", str(1 << 20)),
            f"TCP-LISTEN:{for_writer},bind=127.0.0.1,nodelay",
            f"TCP:127.0.0.1:{for_reader},nodelay,retry=100,interval=0.05",
        ]
    )
    seconds = _timed(["127.0.0.1", for_writer, str(size)], ["127.0.0.1", for_reader, str(size), "listen"])
    return _Relayed(seconds, reap(relay).cpu)


def _timed(writer: list[str], reader: list[str]) -> float:
    raw = [sys.executable, "-m", "tests.benchmarks.raw"]
    reading = start([*raw, "read", *reader], None, PIPE)
    assert reading.stdout is not None
    with reading.stdout as told:
        told.readline()  # that it is there
        writing = start([*raw, "write", *writer])
        seconds = told.readline()
    statuses = reap(writing).status, reap(reading).status
    if any(statuses):
        raise RuntimeError(f"the raw writer and reader ended with {statuses}")
    return float(seconds)


def _free_ports() -> tuple[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return str(one.getsockname()[1]), str(other.getsockname()[1])

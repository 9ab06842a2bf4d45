"""Streams through the engine: ours beside what people would use in its place, in turn in each round."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from tests.benchmarks.results import Aim, Result, at_least, at_most, median
from tests.benchmarks.roundtrip import round_trips
from tests.benchmarks.streams import delivers, stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.benchmarks.bench import Bench
    from tests.benchmarks.streams import Streamed

__all__ = ("file", "lines", "messages", "pipes", "trips")

MIB = 1 << 20
OURS = "iii"
PROOF = b"".join(b"%063d\n" % number for number in range(2000))


class _Runs(NamedTuple):
    """The rounds of each peer."""

    runs: dict[str, list[Streamed]]
    unfit: list[str]  # those that lost some of what was written when it was looked at

    def rate_ratio(self, name: str) -> float | None:
        """How many times as fast we are, in the middle one of the rounds."""
        return self._ratio(name, lambda ours, theirs: theirs.seconds / ours.seconds)

    def cpu_ratio(self, name: str) -> float | None:
        """How many times their processor time our two processes take."""
        return self._ratio(name, lambda ours, theirs: ours.cpu / theirs.cpu)

    def _ratio(self, name: str, of: Callable[[Streamed, Streamed], float]) -> float | None:
        if name not in self.runs:
            return None
        return median(map(of, self.runs[OURS], self.runs[name]))


def file(bench: Bench) -> Result:
    """A file to /dev/null."""
    size = bench.sizes.file
    path = random_file(bench, size)
    runs = _alternate(bench, str(path), "/dev/null")
    aims = [
        at_least("file → /dev/null, sealed, against the Rust SDK pair", 1.1, runs.rate_ratio("Rust SDK")),
        at_least("… against the Python SDK pair", 2, runs.rate_ratio("Python SDK")),
        at_least("… against the Node SDK pair", 3, runs.rate_ratio("Node SDK")),
        at_least("… against the websocat pair", 2, runs.rate_ratio("websocat")),
        at_most("CPU of our two processes, against the Rust SDK's two", 1.5, runs.cpu_ratio("Rust SDK")),
    ]
    title = f"{_amount(size)}, file → /dev/null"
    return _in_mib(title, "`iii channel write < FILE` … `iii channel read > /dev/null`.", runs, size, aims)


def pipes(bench: Bench) -> Result:
    """The same between two cats."""
    size = bench.sizes.file
    path = random_file(bench, size)
    runs = _alternate(bench, ["cat", str(path)], ["cat"])
    aims = [
        at_least("`cat file \\|` … `\\| cat`, against the Rust SDK pair", 1.1, runs.rate_ratio("Rust SDK"))
    ]
    title = f"{_amount(size)}, in pipes"
    note = "`cat FILE | iii channel write` … `iii channel read | cat > /dev/null`. The cats are not counted."
    return _in_mib(title, note, runs, size, aims)


def lines(bench: Bench) -> Result:
    """Lines of 64 bytes, each one a message."""
    return _messages(bench, 64, bench.sizes.lines, 3.0)


def messages(bench: Bench) -> Result:
    """Lines of 1 KiB, each one a message."""
    return _messages(bench, 1024, bench.sizes.messages, None)


def _messages(bench: Bench, length: int, count: int, aim: float | None) -> Result:
    line = "x" * (length - 1)
    source = ["sh", "-c", f"yes {line} | head -n {count}"]
    runs = _alternate(bench, source, "/dev/null", lines=True)
    work = f"lines of {length} bytes in bulk, against the Python SDK pair"
    aims = [] if aim is None else [at_least(work, aim, runs.rate_ratio("Python SDK"))]
    title = f"{count:,} lines of {length} bytes in bulk"
    note = f"`yes … | head -n {count} | iii channel write --lines` … `iii channel read > /dev/null`."
    columns = ["pair", "lines/s", "writer CPU s", "reader CPU s", "engine CPU s", "peak MiB", "failed"]
    rows = [
        [name, f"{count / median(run.seconds for run in runs):,.0f}", *_used(runs)]
        for name, runs in runs.runs.items()
    ]
    return Result(title, _with_unfit(note, runs), columns, rows, aims)


def trips(bench: Bench) -> Result:
    """Lines of 64 bytes, one at a time, there and back through two channels."""
    times: dict[str, list[list[float]]] = {}
    for _ in range(bench.rounds):
        for peer in bench.peers:
            times.setdefault(peer.name, []).append(round_trips(peer, bench.engine, bench.sizes.trips))
    rows = [[name, *_percentiles(rounds)] for name, rounds in times.items()]
    ratio = None
    if "websocat" in times:
        pairs = zip(times[OURS], times["websocat"], strict=True)
        ratio = median(median(ours) / median(theirs) for ours, theirs in pairs)
    aims = [at_most("64-byte lines there and back, median, against websocat", 1.2, ratio)]
    note = (
        f"Two channels, four processes: {bench.sizes.trips:,} times a line is written and the next one when "
        "it came back. Microseconds; the middle of the rounds."
    )
    return Result(
        "64-byte lines, one at a time there and back",
        note,
        ["pairs", "p50 µs", "p90 µs", "p99 µs"],
        rows,
        aims,
    )


def random_file(bench: Bench, size: int) -> Path:
    """A file of that size whose content is nothing that anyone could compress, in the page cache."""
    path = bench.folder / f"random-{size}"
    if not path.exists():
        with open(path, "wb") as out:
            for at in range(0, size, MIB):
                out.write(os.urandom(min(MIB, size - at)))
    return path


def _alternate(bench: Bench, source: list[str] | str, sink: list[str] | str, *, lines: bool = False) -> _Runs:
    unfit = [peer.name for peer in bench.peers if not delivers(peer, bench.engine, PROOF, lines=lines)]
    runs = _Runs({peer.name: [] for peer in bench.peers}, unfit)
    for _ in range(bench.rounds):
        for peer in bench.peers:
            runs.runs[peer.name].append(run := stream(peer, bench.engine, source, sink, lines=lines))
            sys.stderr.write(f"{peer.name:12}{run.seconds:8.2f} s{run.cpu:8.2f} s CPU\n")
    return runs


def _in_mib(title: str, note: str, runs: _Runs, size: int, aims: list[Aim]) -> Result:
    columns = ["pair", "MiB/s", "writer CPU s", "reader CPU s", "engine CPU s", "peak MiB", "failed"]
    rows = [
        [name, f"{size / MIB / median(run.seconds for run in done):.0f}", *_used(done)]
        for name, done in runs.runs.items()
    ]
    return Result(title, _with_unfit(note, runs), columns, rows, aims)


def _used(runs: list[Streamed]) -> list[str]:
    return [
        f"{median(run.writer_cpu for run in runs):.2f}",
        f"{median(run.reader_cpu for run in runs):.2f}",
        f"{median(run.engine_cpu for run in runs):.2f}",
        f"{max(run.writer_peak for run in runs) >> 20} + {max(run.reader_peak for run in runs) >> 20}",
        f"{sum(run.failed for run in runs)} of {len(runs)}",
    ]


def _with_unfit(note: str, runs: _Runs) -> str:
    if not runs.unfit:
        return note
    compared = f"When {len(PROOF) >> 10} KiB were compared before the rounds, not all arrived from"
    return f"{note} {compared} {', '.join(runs.unfit)}."


def _percentiles(rounds: list[list[float]]) -> list[str]:
    return [
        f"{1e6 * median(times[int(share * len(times))] for times in rounds):.0f}"
        for share in (0.5, 0.9, 0.99)
    ]


def _amount(size: int) -> str:
    return f"{size >> 30} GiB" if size >= 1 << 30 else f"{size / MIB:g} MiB"

"""Mixed load for as long as III_SOAK_MINUTES says (ten): streams, calls, served filters, and the death of
each process. In the end nothing is left over, memory is flat, and every digest was right.

    nice pytest -m soak tests/soak -s
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pipes.program import III, Program, running_engine
from tests.soak.readings import Reading, children_of, read_process, slope

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTES = float(os.environ.get("III_SOAK_MINUTES", "10"))
SEED = int(os.environ.get("III_SOAK_SEED", "1"))
GROWTH_MAX = 8 << 10  # bytes a second of one process: a bound on a leak, not a proof of none
LANES = 2

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(MINUTES * 60 + 300),
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc"),
]


class Load:
    """One lane of work. Everything it does is checked."""

    def __init__(self, iii: Program, number: int, counts: Counter[str]) -> None:
        self.iii = iii
        self.number = number
        self.random = random.Random(SEED * 1000 + number)
        self.counts = counts
        self.kinds: list[Callable[[], None]] = [
            *(self.stream, self.stream, self.call, self.filtered, self.lines),
            *(self.dying_writer, self.dying_reader, self.refused, self.unread),
        ]

    def run(self, until: float) -> None:
        while time.monotonic() < until:
            kind = self.random.choice(self.kinds)
            kind()
            self.counts[kind.__name__] += 1

    def data(self) -> bytes:
        size = self.random.choice([0, 1, 100, 65_536, 1 << 20, self.random.randrange(8 << 20)])
        self.counts["bytes"] += size
        return self.random.randbytes(size)

    def stream(self) -> None:
        """A sealed stream with a receipt, into a file."""
        writer, reader = self.iii.channel()
        out = self.iii.home / f"out{self.number}"
        data = self.data()
        reading = self.iii.start("channel", "read", reader, "-o", str(out))
        self.iii.ok("channel", "write", writer, "--receipt", stdin=data)
        _, err = reading.communicate(timeout=60)
        assert reading.returncode == 0, err
        assert hashlib.sha256(out.read_bytes()).digest() == hashlib.sha256(data).digest()
        out.unlink()

    def lines(self) -> None:
        writer, reader = self.iii.channel()
        text = "".join(f"{self.random.getrandbits(64):x}\n" for _ in range(2000)).encode()
        reading = self.iii.start("channel", "read", reader)
        self.iii.ok("channel", "write", writer, "--lines", stdin=text)
        assert reading.communicate(timeout=60)[0] == text
        assert reading.returncode == 0

    def call(self) -> None:
        assert '"workers"' in self.iii.ok("trigger", "engine::workers::list")

    def filtered(self) -> None:
        data = self.data()
        done = self.iii.run("trigger", "soak::cat", "--in", "-", "--out", "-", stdin=data, limit=60)
        assert (done.returncode, done.stdout == data) == (0, True), done.stderr

    def dying_writer(self) -> None:
        writer, reader = self.iii.channel()
        reading = self.iii.start("channel", "read", reader)
        writing = self.iii.start("channel", "write", writer, "/dev/zero")
        assert reading.stdout is not None
        reading.stdout.read(1 << 20)
        writing.kill()
        writing.communicate()
        assert reading.communicate(timeout=60) is not None
        assert reading.returncode == 7

    def dying_reader(self) -> None:
        writer, reader = self.iii.channel()
        reading = self.iii.start("channel", "read", reader)
        writing = self.iii.start("channel", "write", writer, "/dev/zero")
        assert reading.stdout is not None
        reading.stdout.read(1 << 20)
        reading.send_signal(self.random.choice([signal.SIGKILL, signal.SIGTERM]))
        reading.communicate(timeout=60)
        writing.communicate(timeout=60)
        assert writing.returncode == 9

    def refused(self) -> None:
        assert self.iii.run("channel", "read", "iii:read:no:no").returncode == 5
        assert self.iii.run("trigger", "no::such").returncode == 5

    def unread(self) -> None:
        """A reader that leaves after the first bytes, behind a pipe."""
        done = self.iii.shell(
            "iii channel create --save u --force\n"
            "head -c 3M /dev/zero | iii channel write @u 2>/dev/null &\n"
            "iii channel read @u | head -c 1 | wc -c; wait"
        )
        assert done.stdout.strip() == b"1", done.stderr


def serve(iii: Program) -> subprocess.Popen[bytes]:
    process = iii.start(
        "serve", "soak::cat", "--", "cat", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    iii.ok("functions", "wait", "soak::cat", "--timeout", "20s")
    return process


def test_mixed_load_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    counts: Counter[str] = Counter()
    with running_engine() as (url, engine):
        programs = []
        for number in range(LANES):
            home = tmp_path / f"home{number}"
            home.mkdir()
            programs.append(Program(home, url))
        serving = serve(programs[0])
        watched = {"engine": engine.pid, "serve": serving.pid}
        readings: dict[str, list[Reading]] = {name: [] for name in watched}
        started = time.monotonic()
        until = started + MINUTES * 60
        with ThreadPoolExecutor(LANES) as pool:
            lanes = [pool.submit(Load(iii, n, counts).run, until) for n, iii in enumerate(programs)]
            while not all(lane.done() for lane in lanes):
                for name, pid in watched.items():
                    readings[name].append(read_process(pid, time.monotonic() - started))
                time.sleep(min(5.0, MINUTES * 3))
            for lane in lanes:
                lane.result()
        last = {name: read_process(pid, time.monotonic() - started) for name, pid in watched.items()}
        report = {
            name: f"{slope(of):+.0f} B/s, {of[0].resident >> 20} to {last[name].resident >> 20} MiB, "
            f"descriptors {of[0].descriptors} to {last[name].descriptors}, threads {last[name].threads}"
            for name, of in readings.items()
        }
        print("\n", dict(counts), report, sep="\n")
        assert children_of(serving.pid) == []
        serving.terminate()
        assert serving.wait(20) in (0, 143)
        for name, of in readings.items():
            assert MINUTES < 5 or slope(of) < GROWTH_MAX, (name, report)  # less says nothing about memory
            assert last[name].descriptors <= of[0].descriptors + 4, (name, report)
            assert last[name].threads <= of[0].threads, (name, report)
    assert list(temporary.iterdir()) == []
    assert [
        path for iii in programs for path in iii.home.rglob("*") if path.suffix in (".part", ".tmp")
    ] == []


def test_an_engine_that_is_killed_again_and_again(tmp_path: Path) -> None:
    """`serve` comes back by itself, whatever the engine does; no stream ends well that should not."""
    until = time.monotonic() + MINUTES * 6  # a tenth of the whole
    iii = Program(tmp_path)
    with running_engine() as (url, engine):
        port = url.rsplit(":", 1)[1]
    iii.env["III_URL"] = url
    serving: subprocess.Popen[bytes] | None = None
    rounds = 0
    try:
        while time.monotonic() < until:
            engine = subprocess.Popen([III, "engine", "run", "--port", port, "--log", "off", "-q"])
            try:
                iii.ok("functions", "wait", "engine::channels::create", "--timeout", "20s")
                if serving is None:
                    serving = iii.start("serve", "soak::cat", "--", "cat", stderr=subprocess.DEVNULL)
                iii.ok("functions", "wait", "soak::cat", "--timeout", "60s")
                done = iii.run("trigger", "soak::cat", "--in", "-", "--out", "-", stdin=b"back")
                assert (done.returncode, done.stdout) == (0, b"back"), done.stderr
                writer, reader = iii.channel()
                reading = iii.start("channel", "read", reader)
                writing = iii.start("channel", "write", writer, "/dev/zero")
                assert reading.stdout is not None
                reading.stdout.read(1 << 20)
            finally:
                engine.send_signal([signal.SIGKILL, signal.SIGTERM][rounds % 2])
                engine.wait(20)
            for process in (reading, writing):
                process.communicate(timeout=60)
                assert process.returncode in (3, 7, 9), process.args
            rounds += 1
    finally:
        if serving is not None:
            serving.terminate()
            serving.communicate(timeout=20)
    print(f"\n{rounds} engines")

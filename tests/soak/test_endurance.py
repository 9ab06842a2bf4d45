"""Mixed load for as long as `--hours` says (ten minutes): streams, calls, served filters, and the death of
each process. In the end nothing is left over, memory is flat, and every digest was right.

    nice pytest -m soak tests/soak --hours 1 -s
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.soak.load import LIMIT, Load
from tests.soak.long_lived import LongLived
from tests.support.processes import children_of
from tests.support.program import III, Program, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = int(os.environ.get("III_SOAK_SEED", "1"))
GROWTH_MAX = 6 << 20  # bytes in the second half; what a memory allocator does by itself is about half of it
SPANS_KEPT = 20_000  # the engine's limit, which is reached before memory is measured
LANES = 2
LOOK_EVERY = 5.0  # seconds
REPORT_EVERY = 60  # looks
BLOCK = 32 << 10  # of the stream that lasts for the whole time, at each look

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc"),
]


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go, to see which stay."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def iii(tmp_path: Path, temporary: Path) -> Program:
    (tmp_path / "home").mkdir()
    iii = Program(tmp_path / "home")
    iii.limit = LIMIT
    iii.options = ("--connect-timeout", f"{LIMIT:g}")  # a machine that does other things is no fault of ours
    return iii


@pytest.fixture
def watched(iii: Program) -> Iterator[list[LongLived]]:
    """An engine, a served filter, a worker of the library, and the two ends of one long stream."""
    alive = [LongLived(iii, "engine", "engine", "run", "--port", "0", "--print-url", "--log", "off")]
    try:
        stdout = alive[0].process.stdout
        assert stdout is not None
        iii.env["III_URL"] = stdout.readline().decode().strip()
        alive.append(LongLived(iii, "serve", "serve", "soak::cat", "--", "cat"))
        alive.append(LongLived(iii, "library", "-m", "tests.soak.echo_worker", python=True))
        writer, reader = iii.channel()
        out = str(iii.home / "long")
        alive.append(LongLived(iii, "read", "channel", "read", reader, "-o", out))
        alive.append(LongLived(iii, "write", "channel", "write", writer, "--receipt"))
        for name in ("soak::cat", "soak::echo", "soak::copy"):
            iii.ok("functions", "wait", name, "--timeout", "200s")
        yield alive
    finally:
        for one in alive:
            one.process.kill()
            one.process.communicate()
        for child in children_of(os.getpid()):  # of a load that failed
            os.kill(child, signal.SIGKILL)


def tell(counts: Counter[str], watched: list[LongLived]) -> None:
    minutes = (time.monotonic() - watched[0].started) / 60
    print(f"\nafter {minutes:.1f} minutes", dict(counts), *(one.report() for one in watched), sep="\n")


def fill_stores(iii: Program) -> None:
    """The engine keeps the last spans: it shall be full of them before we look at its memory."""
    traced = {"TRACEPARENT": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    words = ("trigger", "soak::echo", "--each", "-P", "32", "--timeout", "200s")
    done = iii.run(*words, stdin=b"{}\n" * SPANS_KEPT, limit=600, env=traced)
    assert done.returncode == 0, done.stderr


def test_mixed_load_leaves_nothing_behind(
    minutes: float, iii: Program, watched: list[LongLived], temporary: Path
) -> None:
    engine, serving, library, reading, writing = watched
    counts: Counter[str] = Counter()
    lanes = [Load(iii, number, SEED, counts) for number in range(LANES)]
    fill_stores(iii)
    for lane in lanes:  # everything once: code is loaded, buffers have their sizes
        for kind in lane.kinds:
            kind()
    for one in watched:
        one.begin()
    block, sent = random.Random(SEED).randbytes(BLOCK), 0
    assert writing.process.stdin is not None
    stopped = threading.Event()
    with ThreadPoolExecutor(LANES) as pool:
        working = [pool.submit(lane.run, stopped) for lane in lanes]
        until = time.monotonic() + minutes * 60
        try:
            while time.monotonic() < until and not stopped.wait(min(LOOK_EVERY, minutes * 3)):
                writing.process.stdin.write(block)
                writing.process.stdin.flush()
                sent += 1
                for one in watched:
                    one.look()
                if sent % REPORT_EVERY == 0:
                    tell(counts, watched)
        finally:
            stopped.set()
        for lane_done in working:
            lane_done.result()
    for one in watched:
        one.end()
    tell(counts, watched)
    out, _ = writing.process.communicate(timeout=60)
    reading.process.communicate(timeout=60)
    assert (writing.process.returncode, reading.process.returncode, out) == (0, 0, b"")
    assert hashlib.sha256((iii.home / "long").read_bytes()).digest() == hashlib.sha256(block * sent).digest()
    assert serving.stop() == 0
    library.stop()
    assert engine.stop() == 0
    growth_max = GROWTH_MAX if minutes >= 5 else 1 << 40  # less says nothing about memory
    assert [fault for one in watched for fault in one.faults(growth_max)] == []
    assert list(temporary.iterdir()) == []
    assert [path for path in iii.home.rglob("*") if path.suffix in (".part", ".tmp")] == []
    assert [path for path in iii.home.iterdir() if path.name.startswith(("out", ".out"))] == []


def test_an_engine_that_is_killed_again_and_again(minutes: float, tmp_path: Path) -> None:
    """`serve` comes back by itself, whatever the engine does; no stream ends well that should not."""
    until = time.monotonic() + minutes * 6  # a tenth of the whole
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

"""Backpressure is real: nobody in the pipe holds more than a few frames while the reader is slow."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.pipes.program import Program, running_engine

RATE = 20_000_000  # bytes a second, what the slow reader takes
SIZE = 256 << 20


def peak_of(pid: int) -> int:
    """The process's peak resident memory in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no VmHWM")


@pytest.mark.ci
@pytest.mark.timeout(90)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_stays_flat_while_the_reader_is_slow(tmp_path: Path) -> None:
    with running_engine() as (url, engine):
        iii = Program(tmp_path, url)
        writer, reader = iii.channel()
        reading = iii.start("channel", "read", reader)
        feeder = subprocess.Popen(["head", "-c", str(SIZE), "/dev/zero"], stdout=subprocess.PIPE)
        writing = iii.start("channel", "write", writer, stdin=feeder.stdout)
        assert feeder.stdout is not None
        assert reading.stdout is not None
        feeder.stdout.close()
        started, received, waited = time.monotonic(), 0, False
        peaks: dict[str, int] = {}
        while chunk := os.read(reading.stdout.fileno(), 1 << 20):
            received += len(chunk)
            time.sleep(max(0.0, received / RATE - (time.monotonic() - started)))  # this is the slow reader
            if received > SIZE // 2 and not peaks:
                waited = writing.poll() is None and feeder.poll() is None
                running = {"engine": engine, "write": writing, "read": reading}
                peaks = {name: peak_of(process.pid) for name, process in running.items()}
        assert received == SIZE
        assert waited, "the writer was done long before the reader"
        assert peaks["write"] < 64 << 20
        assert peaks["read"] < 64 << 20
        assert peaks["engine"] < 128 << 20
        for process in (reading, writing):
            process.communicate(timeout=20)
            assert process.returncode == 0
        assert feeder.wait(5) == 0

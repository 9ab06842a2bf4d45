"""Processes that live as long as the soak: what they hold is read from outside and from inside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.soak.readings import Reading, growth, read_process, slope
from tests.support.processes import children_of

if TYPE_CHECKING:
    from tests.support.program import Program

__all__ = ("LongLived",)

OBSERVED = str(Path(__file__).with_name("observed.py"))
CENSUS_SECONDS = 200.0
SWEEP_SECONDS = 400.0


class LongLived:
    """One process, its readings, and its censuses."""

    def __init__(self, iii: Program, name: str, *command: str, python: bool = False) -> None:
        self.name = name
        self._census = iii.home / f"census-{name}"
        self._census.touch()
        options = () if command[0] == "engine" else iii.options  # they are a client's
        words = [sys.executable, *command] if python else [sys.executable, OBSERVED, *options, *command]
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=iii.env | {"III_CENSUS": str(self._census), "PYTHONPATH": os.getcwd()},
        )
        self.started = time.monotonic()
        self.readings: list[Reading] = []
        self.first: dict[str, Any] = {}
        self.last: dict[str, Any] = {}
        self.after: Reading | None = None

    def look(self) -> None:
        """One more reading."""
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}"
        self.readings.append(read_process(self.process.pid, time.monotonic() - self.started))

    def census(self) -> dict[str, Any]:
        """What it says of itself: tasks, threads, objects. Raises AssertionError where it does not answer."""
        before = self._census.read_text().count("\n")
        self.process.send_signal(signal.SIGPROF)
        until = time.monotonic() + CENSUS_SECONDS
        while self._census.read_text().count("\n") == before:
            assert time.monotonic() < until, f"{self.name} answers no signal"
            time.sleep(0.05)
        line: dict[str, Any] = json.loads(self._census.read_text().splitlines()[-1])
        return line

    def begin(self) -> None:
        """What it holds before the load, and after its stores are full, is what it may hold in the end."""
        self.first = self.census()
        self.look()

    def end(self) -> None:
        """After the load. The engine may need its time: channels that nobody took are swept after minutes."""
        until = time.monotonic() + SWEEP_SECONDS
        while True:
            self.last = self.census() | {"children": children_of(self.process.pid)}
            if self.last["tasks"] <= self.first["tasks"] or time.monotonic() > until:
                break
            time.sleep(2)
        self.after = read_process(self.process.pid, time.monotonic() - self.started)

    def report(self) -> str:
        """One line of figures; what it held after the load, once that is known."""
        first, now, last = self.readings[0], self.readings[-1], self.after
        memory = (
            f"{self.name}: {first.resident / 2**20:.1f} to {now.resident / 2**20:.1f} MiB, "
            f"slope {slope(self.readings) * 3600 / 2**20:+.2f} MiB/h"
        )
        if last is None:
            return f"{memory}, descriptors {first.descriptors} to {now.descriptors}"
        return (
            f"{memory}, {last.resident / 2**20:.1f} after it, descriptors {first.descriptors} to "
            f"{last.descriptors}, threads {first.threads} to {last.threads}, tasks {self.first['tasks']} to "
            f"{self.last['tasks']}, objects {self.first['objects']} to {self.last['objects']}"
        )

    def faults(self, growth_max: int) -> list[str]:
        """What it should not have kept."""
        first, last = self.readings[0], self.after
        assert last is not None
        found = {
            "memory": growth(self.readings) > growth_max,
            "descriptors": last.descriptors > first.descriptors,
            "threads": last.threads > first.threads,
            "tasks": self.last["tasks"] > self.first["tasks"],
            "objects": self.last["objects"] > self.first["objects"] * 1.05 + 2000,
            "children": len(self.last["children"]) > (self.name == "serve"),  # its guard
        }
        return [f"{self.name} kept {what}: {self.report()}" for what, kept in found.items() if kept]

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.terminate()
        try:
            self.process.communicate(timeout=20)
        finally:
            self.process.kill()
            self.process.wait()
        return self.process.returncode

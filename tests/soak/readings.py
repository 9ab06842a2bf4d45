"""What a process holds, read from /proc, and whether it grows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

__all__ = ("Reading", "growth", "read_process", "slope")


class Reading(NamedTuple):
    """One look at one process."""

    seconds: float
    resident: int  # bytes
    descriptors: int
    threads: int


def read_process(pid: int, seconds: float) -> Reading:
    """What it holds now."""
    fields = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    return Reading(seconds, int(fields["VmRSS"].split()[0]) << 10, descriptors, int(fields["Threads"]))


def slope(readings: list[Reading]) -> float:
    """Bytes of resident memory a second: the line of least squares through the second half."""
    half = _second_half(readings)
    if len(half) < 2:
        return 0.0
    middle_x = sum(reading.seconds for reading in half) / len(half)
    middle_y = sum(reading.resident for reading in half) / len(half)
    spread = sum((reading.seconds - middle_x) ** 2 for reading in half)
    common = sum((reading.seconds - middle_x) * (reading.resident - middle_y) for reading in half)
    return common / spread if spread else 0.0


def growth(readings: list[Reading]) -> float:
    """Bytes that this line rises by in the second half."""
    half = _second_half(readings)
    return slope(readings) * (half[-1].seconds - half[0].seconds)


def _second_half(readings: list[Reading]) -> list[Reading]:
    return readings[len(readings) // 2 :]

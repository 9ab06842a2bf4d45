"""What a progress line says, at any width."""

from __future__ import annotations

import pytest

from iii_cli.terminal.progress_line import Snapshot, bar_line, plain_line, summary_line
from iii_cli.terminal.text import width_of

HALF = Snapshot(moved=512 << 20, total=1 << 30, seconds=5.0, rate=float(128 << 20))
NO_TOTAL = Snapshot(moved=512 << 20, total=None, seconds=5.0, rate=float(128 << 20))
WAITING = Snapshot(moved=0, total=1 << 30, seconds=12.0, rate=0.0, waiting="no reader\x1b[2J yet")


def hashes(fraction: float, width: int) -> str:
    return ("#" * round(fraction * width)).ljust(width, ".")


def test_a_line_with_all_its_figures() -> None:
    assert plain_line(HALF) == (
        "512 MiB of 1.00 GiB, 128 MiB/s, 50%, ETA 0:04, 0:05, average 102 MiB/s"
    )  # fmt: skip
    assert plain_line(NO_TOTAL) == "512 MiB, 128 MiB/s, 0:05, average 102 MiB/s"
    assert plain_line(WAITING) == "0 B of 1.00 GiB, no reader yet"


def test_a_bar_takes_the_room_that_is_left() -> None:
    end = "512 MiB of 1.00 GiB  128 MiB/s  50%"
    assert bar_line(HALF, 120, hashes) == f"{hashes(0.5, 40)}  {end}  ETA 0:04  0:05  average 102 MiB/s"
    assert bar_line(HALF, 79, hashes) == f"{hashes(0.5, 26)}  {end}  ETA 0:04  0:05"
    assert bar_line(HALF, 50, hashes) == f"{hashes(0.5, 13)}  {end}"
    assert bar_line(HALF, 40, hashes) == end
    assert bar_line(NO_TOTAL, 200, hashes) == "512 MiB  128 MiB/s  0:05  average 102 MiB/s"
    assert bar_line(WAITING, 79, hashes) == "0 B of 1.00 GiB  no reader yet"


@pytest.mark.parametrize("columns", range(0, 150, 7))
@pytest.mark.parametrize("now", [HALF, NO_TOTAL, WAITING])
def test_a_line_never_wraps(now: Snapshot, columns: int) -> None:
    assert width_of(bar_line(now, columns, hashes)) <= columns


def test_a_wrong_hint_makes_no_promise() -> None:
    more = Snapshot(moved=200, total=100, seconds=1.0, rate=200.0)
    assert more.fraction is None
    assert more.eta is None
    assert plain_line(more) == "200 B, 200 B/s, 0:01, average 200 B/s"
    assert Snapshot(moved=0, total=0, seconds=0.0, rate=0.0).to_json() == {
        "bytes": 0, "total": 0, "rate": 0, "average": 0, "seconds": 0.0, "eta": None, "waiting": None,
    }  # fmt: skip


def test_the_summary() -> None:
    assert summary_line(HALF, ("xxh3_128 5f", "verified"), stopped=False) == (
        "512 MiB (536,870,912 bytes) in 5.0 s, 102 MiB/s, xxh3_128 5f, verified"
    )
    short = Snapshot(moved=5, total=None, seconds=0.0, rate=0.0)
    assert summary_line(short, (), stopped=True) == "stopped after 5 B in 0.0 s, 0 B/s"

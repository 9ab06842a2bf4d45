"""How much has moved, and what a progress line says of it at any width."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from iii_cli.io.console import width_of
from iii_cli.io.progress import (
    Snapshot,
    plain_line,
    summary_line,
)
from iii_cli.io.progress import bar_line as drawn

HALF = Snapshot(moved=512 << 20, total=1 << 30, seconds=5.0, rate=float(128 << 20))
NO_TOTAL = Snapshot(moved=512 << 20, total=None, seconds=5.0, rate=float(128 << 20))
WAITING = Snapshot(moved=0, total=1 << 30, seconds=12.0, rate=0.0, waiting="no reader\x1b[2J yet")
LABELLED = replace(HALF, label="--out stdout")


def dashes(fraction: float, width: int) -> str:
    return ("-" * int(fraction * width)).ljust(width)


def bar_line(now: Snapshot, columns: int, label_width: int = 0) -> str:
    return drawn(now, columns, color=False, plain=True, label_width=label_width)


@pytest.mark.parametrize("terminal", ["xterm", "unknown"])
def test_a_bar_takes_the_room_that_is_left(terminal: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", terminal)
    end = " 512 MiB of 1.00 GiB   128 MiB/s   50%"
    assert bar_line(HALF, 120) == f"{dashes(0.5, 40)}  {end}  ETA 0:04  0:05  average 102 MiB/s"
    assert bar_line(HALF, 79) == f"{dashes(0.5, 23)}  {end}  ETA 0:04  0:05"
    brief = " 512 MiB   128 MiB/s   50%  ETA 0:04"
    assert bar_line(HALF, 50) == f"{dashes(0.5, 12)}  {brief}"
    assert bar_line(HALF, 40) == brief
    assert bar_line(HALF, 30) == " 512 MiB   128 MiB/s   50%"
    assert bar_line(NO_TOTAL, 200) == " 512 MiB   128 MiB/s  0:05  average 102 MiB/s"
    assert bar_line(replace(HALF, over=True), 50) == f"{dashes(0.5, 22)}   512 MiB of 1.00 GiB  done"


def test_figures_keep_their_columns() -> None:
    lines = [
        bar_line(Snapshot(moved=moved << 20, total=1 << 30, seconds=5.0, rate=rate), 79)
        for moved, rate in ((8, 9 << 20), (99, 10 << 20), (1000, 100 << 10), (1023, 1000 << 20))
    ]
    assert len({(line.index("of"), line.index("/s"), line.index("%")) for line in lines}) == 1, lines


@pytest.mark.parametrize("columns", range(0, 150, 7))
@pytest.mark.parametrize("now", [HALF, NO_TOTAL, WAITING, LABELLED])
def test_a_line_never_wraps(now: Snapshot, columns: int) -> None:
    assert width_of(bar_line(now, columns, label_width=12)) <= columns


def test_a_wrong_hint_makes_no_promise() -> None:
    more = Snapshot(moved=200, total=100, seconds=1.0, rate=200.0)
    assert more.fraction is None
    assert more.eta is None
    assert plain_line(more) == "200 B, 200 B/s, 0:01, average 200 B/s"
    assert Snapshot(moved=0, total=0, seconds=0.0, rate=0.0).to_json() == {
        "bytes": 0, "total": 0, "rate": 0, "average": 0, "seconds": 0.0, "eta": None, "waiting": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (90, "512 MiB (536,870,912 bytes) in 5.0 s, 102 MiB/s, not confirmed by the reader"),
        (75, "512 MiB in 5.0 s, 102 MiB/s, not confirmed by the reader"),
        (50, "512 MiB in 5.0 s, not confirmed by the reader"),
        (35, "512 MiB in 5.0 s, not confirmed"),
        (1, "512 MiB in 5.0 s, not confirmed"),
    ],
)
def test_a_summary_on_a_narrow_terminal_says_how_it_ended(columns: int, said: str) -> None:
    words = ["not confirmed by the reader"]
    assert summary_line([HALF], words, stopped=False, columns=columns) == said

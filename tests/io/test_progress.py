"""How much has moved, and what a progress line says of it at any width."""

from __future__ import annotations

import re

import pytest
from msgspec.structs import replace

from iii_cli.io.console import width_of
from iii_cli.io.progress import (
    Meter,
    Snapshot,
    event_fields,
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


def test_a_line_with_all_its_figures() -> None:
    assert plain_line(HALF) == (
        "512 MiB of 1.00 GiB, 128 MiB/s, 50%, ETA 0:04, 0:05, average 102 MiB/s"
    )  # fmt: skip
    assert plain_line(NO_TOTAL) == "512 MiB, 128 MiB/s, 0:05, average 102 MiB/s"
    assert plain_line(WAITING) == "0 B of 1.00 GiB, no reader yet"


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


def test_what_is_known_comes_first_where_a_line_is_short() -> None:
    assert bar_line(WAITING, 79) == "0 B of 1.00 GiB  no reader yet"
    assert bar_line(WAITING, 25) == "0 B  no reader yet"
    assert bar_line(WAITING, 16) == "no reader yet"
    assert bar_line(WAITING, 10) == "no reader…"


def test_each_of_several_has_its_label() -> None:
    one = replace(HALF, label="--in stdin")
    assert plain_line(one).startswith("--in stdin: 512 MiB of")
    assert bar_line(one, 40, label_width=12) == "--in stdin     512 MiB   128 MiB/s   50%"
    assert bar_line(replace(HALF, label="--in " + "x" * 50), 60, label_width=55).startswith(
        "--in " + "x" * 14 + "…   512 MiB   128"
    )
    fields = event_fields([one, replace(NO_TOTAL, label="--out stdout")])
    assert (fields["bytes"], fields["rate"], fields["total"]) == (1 << 30, 256 << 20, None)
    assert [(each["label"], each["total"]) for each in fields["streams"]] == [
        ("--in stdin", 1 << 30), ("--out stdout", None),
    ]  # fmt: skip
    assert event_fields([HALF]) == HALF.to_json()


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


def test_the_summary() -> None:
    assert summary_line([HALF], ("xxh3_128 5f", "verified"), stopped=False) == (
        "512 MiB (536,870,912 bytes) in 5.0 s, 102 MiB/s, xxh3_128 5f, verified"
    )
    short = Snapshot(moved=5, total=None, seconds=0.0, rate=0.0)
    assert summary_line([short], (), stopped=True) == "stopped after 5 B in 0.0 s, 0 B/s"


def test_the_summary_of_several() -> None:
    both = [replace(HALF, label="--in stdin"), replace(NO_TOTAL, moved=5, label="--out stdout")]
    whole = "--in stdin 512 MiB (536,870,912 bytes) at 102 MiB/s, --out stdout 5 B at 1 B/s in 5.0 s"
    assert summary_line(both, (), stopped=False) == whole
    assert summary_line(both, (), stopped=False, columns=80) == (
        "--in stdin 512 MiB at 102 MiB/s, --out stdout 5 B at 1 B/s in 5.0 s"
    )  # fmt: skip


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


def test_the_bar_has_colours_where_it_may() -> None:
    line = drawn(HALF, 60, color=True)
    assert re.match(r"(\x1b\[35m[━╸]+\x1b\[0m)+(\x1b\[90m[━╺]+\x1b\[0m)+   512 MiB ", line)
    assert drawn(replace(HALF, moved=1 << 30), 60, color=True).startswith("\x1b[32m━")
    assert drawn(HALF, 60, color=False).startswith("━" * 8 + " " * 8)
    assert width_of(re.sub(r"\x1b\[\d+m", "", line)) == width_of(bar_line(HALF, 60))


def test_messages_are_counted_where_they_are_the_data() -> None:
    lines = replace(NO_TOTAL, messages=1)
    assert plain_line(lines).startswith("512 MiB (1 message), ")
    assert bar_line(lines, 60).startswith(" 512 MiB (1 message)   128 MiB/s")
    assert event_fields([lines, HALF])["messages"] == 1
    assert "messages" not in event_fields([HALF])


def test_a_stream_that_is_over_waits_for_nothing() -> None:
    over = False
    meter = Meter(over=lambda: over)
    assert meter.look(5.0).waiting == "nothing has moved for 5 s"
    over = True
    now = meter.look(6.0)
    assert (now.waiting, now.over) == (None, True)


def test_what_is_known_is_asked_for() -> None:
    meter = Meter(waiting=lambda seconds: f"for {seconds:g}", over=lambda: True)
    assert meter.look(2.9).waiting is None
    assert meter.look(3.5).waiting == "for 3.5"

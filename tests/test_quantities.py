"""Time spans and sizes, as typed and as shown."""

from __future__ import annotations

import pytest

from iii_cli.errors import UsageProblem
from iii_cli.quantities import byte_count, format_bytes, format_duration, seconds

SPANS = {"500ms": 0.5, "30s": 30.0, "5m": 300.0, "1h": 3600.0, "2": 2.0, "1.5h": 5400.0, " 7s ": 7.0}
NO_SPANS = (
    *("", "s", "-1", "1d", "1 s", "1e3", "nan", "inf", "0x10", "1h30m", "५s", "9" * 12 + "h", "1S"),
    *(".5s", "5.", "1\n2"),
)
SIZES = {
    "0": 0,
    "64": 64,
    "64B": 64,
    "64K": 65536,
    "64k": 65536,
    "1MiB": 1 << 20,
    "2G": 2 << 30,
    "3T": 3 << 40,
}
NO_SIZES = ["", "0x", "K", "-1", "1.5G", "1KB", "1 K", "999999999999999T", "٣", "1_000"]


def test_a_time_span_is_read_in_seconds() -> None:
    assert {text: seconds(text) for text in SPANS} == SPANS
    assert [seconds(text) for text in ("0", "0ms", "0.0h")] == [None] * 3, "no limit"


@pytest.mark.parametrize("text", [*NO_SPANS, "x" * 500])
def test_what_is_no_time_span_is_refused_in_one_short_line(text: str) -> None:
    with pytest.raises(UsageProblem, match="not a time span") as caught:
        seconds(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_size_is_read_in_bytes() -> None:
    assert {text: byte_count(text) for text in SIZES} == SIZES


@pytest.mark.parametrize("text", NO_SIZES)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageProblem, match="--buffer: not a size in bytes"):
        byte_count(text, "--buffer")


def test_sizes_are_shown_with_three_digits() -> None:
    shown = {0: "0 B", 1023: "1023 B", 1024: "1.00 KiB", 1536: "1.50 KiB", 10240: "10.0 KiB"}
    shown |= {640 << 20: "640 MiB", 1000 << 20: "0.98 GiB", 1 << 60: "1024 PiB"}
    assert {count: format_bytes(count) for count in shown} == shown


def test_durations_are_shown_as_people_say_them() -> None:
    shown = {0: "0 ms", 0.012: "12 ms", 0.9999: "1.0 s", 4.2: "4.2 s", 59.96: "1 min 00 s", 185: "3 min 05 s"}
    shown |= {3599.7: "1 h 00 min", 7620: "2 h 07 min"}
    assert {span: format_duration(span) for span in shown} == shown

"""Time spans and sizes, as typed and as shown."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_cli.errors import UsageProblem
from iii_cli.quantities import byte_count, format_bytes, format_duration, seconds


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("2", 2.0),
        ("1.5h", 5400.0),
        (" 7s ", 7.0),
        ("0", None),
        ("0ms", None),
        ("0.0h", None),
    ],
)
def test_a_time_span_is_read_in_seconds(text: str, span: float | None) -> None:
    assert seconds(text) == span


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "-1",
        "1d",
        "1 s",
        "1e3",
        "nan",
        "inf",
        "0x10",
        "1h30m",
        "५s",
        "999999999999h",
        "1S",
        ".5s",
        "5.",
        "1\n2",
    ],
)
def test_what_is_no_time_span_is_refused(text: str) -> None:
    with pytest.raises(UsageProblem, match="not a time span"):
        seconds(text)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("64", 64),
        ("64B", 64),
        ("64K", 65536),
        ("64k", 65536),
        ("1M", 1 << 20),
        ("1MiB", 1 << 20),
        ("2G", 2 << 30),
        ("3T", 3 << 40),
    ],
)
def test_a_size_is_read_in_bytes(text: str, count: int) -> None:
    assert byte_count(text) == count


@pytest.mark.parametrize(
    "text", ["", "0x", "K", "-1", "1.5G", "1KB", "1 K", "999999999999999T", "٣", "1_000"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageProblem, match="--buffer: not a size in bytes"):
        byte_count(text, "--buffer")


@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_a_usage_problem(text: str) -> None:
    for read in (seconds, byte_count):
        with suppress(UsageProblem):
            read(text)


@given(st.text(min_size=1).filter(lambda text: not text.strip(" \n").isascii()))
def test_a_refusal_is_one_short_line(text: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        seconds(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (10240, "10.0 KiB"),
        (640 << 20, "640 MiB"),
        (1000 << 20, "0.98 GiB"),
        (1 << 60, "1024 PiB"),
    ],
)
def test_sizes_are_shown_with_three_digits(count: int, shown: str) -> None:
    assert format_bytes(count) == shown


@pytest.mark.parametrize(
    ("span", "shown"),
    [
        (0, "0 ms"),
        (0.012, "12 ms"),
        (0.9999, "1.0 s"),
        (4.2, "4.2 s"),
        (59.96, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7620, "2 h 07 min"),
    ],
)
def test_durations_are_shown_as_people_say_them(span: float, shown: str) -> None:
    assert format_duration(span) == shown

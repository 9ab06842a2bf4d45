"""Baggage beyond what the conversations with both engines show: limits, and what no sane peer sends."""

from __future__ import annotations

import pytest

from iii_cli.engine.spans import BYTES_MAX, ENTRIES_MAX, baggage_for, read_baggage


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        (None, {}),
        ("a=b=c", {"a": "b"}),
        ("a=%ff,%ff=1,b=%zz", {"b": "%zz"}),
        ("=1,a b=2,(x)=3,\u00fc=4", {}),
        ("%61=1", {"a": "1"}),
        ("k=\ud800", {}),
        ("k=%F0%9F%98%80", {"k": "\U0001f600"}),
    ],
)
def test_what_is_an_entry(text: str | None, entries: dict[str, str]) -> None:
    assert read_baggage(text) == entries


def test_a_value_that_grows_beyond_the_room_stays_as_it_was() -> None:
    assert read_baggage(f"k=1,k={'x' * BYTES_MAX},k=2") == {"k": "2"}
    assert len(read_baggage(f"k={'x' * (BYTES_MAX - 1)},a=1")) == 1


def test_a_full_header_has_no_room_for_the_callee() -> None:
    full = ",".join(f"k{number}=v" for number in range(ENTRIES_MAX))
    assert "iii.function.id" not in str(baggage_for("f", full))
    assert baggage_for("f" * BYTES_MAX, None) is None


def test_megabytes_of_entries_are_not_gone_through() -> None:
    assert read_baggage("k=1," * 5_000_000 + "late=1") == {"k": "1"}

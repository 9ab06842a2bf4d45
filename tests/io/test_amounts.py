"""Amounts keep their width."""

from __future__ import annotations

import pytest

from iii_cli.io.console import span_text, volume_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1023.6, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (10 * 1024 - 1, "10.0 KiB"),
        (99.96 * 1024, "100 KiB"),
        (999.4 * 1024, "999 KiB"),
        (1023 * 1024, "1.00 MiB"),
        (5 << 30, "5.00 GiB"),
        (1 << 63, "8192 PiB"),
    ],
)
def test_volumes(count: float, text: str) -> None:
    assert volume_text(count) == text


def test_spans() -> None:
    assert [span_text(seconds) for seconds in (0, 7.9, 59.99, 754, 3723)] == [
        "0:00",
        "0:07",
        "0:59",
        "12:34",
        "1:02:03",
    ]

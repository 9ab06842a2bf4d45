"""The figures of a bench."""

from __future__ import annotations

from iii_cli.client.benchmark import spread_of


def test_the_figures_are_in_milliseconds() -> None:
    figures = {"mean": 50.5, "p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
    assert spread_of(n / 1000 for n in range(100, 0, -1)) == {"count": 100} | figures
    assert spread_of([0.5]) == dict.fromkeys(("mean", "p50", "p90", "p99", "max"), 500.0) | {"count": 1}
    assert spread_of([]) is None

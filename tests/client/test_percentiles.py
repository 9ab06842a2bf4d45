"""A pile of times in a few figures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_cli.client.benchmark import Spread, percentile, spread_of


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(1, 15.0), (20, 15.0), (21, 20.0), (40, 20.0), (50, 35.0), (81, 50.0), (100, 50.0)],
)
def test_the_nearest_rank(percent: int, expected: float) -> None:
    """Of five values each stands for a fifth."""
    assert percentile([15.0, 20.0, 35.0, 40.0, 50.0], percent) == expected


def test_one_time_is_every_figure() -> None:
    assert spread_of([0.25]) == Spread(1, 0.25, 0.25, 0.25, 0.25, 0.25)


def test_of_a_hundred_the_last_but_one_is_p99() -> None:
    assert spread_of(float(n) for n in range(100, 0, -1)) == Spread(100, 50.5, 50.0, 90.0, 99.0, 100.0)


def test_of_nothing_there_are_no_figures() -> None:
    assert spread_of([]) is None


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_it_is_a_value_that_so_many_do_not_exceed(times: list[float], percent: int) -> None:
    ordered = sorted(times)
    value = percentile(ordered, percent)
    assert value in ordered
    assert sum(each <= value for each in ordered) * 100 >= percent * len(ordered)
    assert sum(each < value for each in ordered) * 100 < percent * len(ordered)

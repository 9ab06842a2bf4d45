"""How a pile of measured times is told in a few figures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ("Spread", "percentile", "spread_of")


class Spread(Value):
    """Times in seconds. Each is one that was measured, but for the mean."""

    count: int
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


def spread_of(times: Iterable[float]) -> Spread | None:
    """The figures of `times`; None where there are none."""
    ordered = sorted(times)
    if not ordered:
        return None
    p50, p90, p99 = (percentile(ordered, percent) for percent in (50, 90, 99))
    return Spread(len(ordered), math.fsum(ordered) / len(ordered), p50, p90, p99, ordered[-1])


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` of a hundred of the values do not exceed (the nearest rank).

    `ordered` is not empty, in ascending order; `percent` from 1 to 100.
    """
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(rank, 1) - 1]

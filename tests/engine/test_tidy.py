"""Memory goes back after a crowd has left, and only then."""

from __future__ import annotations

import gc
import weakref

import pytest

from iii_cli.engine.tidy import CROWD, Tidy


class _Loop:
    """Refers to itself, as a connection's tasks do."""

    def __init__(self) -> None:
        self.me = self


@pytest.mark.parametrize(("ended", "expected"), [(CROWD, True), (CROWD - 1, False)])
def test_a_crowd_is_collected_once_it_has_left(ended: int, expected: bool) -> None:
    tidy = Tidy()
    gc.collect()
    gc.disable()
    try:
        trace = weakref.ref(_Loop())
        for _ in range(ended):
            tidy.connection_ended()
        tidy.look()
        assert trace() is not None, "they may still be leaving"
        tidy.look()
        assert (trace() is None) is expected
    finally:
        gc.enable()

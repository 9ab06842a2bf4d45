"""Every row has its conversation."""

from __future__ import annotations

from tests.conformance import test_channels, worker_scripts
from tests.conformance.rows import COVERED, ROWS


def test_every_row_is_covered() -> None:
    assert worker_scripts.SCRIPTS
    assert test_channels
    assert set(COVERED) == set(ROWS)

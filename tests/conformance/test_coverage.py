"""Every row has its conversation."""

from __future__ import annotations

from tests.conformance import test_channels, test_worker_protocol
from tests.conformance.rows import COVERED, ROWS


def test_every_row_is_covered() -> None:
    assert test_worker_protocol.SCRIPTS
    assert test_channels
    assert set(COVERED) == set(ROWS)

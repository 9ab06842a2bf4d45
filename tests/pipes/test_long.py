"""Transfers that outlive the engine's five-minute sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program

LINES = 19
PAUSE = 20  # seconds between lines: longer than the beat, so that beats cross the silence


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_transfer_of_over_six_minutes_is_confirmed(iii: Program, tmp_path: Path) -> None:
    """The receipt's channel is held open from the start, or the sweep would take it away."""
    iii.ok("channel", "create", "--save", "x")
    target = tmp_path / "out"
    reading = iii.start("channel", "read", "@x", "-o", str(target))
    script = f"for i in $(seq {LINES}); do echo line $i; sleep {PAUSE}; done"
    writing = iii.start("channel", "write", "@x", "--receipt", "--", "sh", "-c", script)
    _, err = writing.communicate(timeout=LINES * PAUSE + 60)
    assert (writing.returncode, err) == (0, b"")
    assert target.read_text() == "".join(f"line {i}\n" for i in range(1, LINES + 1))
    _, err = reading.communicate(timeout=20)
    assert (reading.returncode, err) == (0, b"")

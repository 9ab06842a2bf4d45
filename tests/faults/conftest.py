"""Prints the table of cases and outcomes at the end of a run."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    from tests.faults.test_faults import OUTCOMES

    outcomes = config.stash.get(OUTCOMES, [])
    if not outcomes:
        return
    terminalreporter.section("faults: what happened, and how writer and reader ended")
    head = f"{'case':44} {'bytes':>8} {'source':8} {'target':8} {'writer':>6} {'reader':>6} arrived"
    terminalreporter.write_line(head)
    for outcome in outcomes:
        terminalreporter.write_line(outcome.row())
    readers = Counter(outcome.reader for outcome in outcomes)
    shown = ", ".join(f"{status}: {count}" for status, count in sorted(readers.items(), key=str))
    terminalreporter.write_line(f"{len(outcomes)} cases; the reader ended with {shown}")

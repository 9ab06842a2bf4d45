"""The rules can say no: else whatever happens would look allowed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.faults.never import Arrived, Ending, never, untold


@dataclass(frozen=True)
class Trial:
    """A file is read from a writer that ends well, where nothing else is said."""

    size: int = 1
    source: str = "file"
    target: str = "file"
    victim: str = "nobody"
    receipt: bool = False
    endless: bool = False
    early: bool = False
    stop_early: bool = False


CONSUMED = Trial(target="consumer")
EARLY = Trial(target="consumer", early=True)
STOPPED = Trial(target="consumer", early=True, stop_early=True)


def ending(
    writer: int | None,
    reader: int | None,
    arrived: Arrived,
    *files: str,
    running: str = "",
    verdict: str = "",
) -> Ending:
    return Ending(
        {"writer": writer, "reader": reader}, arrived, frozenset(files), [running] if running else [], verdict
    )


@pytest.mark.parametrize(
    ("trial", "seen"),
    [
        (Trial(), ending(0, 0, "whole", "in", "out")),
        (Trial(), ending(9, 7, "nothing", "in")),
        (Trial(victim="reader"), ending(9, -9, "nothing", "in", "out.part")),
        (CONSUMED, ending(0, 0, "whole", "in", "out", "whole")),
        (EARLY, ending(0, 0, "part", "status", verdict='{"exit": 0, "verified": true}')),
        (STOPPED, ending(9, 0, "part", verdict='{"exit": 0, "verified": false}')),
        (Trial(target="consumer", early=True, stop_early=True, endless=True), ending(9, 0, "part")),
    ],
)
def test_what_may_happen(trial: Trial, seen: Ending) -> None:
    assert list(never(trial, seen)) == []


@pytest.mark.parametrize(
    ("trial", "seen", "said"),
    [
        (Trial(), ending(None, 7, "nothing"), "outlived"),
        (Trial(), ending(0, 7, "nothing", running="sleep"), "left running: sleep"),
        (Trial(endless=True), ending(11, 0, "whole"), "without its end"),
        (Trial(target="consumer", early=True, endless=True), ending(11, 0, "part"), "without its end"),
        (Trial(target="stdout"), ending(0, 0, "part"), "says 0 and has part"),
        (EARLY, ending(0, 0, "other"), "says 0 and has other"),
        (Trial(), ending(9, 7, "part"), "left a file with part"),
        (Trial(), ending(9, 7, "whole"), "the reader failed"),
        (Trial(target="stdout", receipt=True), ending(0, 7, "part"), "a receipt for part"),
        (Trial(target="consumer", early=True, receipt=True), ending(0, 11, "part"), "a receipt for part"),
        (Trial(target="consumer", early=True, receipt=True, stop_early=True), ending(0, 0, "part"), "early"),
        (CONSUMED, ending(9, -9, "whole", "whole"), "took a cut stream for a whole one"),
        (EARLY, ending(9, 7, "part", verdict='{"exit": 7, "verified": true}'), "was told"),
        (EARLY, ending(9, 7, "part", verdict='{"exit": 0, "verified": false}'), "was told"),
        (Trial(), ending(9, 7, "nothing", "in", "out.1234"), "left behind: out.1234"),
    ],
)
def test_what_must_never_happen(trial: Trial, seen: Ending, said: str) -> None:
    assert any(said in wrong for wrong in never(trial, seen)), list(never(trial, seen))


@pytest.mark.parametrize(
    ("status", "text", "said"),
    [
        (1, "Traceback (most recent call last):", "traceback"),
        (1, "ValueError: no", "traceback"),
        (7, "the key is s3cret", "key"),
        (7, " ", "without a word"),
    ],
)
def test_what_must_be_told(status: int, text: str, said: str) -> None:
    assert any(said in wrong for wrong in untold({"reader": status}, {"reader": text}, {"s3cret"}))
    assert list(untold({"reader": 1}, {"reader": 'Error: {"code": "x"}'}, {"s3cret"})) == []

"""What a person's terminal gets of a worker's text: nothing that moves its cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.program import Program
from tests.support.screen import on_screen
from tests.support.scripted_engine import ScriptedEngine, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BAD = "red \x1b[31m, back \u202e, title \x1b]0;x\x07."


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedEngine]:
    yield from running_engine()


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ((), '"red \\u001b[31m, back \\u202e, title \\u001b]0;x\\u0007."\n'),
        (("--format", "raw"), "red , back , title .\n"),
    ],
)
def test_a_result(scripted: ScriptedEngine, tmp_path: Path, words: tuple[str, ...], shown: str) -> None:
    scripted.functions = {"f": lambda data: BAD}
    program = Program(tmp_path, scripted.url)
    assert on_screen(program, "trigger", "f", *words) == (0, shown)
    assert program.run("trigger", "f", "--format", "raw").stdout.decode() == BAD + "\n"

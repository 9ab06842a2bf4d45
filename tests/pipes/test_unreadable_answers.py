"""An answer nested deeper than we read: said at once, wherever one waits for it, not at the time-out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.program import Program
from tests.support.scripted_engine import ScriptedEngine
from tests.support.scripted_engine import running_engine as running_scripted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRACE = "0af7651916cd43dd8448eb211c80319c"


DEEP = 127  # as deep as JSON may be nested; the message around it makes it too deep


def deep(data: Any) -> Any:
    value: Any = 1
    for _ in range(DEEP):
        value = {"children": [value]}
    return value


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    yield from running_scripted()


@pytest.fixture
def iii(engine: ScriptedEngine, tmp_path: Path) -> Program:
    engine.functions |= dict.fromkeys(
        ("a::b", "engine::functions::list", "engine::workers::list", "engine::traces::tree"), deep
    )
    return Program(tmp_path, engine.url)


@pytest.mark.parametrize(
    "words",
    [
        "trigger a::b --timeout 0",
        "functions ls",
        f"trace show {TRACE}",
        "bench trigger a::b -q",
    ],
)
def test_it_is_one_line_and_8(iii: Program, words: str) -> None:
    done = iii.run(*words.split(), limit=10)
    assert (done.returncode, done.stdout) == (8, b"")
    assert done.stderr.count(b"\n") == 1
    assert b"the answer cannot be read: not JSON: nested" in done.stderr


def test_a_line_of_each_says_so(iii: Program) -> None:
    done = iii.run("trigger", "a::b", "--each", stdin=b"{}\n", limit=10)
    assert done.returncode == 1
    assert b'"code":"unreadable_answer"' in done.stdout


def test_doctor_tells_it_of_the_engine(iii: Program, engine: ScriptedEngine) -> None:
    engine.functions["engine::health::check"] = deep
    assert "cannot be read" in iii.ok("doctor")

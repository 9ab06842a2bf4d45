"""What `iii doctor` makes of the answers of engines: of any shape, or none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.listening import REFUSALS, gatekeeper
from tests.support.program import Program
from tests.support.scripted_engine import Drop, FunctionError, ScriptedEngine, Silence, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    yield from running_engine()


def examined(home: Path, url: str) -> tuple[int, dict[str, Any], list[tuple[str, str, str]]]:
    """Exit status, what the document says of the engine, and the findings: check, level, text."""
    done = Program(home, url).run("doctor", "--json")
    document = json.loads(done.stdout)
    findings = document["findings"]
    assert all(bool(each["advice"]) is (each["level"] != "ok") for each in findings)
    return done.returncode, document["engine"], [(f["check"], f["level"], f["found"]) for f in findings]


def answering(engine: ScriptedEngine, answer: Any) -> None:
    """Let the engine answer so when it is asked for its health; raise an exception."""

    def health(data: Any) -> Any:
        if isinstance(answer, (Exception, type)):
            raise answer
        return answer

    engine.functions["engine::health::check"] = health


def test_a_real_engine(engine: ScriptedEngine, tmp_path: Path) -> None:
    answering(engine, {"status": "healthy", "version": "0.23.0", "components": {}})
    status, said, _ = examined(tmp_path, engine.url)
    assert (status, said["version"], said["embedded"]) == (0, "0.23.0", False)
    assert 0 < said["connect_ms"] < 1000
    assert engine.calls[0]["namespace"] == "default"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {"version": {"a": 1}, "status": 7, "timestamp": "soon", "components": []},
        {"version": "", "timestamp": -1e300, "components": {"embedded": [1]}},
        {"timestamp": True, "components": {"embedded": {"details": {"open_channels": "many"}}}},
    ],
)
def test_an_answer_of_any_shape_tells_what_it_tells(
    engine: ScriptedEngine, answer: Any, tmp_path: Path
) -> None:
    answering(engine, answer)
    status, said, findings = examined(tmp_path, engine.url)
    assert (status, said["version"]) == (0, None)
    assert findings[0][:2] == ("engine", "note")


@pytest.mark.parametrize(
    ("answer", "check", "level", "said"),
    [
        ({"version": "0.0.9", "components": {"embedded": {}}}, "engine", "note", "this program has version"),
        ({"version": "1\x1b[2J\n2" + "x" * 9999}, "engine", "ok", "version 1 [2J 2xxx"),
        (FunctionError({"code": "FORBIDDEN", "message": "no"}), "engine", "note", "FORBIDDEN: no"),
        pytest.param(Silence(), "engine", "note", "no answer within 1 s", marks=pytest.mark.ci),
    ],
)
def test_what_is_made_of_it(
    engine: ScriptedEngine, answer: Any, check: str, level: str, said: str, tmp_path: Path
) -> None:
    answering(engine, answer)
    status, _, findings = examined(tmp_path, engine.url)
    assert status == 0
    assert any(found[:2] == (check, level) and said in found[2] for found in findings)
    assert all(len(found[2]) < 500 for found in findings)


def test_an_engine_that_dies_during_it_was_lost(engine: ScriptedEngine, tmp_path: Path) -> None:
    answering(engine, Drop())
    status, said, findings = examined(tmp_path, engine.url)
    assert (status, said["reached"]) == (3, False)
    assert "lost during the examination" in findings[0][2]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_an_engine_that_lets_nobody_in(refusal: str, tmp_path: Path) -> None:
    with gatekeeper(refusal) as url:
        status, _, findings = examined(tmp_path, url)
    assert status == 4
    assert ("auth", "problem") in [finding[:2] for finding in findings]


def test_plain_text_to_another_machine_is_noted(tmp_path: Path) -> None:
    _, _, findings = examined(tmp_path, "ws://192.0.2.1:9")
    assert ("tls", "note") in [finding[:2] for finding in findings]


REFS = {
    end: {"channel_id": "c" * 36, "access_key": "k" * 36, "direction": direction}
    for end, direction in (("writer", "write"), ("reader", "read"))
}


@pytest.mark.parametrize(
    ("answer", "status", "level", "said"),
    [
        (FunctionError({"code": "FORBIDDEN", "message": "no"}), 0, "warning", "FORBIDDEN: no"),
        ("no refs", 8, "problem", "holds no refs"),
        pytest.param(REFS, 1, "problem", "nothing came through", marks=pytest.mark.ci),
    ],
    ids=["forbidden", "garbage", "swallowed"],
)
def test_channels_that_carry_nothing(
    engine: ScriptedEngine, answer: Any, status: int, level: str, said: str, tmp_path: Path
) -> None:
    def create(data: Any) -> Any:
        if isinstance(answer, FunctionError):
            raise answer
        return answer

    answering(engine, {"version": "1"})
    engine.functions["engine::channels::create"] = create
    found, document, findings = examined(tmp_path, engine.url)
    assert (found, document["reached"], document["channel_ms"]) == (status, True, None)
    assert any(each[:2] == ("channel", level) and said in each[2] for each in findings)

"""What can be found out about an engine, and about what is none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from iii_cli.client.checkup import EngineFacts, examine
from iii_cli.errors import EngineUnreachable, NotAuthorised
from iii_cli.protocol.refs import Endpoint, EngineAddress
from tests.support.listening import REFUSALS, gatekeeper
from tests.support.scripted_engine import Drop, FunctionError, ScriptedEngine, Silence, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

HEALTH = "engine::health::check"


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    yield from running_engine()


def look(url: str) -> EngineFacts:
    facts = EngineFacts()
    examine(Endpoint(EngineAddress.parse(url)), facts)
    return facts


def test_a_real_engine(engine: ScriptedEngine) -> None:
    now = time.time()
    engine.functions[HEALTH] = lambda data: {
        "status": "degraded",
        "version": "0.23.0-rc.4",
        "timestamp": int((now + 60) * 1000),
        "components": {"otel": {"status": "healthy", "details": {}}},
    }
    facts = look(engine.url)
    assert facts.failure is None
    assert (facts.version, facts.status, facts.embedded) == ("0.23.0-rc.4", "degraded", False)
    assert facts.clock_ahead == pytest.approx(60, abs=5)
    assert len(facts.round_trips) == 9
    assert facts.latency is not None
    assert 0 < facts.latency < 1
    assert engine.calls[0]["namespace"] == "default"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "healthy",
        {"version": {"a": 1}, "status": 7, "timestamp": "soon", "components": []},
        {"version": "", "timestamp": -1e300, "components": {"embedded": [1]}},
        {"timestamp": True, "components": {"embedded": {"details": {"open_channels": "many"}}}},
    ],
)
def test_an_answer_of_any_shape_tells_what_it_tells(engine: ScriptedEngine, answer: Any) -> None:
    engine.functions[HEALTH] = lambda data: answer
    facts = look(engine.url)
    assert (facts.failure, facts.version, facts.limits) == (None, None, {})


def test_words_of_a_stranger_are_short_and_printable(engine: ScriptedEngine) -> None:
    engine.functions[HEALTH] = lambda data: {"version": "1\x1b[2J\n2" + "x" * 9999}
    version = look(engine.url).version
    assert version is not None
    assert len(version) <= 100
    assert version.isprintable()


def test_one_that_may_not_be_asked_is_still_there(engine: ScriptedEngine) -> None:
    def forbidden(data: Any) -> Any:
        raise FunctionError({"code": "FORBIDDEN", "message": "not allowed"})

    engine.functions[HEALTH] = forbidden
    facts = look(engine.url)
    assert (facts.failure, facts.health_failure) == (None, "FORBIDDEN: not allowed")


def test_one_that_dies_during_it_was_lost(engine: ScriptedEngine) -> None:
    def die(data: Any) -> Any:
        raise Drop

    engine.functions[HEALTH] = die
    assert isinstance(look(engine.url).failure, EngineUnreachable)


@pytest.mark.ci
def test_one_that_does_not_answer_is_not_waited_for(engine: ScriptedEngine) -> None:
    def silent(data: Any) -> Any:
        raise Silence

    engine.functions[HEALTH] = silent
    assert look(engine.url).health_failure == "no answer within 1 s"


@pytest.mark.parametrize("refusal", REFUSALS)
def test_one_that_lets_nobody_in(refusal: str) -> None:
    with gatekeeper(refusal) as url:
        assert isinstance(look(url).failure, NotAuthorised)


def test_nobody_there() -> None:
    assert isinstance(look("ws://127.0.0.1:9").failure, EngineUnreachable)

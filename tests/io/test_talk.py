"""One door for what is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from iii_cli.errors import EngineUnreachable, FunctionFailed
from iii_cli.io.console import Stderr, Talk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOSTILE = "a\x1b[2J\nb\u202ec"


@pytest.fixture
def heard() -> Iterator[tuple[Talk, Callable[[], str]]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)

    def said() -> str:
        try:
            return os.read(reading, 1 << 16).decode()
        except BlockingIOError:
            return ""

    yield Talk(Stderr(writing)), said
    os.close(reading)
    os.close(writing)


Heard = tuple[Talk, "Callable[[], str]"]


def events(said: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said.splitlines()]


def test_lines_for_people(heard: Heard) -> None:
    talk, said = heard
    talk.notice(HOSTILE)
    talk.problem(EngineUnreachable(f"no engine {HOSTILE}", hint="start one"))
    talk.done(3)
    assert said() == "iii: a bc\niii: no engine a bc; start one\n"


def test_quiet_silences_notices_only(heard: Heard) -> None:
    talk, said = heard
    talk.configure(quiet=True)
    talk.notice("not this")
    talk.tell("this")
    talk.problem(EngineUnreachable("and this"))
    assert said() == "iii: this\niii: and this\n"


def test_a_failed_function_is_shown_as_the_engines_cli_does(heard: Heard) -> None:
    talk, said = heard
    talk.problem(FunctionFailed("not_found", f"Function {HOSTILE}", None))
    text = said()
    assert text.startswith('Error: {\n  "code": "not_found",\n  "message": "Function a\\u001b')
    assert text.endswith('  "stacktrace": null\n}\n')
    assert json.loads(text.removeprefix("Error: "))["message"] == f"Function {HOSTILE}"
    assert "\u202e" not in text


def test_events_for_programs(heard: Heard) -> None:
    talk, said = heard
    talk.configure(as_json=True)
    talk.notice(HOSTILE)
    talk.problem(EngineUnreachable("no engine", hint="start one"))
    talk.facts.update(bytes=12, seconds=0.5)
    talk.done(3)
    text = said()
    assert events(text) == [
        {"event": "notice", "message": "a bc"},
        {"event": "error", "message": "no engine", "hint": "start one", "where": "engine", "exit": 3},
        {"event": "done", "exit": 3, "bytes": 12, "digest": None, "verified": None, "seconds": 0.5},
    ]
    assert "\u202e" not in text


def test_a_drawing_makes_way_for_lines(heard: Heard) -> None:
    talk, said = heard
    talk.draw("40%")
    talk.notice("a line")
    talk.draw("50%")
    talk.done(0)
    talk.done(0)
    assert said() == "\r\x1b[K40%" + "\r\x1b[Kiii: a line\n40%" + "\r\x1b[K50%" + "\r\x1b[K"


def test_saying_something_loads_nothing_heavy() -> None:
    script = (
        "import sys, iii_cli.io.descriptors, iii_cli.io.console, iii_cli.io.console as door;"
        "door.talk.notice('light'); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"anyio", "asyncio", "rich", "websockets", "platformdirs", "socket", "json", "subprocess"}
    assert not heavy & set(done.stdout.split())
    assert done.stderr == "iii: light\n"

"""A trace as people see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.program import Program, refused
from tests.support.scripted_engine import ScriptedEngine, running_engine

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

ID = "0af7651916cd43dd8448eb211c80319c"
START = 1_795_364_884_309_982_717


def span(name: str, at_ms: float, for_ms: float | None, *children: Any, **fields: Any) -> dict[str, Any]:
    """A span record (docs: protocol, "Built-in functions")."""
    start = START + int(at_ms * 1e6)
    end = {"pending": True} if for_ms is None else {"end_time_unix_nano": start + int(for_ms * 1e6)}
    record = {"name": name, "start_time_unix_nano": start, "status": "ok", "children": list(children)}
    return record | end | fields


TREE = [
    span(
        "call a::b",
        0,
        2500,
        span("channel writer", 1.5, 40, attributes=[["iii.channel.bytes", "7"], ["x", "y"]]),
        span("call c::d", 20, None, span("\x1b[31minner", 30, 1), attributes=[["iii.worker.name", "w"]]),
    ),
    span("later", 3000, 1, status="error", status_description="boom\n", attributes="?"),
]
DRAWN = """\
call a::b          +0.00 ms  2.5 s    ok
├─ channel writer  +1.50 ms  40 ms    ok, bytes 7
└─ call c::d       +20 ms    running  ok, worker w
   └─ inner        +30 ms    1.00 ms  ok
later              +3.0 s    1.00 ms  error, boom
"""


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    yield from running_engine()


def run(engine: ScriptedEngine, home: Path, *words: str, answer: Any) -> subprocess.CompletedProcess[bytes]:
    engine.functions["engine::traces::tree"] = lambda data: answer
    return Program(home, engine.url).run("trace", "show", *words)


@pytest.mark.parametrize(
    "text", [ID, ID.upper(), f"00-{ID}-c7ad6b7169203331-01", "0af76519-16cd-43dd-8448-eb211c80319c"]
)
def test_it_is_drawn_as_a_tree(engine: ScriptedEngine, tmp_path: Path, text: str) -> None:
    assert run(engine, tmp_path, text, answer={"roots": TREE}).stdout.decode() == DRAWN
    assert engine.calls[0]["data"] == {"trace_id": ID}


def test_an_unknown_trace_is_said_so(engine: ScriptedEngine, tmp_path: Path) -> None:
    refused(run(engine, tmp_path, ID, answer={"roots": [], "storage": {}}), 5, ID)


@pytest.mark.parametrize("text", ["", "x", ID[:-1], f"{ID}0", f"00-{ID}"])
def test_what_is_no_id(engine: ScriptedEngine, tmp_path: Path, text: str) -> None:
    refused(run(engine, tmp_path, "--", text, answer={}), 2, "32 hexadecimal digits")
    assert engine.calls == []

"""Mistakes that many make: one line says what is wrong and what to type instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.commands.scripted_engine import ScriptedEngine, running_engine
from tests.pipes.program import Program

if TYPE_CHECKING:
    from pathlib import Path

scripted = pytest.fixture(running_engine)


def test_tab_offers_no_id_that_would_be_an_option_or_a_ref(tmp_path: Path, scripted: ScriptedEngine) -> None:
    ids = ["@backup", "--url=ws://evil", "-n", "a-b@c", "plain::one"]
    scripted.functions["engine::functions::list"] = lambda data: {
        "functions": [{"function_id": name, "namespace": "default"} for name in ids]
    }
    scripted.functions["engine::workers::list"] = lambda data: {"workers": [{"name": name} for name in ids]}
    scripted.functions["engine::functions::info"] = lambda data: {
        "request_schema": {"properties": {name: {} for name in ids}}
    }
    iii = Program(tmp_path, scripted.url)
    iii.env["III_COMPLETION_TIMEOUT"] = "10s"
    assert iii.ok("_complete", "function", "").split() == ["a-b@c", "plain::one"]
    assert iii.ok("_complete", "worker", "").split() == ["a-b@c", "plain::one"]
    assert iii.ok("_complete", "keys", "", "f").split() == ["a-b@c=", "plain::one="]


def test_a_receipt_says_an_exit_code_once(iii: Program) -> None:
    writer, reader = iii.channel()
    with iii.start("channel", "read", reader, "--exit-code", "--", "sh", "-c", "cat >&2; exit 42") as reading:
        done = iii.run("channel", "write", writer, "--receipt", stdin=b"x")
        assert reading.wait(10) == 42
    assert (done.returncode, done.stderr) == (9, b"iii: the reader did not keep the data: sh exited 42\n")

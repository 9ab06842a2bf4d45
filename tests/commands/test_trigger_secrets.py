"""No access key in any error, `--verbose`, `--dry-run` or traceback of a trigger with streams."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from iii_cli.cli import status_of
from iii_cli.net.trail import listen
from tests.support.scripted_engine import Drop, FunctionError, ScriptedEngine, Silence, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "SECRETKEY"
READER = {"channel_id": "c1", "access_key": KEY, "direction": "read"}


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    yield from running_engine()


def quotes(data: Any) -> NoReturn:
    raise FunctionError({"code": "invocation_failed", "message": f"bad {data}", "stacktrace": repr(data)})


def dies(data: Any) -> NoReturn:
    raise Drop


def silent(data: Any) -> NoReturn:
    raise Silence


FUNCTIONS: dict[str, Any] = {
    "engine::channels::create": lambda data: {"reader": READER, "writer": READER | {"direction": "write"}},
    "quotes": quotes,
    "dies": dies,
    "silent": silent,
    "gives": lambda data: {"content": READER, "direction": "write"},
    "echo": lambda data: data,
}

CASES = {
    "the function quotes its input": ["quotes", "--in", "in"],
    "the function quotes its output": ["quotes", "--out", "out"],
    "the engine dies": ["dies", "--in", "in", "--out", "out"],
    "a time limit": ["silent", "--in", "in", "--out", "out", "--timeout", "100ms"],
    "a stall": ["silent", "--in", "in", "--out", "-", "--stall-timeout", "50ms"],
    "a dry run": ["echo", "--in", "in", "--ref", f"x=iii:read:c1:{KEY}", "--dry-run"],
    "a dry run of typed JSON": [
        "echo",
        f'r={{"channel_id":"c","access_key":"{KEY}","direction":"read"}}',
        "--dry-run",
    ],
    "the result beside a stream": ["gives", "--out", "-", "--timeout", "300ms"],
    "a ref in the result that is none": ["gives", "--read", "direction"],
    "a target that is full": ["gives", "--read", "content=/dev/full", "--timeout", "300ms"],
    "a ref in place of a SOURCE": ["echo", "--in", f"k=iii:read:c1:{KEY}"],
    "a ref in place of a pair": ["echo", f"iii:read:c1:{KEY}"],
    "a malformed ref": ["echo", "--ref", f"k=iii:red:c1:{KEY}"],
    "malformed JSON": ["echo", "--json", f'{{"access_key":"{KEY}"'],
}


@pytest.mark.parametrize("words", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("more", [(), ("--verbose",)], ids=["", "verbose"])
def test_no_key_is_shown(
    words: list[str],
    more: tuple[str, ...],
    engine: ScriptedEngine,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in [name for name in os.environ if name.startswith(("III_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("III_URL", engine.url)
    monkeypatch.setenv("III_TRACEBACK", "1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").write_text("data")
    engine.functions = FUNCTIONS
    try:
        status = status_of(["trigger", *words, *more])
    finally:
        listen(None)
    shown = capfd.readouterr()
    assert KEY not in shown.err
    assert "--dry-run" not in words or KEY not in shown.out  # a result on stdout is data, as it is
    assert "Traceback" not in shown.err
    assert "this is a bug" not in shown.err
    assert (status == 0) == ("--dry-run" in words)

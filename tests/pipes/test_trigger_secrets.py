"""No access key in any error, `--verbose`, `--dry-run` or traceback of a trigger with streams."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.support.marks import in_ci_but
from tests.support.program import III, LIMIT, Program
from tests.support.scripted_engine import Drop, FunctionError, ScriptedEngine, Silence, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "SECRETKEY"
READER = {"channel_id": "c1", "access_key": KEY, "direction": "read"}


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedEngine]:
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


QUICK = ("the function quotes its input", "a stall", "a dry run", "a malformed ref")


@pytest.mark.parametrize("name", in_ci_but(QUICK, CASES))
@pytest.mark.parametrize("more", ["", "--verbose"])
def test_no_key_is_shown(name: str, more: str, scripted: ScriptedEngine, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("data")
    env = Program(tmp_path, scripted.url).env | {"III_TRACEBACK": "1"}
    scripted.functions = FUNCTIONS
    words = CASES[name]
    done = subprocess.run(
        [III, "trigger", *words, *more.split()],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
        env=env,
        cwd=tmp_path,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert KEY not in err
    assert "--dry-run" not in words or KEY not in out  # a result on stdout is data, as it is
    assert "Traceback" not in err
    assert "this is a bug" not in err
    assert (done.returncode == 0) == ("--dry-run" in words)

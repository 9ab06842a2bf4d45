"""A COMMAND as a function: what of it reaches the caller, and which calls are refused."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.marks import in_ci

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.program import Program

RESULT = ("--stdin", "none", "--stdout", "result")


def result_of(iii: Program, options: Sequence[str], script: str) -> dict[str, Any]:
    with iii.serving("f::one", *options, "--", "sh", "-c", script):
        result: dict[str, Any] = json.loads(iii.ok("trigger", "f::one"))
        return result


def error_of(iii: Program, *words: str) -> dict[str, Any]:
    """What `iii trigger` says of a call that its function refuses."""
    failed = iii.run("trigger", *words)
    assert failed.returncode == 1, failed
    error: dict[str, Any] = json.loads(failed.stderr.decode().removeprefix("Error: "))
    return error


def test_it_may_write_before_it_reads(iii: Program, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"x" * 2_000_000)
    with iii.serving("f::both", "--", "sh", "-c", "head -c 3000000 /dev/zero; cat"):
        iii.ok("trigger", "f::both", "--in", str(tmp_path / "in"), "--out", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == bytes(3_000_000) + b"x" * 2_000_000


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo two; echo lines", {"stdout": "two\nlines\n"}),
        *in_ci((r"printf '\377'", {"stdout_base64": "/w=="}), ("echo 7", {"stdout": "7\n", "json": 7})),
    ],
)
def test_its_output_in_the_result(iii: Program, script: str, found: dict[str, Any]) -> None:
    result = result_of(iii, RESULT, script)
    assert {key: result.get(key) for key in ("stdout", "stdout_base64", "json")} == {
        "stdout": None,
        "stdout_base64": None,
        "json": None,
        **found,
    }


@pytest.mark.ci
def test_the_ref_of_its_output_is_not_for_the_command(iii: Program) -> None:
    with iii.serving("f::json", "--stdin", "json", "--", "cat"):
        out = iii.ok("trigger", "f::json", "a=1", "--out", "-", "--result", "/dev/null")
    assert out == '{"a":1}\n'


@pytest.mark.ci
def test_the_end_of_what_it_said_begins_with_a_line(iii: Program) -> None:
    tail = result_of(iii, RESULT, "seq -f 'line %g' 1000 >&2")["stderr_tail"]
    assert 4000 < len(tail) <= 4096
    assert (tail[:5], tail[-10:]) == ("line ", "line 1000\n")


@pytest.mark.ci
def test_what_it_left_behind_is_not_waited_for(iii: Program, tmp_path: Path) -> None:
    result = result_of(iii, RESULT, f"sleep 60 >/dev/null & echo $! >{tmp_path}/pid; echo said >&2")
    assert result["stderr_tail"] == "said\n"
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


# Refusals


def test_payloads_without_the_refs_that_it_needs(iii: Program, tmp_path: Path) -> None:
    iii.refs("x")
    writer, gone = iii.env["x_w"], iii.env["x_r"].replace("read:", "read:gone-")
    with iii.serving("f::cat", "--stdout", "result", "--", "cat"):
        for payload in ("{}", '{"stdin":"x"}', '{"stdin":{"channel_id":"a"}}'):
            error = error_of(iii, "f::cat", "--json", payload)
            assert (error["code"], "`stdin`" in error["message"]) == ("invalid_payload", True)
        assert error_of(iii, "f::cat", "--ref", f"stdin={writer}")["code"] == "invalid_payload"
        assert error_of(iii, "f::cat", "--ref", f"stdin={gone}")["code"] == "unknown_target"
    with iii.serving("f::both", "--", "cat"):
        assert iii.run("trigger", "f::both", "--out", str(tmp_path / "out")).returncode == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.ci
def test_an_output_that_is_no_result(iii: Program) -> None:
    with iii.serving("f::big", *RESULT, "--", "head", "-c", "262145", "/dev/zero"):
        assert error_of(iii, "f::big")["code"] == "output_too_large"


@pytest.mark.ci
@pytest.mark.parametrize(
    ("option", "data", "code"),
    [
        ("--stop-early", b"", "nothing_arrived"),
        ("--allow-empty", b"", None),
        ("--require-seal", b"data", "stream_truncated"),
    ],
)
def test_an_input_without_a_seal(iii: Program, option: str, data: bytes, code: str | None) -> None:
    iii.refs("x")
    with (
        iii.serving("f::cat", option, "--stdout", "result", "--", "sh", "-c", "cat"),
        iii.start("trigger", "f::cat", "--ref", "stdin=env:x_r") as call,
    ):
        iii.run("channel", "write", "env:x_w", "--no-seal", stdin=data)
        _, said = call.communicate(timeout=iii.limit)
    assert (call.returncode, f'"{code}"' in said.decode()) == ((1, True) if code else (0, False)), said


@pytest.mark.ci
def test_calls_wait_for_their_turn_and_the_queue_is_bounded(iii: Program, tmp_path: Path) -> None:
    script = f"echo + >>{tmp_path}/log; sleep 0.05; echo - >>{tmp_path}/log"
    with iii.serving("f::slow", *RESULT, "--max-parallel", "2", "--", "sh", "-c", script):
        done = iii.run("trigger", "f::slow", "--each", "-P", "90", stdin=b"{}\n" * 90)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    errors = [answer["error"] for answer in answers if not answer["ok"]]
    assert 0 < len(errors) <= 90 - 66
    assert {error["code"] for error in errors} == {"too_many_calls"}
    assert "2 calls run at once and 64 more wait" in errors[0]["message"]
    running = [0]
    for sign in (tmp_path / "log").read_text().split():
        running.append(running[-1] + (1 if sign == "+" else -1))
    assert (max(running), running[-1], len(running)) == (2, 0, 1 + 2 * (90 - len(errors)))

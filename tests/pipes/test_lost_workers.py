"""A worker that is lost during a call is told from a function that failed: the call may have run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.pipes.foreign import Vanish, foreign_worker

if TYPE_CHECKING:
    from tests.support.program import Program

HINT = "the worker was lost during the call; it may have run"
SOME = "the worker was lost during 1 of them, which may have run"
ERROR = {"code": "invocation_stopped", "message": "Invocation stopped", "stacktrace": None}


def vanish(data: Any) -> Any:
    """Run for as long as the payload says so."""
    if data == "stay":
        return data
    raise Vanish


def test_it_is_9_with_the_error_and_what_it_means(iii: Program) -> None:
    with foreign_worker(iii.env["III_URL"], vanish=vanish):
        done = iii.run("trigger", "vanish")
    body = json.dumps(ERROR, indent=2)
    assert (done.returncode, done.stdout) == (9, b"")
    assert done.stderr.decode() == f"Error: {body}\niii: {HINT}\n"


@pytest.mark.ci
def test_its_streams_do_not_hide_it(iii: Program) -> None:
    """They are cut by the same loss."""
    with foreign_worker(iii.env["III_URL"], vanish=vanish):
        done = iii.run("trigger", "vanish", "--in", "a=/dev/zero", "--out", f"b={iii.home / 'out'}")
    assert (done.returncode, HINT in done.stderr.decode()) == (9, True)
    assert not (iii.home / "out").exists()


@pytest.mark.ci
def test_programs_are_told_in_an_event(iii: Program) -> None:
    with foreign_worker(iii.env["III_URL"], vanish=vanish):
        done = iii.run("trigger", "vanish", "--in", "a=/dev/null", "--progress", "json")
    error, last = (json.loads(line) for line in done.stderr.splitlines()[-2:])
    assert (error["event"], error["hint"], error["exit"]) == ("error", HINT, 9)
    assert (last["event"], last["exit"]) == ("done", 9)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("lines", "status", "said"),
    [
        ('"stay"\n1', 9, f"1 of 2 calls failed; {SOME}"),
        (
            '"stay"\n1\n2',  # by then the function is unknown, and a call of it cannot have run
            1,
            f"2 of 3 calls failed; {SOME}",
        ),
    ],
)
def test_a_batch(iii: Program, lines: str, status: int, said: str) -> None:
    with foreign_worker(iii.env["III_URL"], vanish=vanish):
        done = iii.run("trigger", "vanish", "--each", stdin=lines.encode())
    assert (done.returncode, done.stderr.decode()) == (status, f"iii: {said}\n")
    assert [json.loads(line)["ok"] for line in done.stdout.splitlines()][:2] == [True, False]

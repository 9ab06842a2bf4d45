"""`iii trigger --each` as a process."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from tests.support.program import Program
from tests.support.scripted_engine import (
    Drop,
    FunctionError,
    Later,
    ScriptedEngine,
    Silence,
    running_engine,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIST = "engine::functions::list"


def test_a_line_for_each_line(iii: Program) -> None:
    done = iii.run("trigger", LIST, "--each", "-P", "8", "prefix=none", stdin=b'{}\n{"search":"x"}\n')
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b'{"ok":true,"result":{"functions":[]}}\n' * 2


def test_one_that_fails_is_exit_1(iii: Program) -> None:
    done = iii.run("trigger", LIST, "--each", stdin=b'{"prefix":7}\n{}\n')
    assert (done.returncode, done.stderr) == (1, b"iii: 1 of 2 calls failed\n")
    assert [json.loads(line)["ok"] for line in done.stdout.splitlines()] == [False, True]


def test_progress_is_told_in_json(iii: Program) -> None:
    done = iii.run("trigger", LIST, "--each", "--progress", "json", stdin=b"{}\n")
    assert json.loads(done.stderr.splitlines()[-1])["calls"] == 1


def test_a_reader_that_leaves_ends_it_quietly(iii: Program) -> None:
    done = iii.shell(
        f"yes '{{}}' | iii trigger {LIST} --each -P 4 | head -1 > /dev/null; echo ${{PIPESTATUS[1]}}"
    )
    assert (done.stdout, done.stderr) == (b"141\n", b"")


def test_trace_prints_the_id_and_the_tree(iii: Program) -> None:
    done = iii.run("trigger", LIST, "prefix=none", "--trace")
    first, *tree = done.stderr.decode().splitlines()
    assert (done.returncode, first[:11], len(first)) == (0, "iii: trace ", 11 + 32)
    assert f"call {LIST}" in tree[0]
    again = iii.run(
        "trigger", LIST, "prefix=none", "--trace", env={"TRACEPARENT": f"00-{'a' * 32}-{'b' * 16}-01"}
    )
    assert again.stderr.decode().startswith(f"iii: trace {'a' * 32}\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--each", "--in", "x"), "--each makes many calls, and a stream is for one"),
        (("--each", "--json", "{}"), "--each makes many calls, and --json is for one"),
        (("--each", "-P", "0"), "-P is a number of calls from 1 to 4096"),
        (("-P", "3"), "-P needs --each"),
        (("--fail-fast",), "--fail-fast needs --each"),
    ],
)
def test_what_contradicts(iii: Program, words: tuple[str, ...], message: str) -> None:
    done = iii.run("trigger", "f", *words)
    assert (done.returncode, done.stderr.decode()) == (2, f"iii: {message}\n")


def test_a_batch_that_is_stopped_says_how_far_it_came(iii: Program) -> None:
    words = ("trigger", "engine::log::info", "--each", "--progress", "always")
    with iii.start(*words, stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        for number in range(3):
            running.stdin.write(b'{"message":"%d"}\n' % number)
            running.stdin.flush()
            assert running.stdout.readline()
        running.send_signal(signal.SIGINT)
        assert running.wait(20) == 130
        assert running.stderr is not None
        said = running.stderr.read().decode()
    assert "iii: stopped after 3 calls in " in said


# A function that answers as the test says: `f`


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedEngine]:
    yield from running_engine()


Run = tuple[int, list[dict[str, Any]], str]
ERROR = {"code": "E1", "message": "no", "stacktrace": "at 1"}


def fails(data: Any) -> NoReturn:
    raise FunctionError(ERROR)


def silent(data: Any) -> NoReturn:
    raise Silence


@pytest.fixture
def each(scripted: ScriptedEngine, tmp_path: Path) -> Callable[..., Run]:
    """Run `iii trigger f --each`; exit status, the objects on stdout, and stderr."""

    def run(f: Callable[[Any], Any], stdin: bytes, *words: str) -> Run:
        scripted.functions = {"f": f}
        scripted.calls.clear()
        done = Program(tmp_path, scripted.url).run("trigger", "f", "--each", *words, stdin=stdin)
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()

    return run


def ok(result: Any) -> dict[str, Any]:
    return {"ok": True, "result": result}


def lines(count: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(count))


@pytest.mark.parametrize("parallel", [1, 3, 100])
def test_answers_come_in_the_order_of_the_lines(each: Callable[..., Run], parallel: int) -> None:
    def echo(data: Any) -> Any:
        if parallel > 1 and data % 2 == 0 and data < 98:
            raise Later(data)
        return data

    status, found, _ = each(echo, lines(99), "-P", str(parallel))
    assert (status, found) == (0, [ok(number) for number in range(99)])


def test_null_errors_and_lines_that_are_none(each: Callable[..., Run]) -> None:
    _, found, said = each(lambda data: fails(data) if data == 2 else None, b"1\n\n  \n2\n{oops\n3")
    assert found[:2] + found[3:] == [ok(None), {"ok": False, "error": ERROR}, ok(None)]
    assert (found[2]["error"]["code"], found[2]["error"]["message"][:8]) == ("INVALID_INPUT", "line 5: ")
    assert said == "iii: 2 of 4 calls failed\n"


def test_fail_fast_begins_no_more(each: Callable[..., Run], scripted: ScriptedEngine) -> None:
    _, found, _ = each(lambda data: fails(data) if data == 2 else data, lines(50), "-P", "1", "--fail-fast")
    assert ([line["ok"] for line in found], len(scripted.calls)) == ([True, True, False], 3)


def test_a_call_without_an_answer_fails_alone(each: Callable[..., Run]) -> None:
    _, found, _ = each(lambda data: silent(data) if data == 1 else data, lines(3), "--timeout", "100ms")
    late = {"ok": False, "error": {"code": "TIMEOUT", "message": "no answer within 0.1 s"}}
    assert found == [ok(0), late, ok(2)]


@pytest.mark.parametrize(("answered", "begun"), [((), 2), (range(1, 50), 8)])
def test_no_more_calls_are_begun_than_are_asked_for_or_can_be_kept(
    scripted: ScriptedEngine, tmp_path: Path, answered: object, begun: int
) -> None:
    """Answers wait for an earlier one: four for each that runs at once."""
    scripted.functions = {"f": lambda data: data if data in list(answered) else silent(data)}  # type: ignore[call-overload]
    scripted.calls.clear()
    iii = Program(tmp_path, scripted.url)
    with iii.start("trigger", "f", "--each", "-P", "2", stdin=subprocess.PIPE) as running:
        assert running.stdin is not None
        running.stdin.write(lines(50))
        running.stdin.flush()
        while len(scripted.calls) < begun:
            time.sleep(0.005)
        time.sleep(0.2)
        assert len(scripted.calls) == begun
        running.kill()


def test_answers_that_came_before_the_loss_have_their_lines(each: Callable[..., Run]) -> None:
    def f(data: Any) -> Any:
        if data == 3:
            raise Drop
        raise Later(data)

    status, found, said = each(f, lines(4), "-P", "4")
    assert (status, found, "no line: 1" in said) == (3, [ok(0), ok(1), ok(2)], True)


@pytest.mark.ci
def test_a_line_that_is_too_long_ends_it_when_the_others_are_answered(each: Callable[..., Run]) -> None:
    status, found, said = each(lambda data: data, b"1\n2\n" + b"x" * (65 << 20))
    assert (status, found, "line 3 is longer" in said) == (10, [ok(1), ok(2)], True)

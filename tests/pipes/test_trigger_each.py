"""`iii trigger --each` as a process."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.program import Program

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

"""Streams of text count: messages, and the bytes of their text, wherever figures are shown."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.marks import in_ci

if TYPE_CHECKING:
    from tests.support.program import Program

LINES = b"one\ntwo\n\nfour\n"
RECORDS = b'{"text":"one"}\n{"base64":"AAAA"}\n'


def figures(stderr: bytes, event: str = "done") -> tuple[int, int]:
    """Bytes and messages of the last such event."""
    found: list[dict[str, Any]] = [json.loads(line) for line in stderr.splitlines()]
    last = [each for each in found if each["event"] == event][-1]
    return last["bytes"], last["messages"]


@pytest.mark.parametrize(
    ("mode", "read", "data", "expected"),
    [
        ("--lines", "--text", LINES, [(14, 4), (10, 4)]),
        *in_ci(
            ("--lines", "--lines", LINES, [(14, 4), (14, 4)]),
            ("--jsonl", "--jsonl", RECORDS, [(33, 2), (33, 2)]),
        ),
    ],
)
def test_the_last_event(
    iii: Program, mode: str, read: str, data: bytes, expected: list[tuple[int, int]]
) -> None:
    writer, reader = iii.channel()
    with iii.start("channel", "read", reader, read, "--progress", "json") as reading:
        wrote = iii.run("channel", "write", writer, mode, "--progress", "json", stdin=data)
        _, said = reading.communicate(timeout=20)
    assert [figures(wrote.stderr), figures(said)] == expected


@pytest.mark.ci
def test_the_summary(iii: Program) -> None:
    writer, reader = iii.channel()
    with iii.start("channel", "read", reader, "--progress", "always") as reading:
        wrote = iii.run("channel", "write", writer, "--lines", "--progress", "always", stdin=LINES)
        _, said = reading.communicate(timeout=20)
    assert wrote.stderr.startswith(b"iii: 14 B (4 messages) in ")
    assert said.startswith(b"iii: 14 B (4 messages) in ")


def test_the_streams_of_a_call(iii: Program) -> None:
    with iii.serving("f", "--", "cat"):
        words = ("trigger", "f", "--in", "-", "--jsonl", "--out", "/dev/null")
        done = iii.run(*words, "--progress", "always", stdin=RECORDS)
    assert re.match(rb"iii: --in stdin 33 B \(2 messages\) at [1-9]", done.stderr), done.stderr


@pytest.mark.ci
def test_events_on_the_way(iii: Program) -> None:
    writer, reader = iii.channel()
    with (
        iii.start("channel", "read", reader, "--progress", "json") as reading,
        iii.start(
            "channel", "write", writer, "--lines", "--progress", "json", stdin=subprocess.PIPE
        ) as writing,
    ):
        assert writing.stdin is not None
        writing.stdin.write(LINES)
        writing.stdin.flush()
        for running in (reading, writing):
            assert running.stderr is not None
            assert figures(running.stderr.readline(), "progress") == (14, 4)
        writing.stdin.close()


@pytest.mark.ci
def test_what_a_reader_of_text_has_confirmed(iii: Program) -> None:
    iii.env["III_TEST_LIMITS"] = "receipt_beat=0.2"
    writer, reader = iii.channel()
    words = ("--lines", "--receipt", "--progress", "json")
    with (
        iii.start("channel", "read", reader, "-o", str(iii.home / "out")) as reading,
        iii.start("channel", "write", writer, *words, stdin=subprocess.PIPE) as writing,
    ):
        assert writing.stdin is not None
        assert writing.stderr is not None
        writing.stdin.write(LINES)
        writing.stdin.flush()
        while json.loads(writing.stderr.readline())["confirmed"] != len(LINES):
            pass
        writing.stdin.close()
        assert (writing.wait(20), reading.wait(20)) == (0, 0)


@pytest.mark.ci
def test_what_a_consumer_hears_of(iii: Program) -> None:
    consumer = 'cat >got; cat <&"$III_STREAM_STATUS" >status'
    iii.refs("x")
    iii.shell(
        f"""
        seq 1000 | iii channel write env:x_w --lines &
        iii channel read env:x_r -- sh -c '{consumer}'; wait
        """
    )
    status = json.loads((iii.home / "status").read_text())
    assert status == {"exit": 0, "verified": True, "bytes": (iii.home / "got").stat().st_size}


@pytest.mark.ci
def test_how_much_was_read_of_a_stream_that_was_stopped(iii: Program) -> None:
    iii.refs("x")
    with iii.start("channel", "write", "env:x_w", "--lines", stdin=subprocess.PIPE) as writing:
        assert writing.stdin is not None
        writing.stdin.write(LINES)
        writing.stdin.flush()
        done = iii.run("channel", "read", "env:x_r", "--stop-early", "--", "head", "-n", "4")
        writing.terminate()
    assert done.stderr == b"iii: stopped early: 14 B read, the rest was neither read nor verified\n"

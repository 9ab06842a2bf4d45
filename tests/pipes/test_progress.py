"""Progress of real streams: events for programs, lines for people, and nothing where nobody asked."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
import xxhash

from tests.support.screen import on_screen

if TYPE_CHECKING:
    from tests.support.program import Program

pytestmark = pytest.mark.ci
DATA = b"0123456789abcdef" * 200_000
DIGEST = xxhash.xxh3_128(DATA).hexdigest()


def events(stderr: bytes) -> list[dict[str, Any]]:
    """Every line is an object."""
    return [json.loads(line) for line in stderr.splitlines()]


def transfer(iii: Program, write: tuple[str, ...] = (), read: tuple[str, ...] = ()) -> tuple[Any, Any]:
    """Write DATA from a file and read it; the two finished commands."""
    source = iii.home / "data.bin"
    source.write_bytes(DATA)
    writer, reader = iii.channel()
    with iii.start("channel", "read", reader, "-o", str(iii.home / "out.bin"), *read) as reading:
        wrote = iii.run("channel", "write", writer, str(source), *write)
        out, err = reading.communicate(timeout=20)
    return wrote, subprocess.CompletedProcess(reading.args, reading.returncode, out, err)


def test_the_last_event_holds_the_figures(iii: Program) -> None:
    json_events = ("--progress", "json")
    wrote, read = transfer(iii, json_events, json_events)
    assert (wrote.returncode, read.returncode) == (0, 0)
    for done, verified in ((events(wrote.stderr)[-1], False), (events(read.stderr)[-1], True)):
        seconds = done.pop("seconds")
        assert 0 <= seconds < 20
        assert done == {
            "event": "done",
            "exit": 0,
            "bytes": len(DATA),
            "digest": DIGEST,
            "verified": verified,
        }


def test_a_receipt_verifies_the_writer_too(iii: Program) -> None:
    wrote, _ = transfer(iii, ("--progress", "json", "--receipt"))
    assert events(wrote.stderr)[-1]["verified"] is True


def test_the_summary_says_whether_the_reader_confirmed(iii: Program) -> None:
    wrote, read = transfer(iii, ("--progress", "always"), ("--progress=always",))
    assert wrote.stderr.decode().endswith(", not confirmed by the reader\n")
    assert wrote.stderr.decode().startswith("iii: 3.05 MiB (3,200,000 bytes) in ")
    assert read.stderr.decode().endswith(", verified\n")
    wrote, _ = transfer(iii, ("--progress", "always", "--receipt"))
    assert wrote.stderr.decode().endswith(", confirmed by the reader\n")


def test_nothing_is_shown_where_no_terminal_is(iii: Program) -> None:
    wrote, read = transfer(iii)
    assert (wrote.stderr, read.stderr) == (b"", b"")


def test_quiet_silences_all_but_events(iii: Program) -> None:
    wrote, read = transfer(iii, ("--progress", "always", "-q"), ("-q", "--progress", "json"))
    assert wrote.stderr == b""
    assert events(read.stderr)[-1]["event"] == "done"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("channel", "write", "@none", "--progress", "json"), 5),
        (("channel", "write", "--nonsense", "--progress=json"), 2),
        (("channel", "read", "iii:read:a:b", "--progress", "json"), 5),
        (("channel", "write", "iii:write:a:b", "/nowhere", "--progress", "json"), 10),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_an_error_is_an_event_and_still_the_last_word_is_done(
    iii: Program, words: tuple[str, ...], status: int
) -> None:
    done = iii.run(*words)
    *_, error, last = events(done.stderr)
    assert (done.returncode, error["event"], error["exit"]) == (status, "error", status)
    assert (last["event"], last["exit"], last["verified"]) == ("done", status, None)


def test_the_words_behind_the_dashes_are_not_ours(iii: Program) -> None:
    done = iii.run("channel", "write", "@none", "--", "echo", "--progress", "json")
    assert done.stderr.startswith(b"iii: ")


def test_another_word_is_a_usage_error(iii: Program) -> None:
    done = iii.run("channel", "read", "@none", "--progress", "alwas")
    assert (done.returncode, b"auto, always, never or json" in done.stderr) == (2, True)


@pytest.mark.parametrize("how", [(), ("--progress", "json"), ("-q",)], ids=" ".join)
def test_a_signal_asks_for_the_line(iii: Program, how: tuple[str, ...]) -> None:
    writer, reader = iii.channel()
    with (
        iii.start("channel", "write", writer, *how, stdin=subprocess.PIPE) as writing,
        iii.start("channel", "read", reader) as reading,
    ):
        assert writing.stdin is not None
        assert writing.stderr is not None
        assert reading.stdout is not None
        writing.stdin.write(b"twelve bytes")
        writing.stdin.flush()
        assert reading.stdout.read(1) == b"t"  # under way, so it listens
        writing.send_signal(signal.SIGUSR1)
        line = writing.stderr.readline()
        assert (json.loads(line)["bytes"] == 12) if "json" in how else line.startswith(b"iii: 12 B")
        writing.stdin.close()
    assert (writing.returncode, reading.returncode) == (0, 0)


def test_a_signal_may_come_while_the_one_before_is_answered(iii: Program) -> None:
    writer, reader = iii.channel()
    with (
        iii.start("channel", "write", writer, stdin=subprocess.PIPE) as writing,
        iii.start("channel", "read", reader) as reading,
    ):
        assert writing.stdin is not None
        assert writing.stderr is not None
        assert reading.stdout is not None
        writing.stdin.write(b"twelve bytes")
        writing.stdin.flush()
        assert reading.stdout.read(1) == b"t"
        for _ in range(3000):
            writing.send_signal(signal.SIGUSR1)
            assert writing.stderr.readline().startswith(b"iii: 12 B")
        writing.stdin.close()
    assert (writing.returncode, reading.returncode) == (0, 0)


def test_data_for_a_screen_has_no_bar_drawn_into_it(iii: Program) -> None:
    writer, reader = iii.channel()
    with iii.start("channel", "write", writer, stdin=subprocess.PIPE) as writing:
        assert writing.stdin is not None
        writing.stdin.write(b"plain\n")
        writing.stdin.close()
        assert on_screen(iii, "channel", "read", "env:R", env={"R": reader}) == (0, "plain\n")
    assert writing.returncode == 0


@pytest.mark.ci
def test_events_while_nothing_moves(iii: Program) -> None:
    _, reader = iii.channel()
    began = time.monotonic()
    done = iii.run("channel", "read", reader, "--timeout", "5s", "--progress", "json")
    assert time.monotonic() - began < 15
    told = [event["waiting"] for event in events(done.stderr) if event["event"] == "progress"]
    assert told[0] is None
    assert told[-1] == "nothing has come for 4 s: no writer yet, or a silent one"
    assert done.returncode == 124

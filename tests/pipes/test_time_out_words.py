"""What is said where a time limit ends a stream follows from what is so, on every side."""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.listening import listening
from tests.support.marks import in_ci
from tests.support.scripted_writer import silent_writer

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from tests.support.program import Program

SHORT = "800ms"
NO_END = "/dev/zero"
TOO_LONG = "the stream took longer than 0.8 s (--timeout); "
STALLED = "the stream: nothing moved for 0.8 s (--stall-timeout); "


def last_words(iii: Program, *words: str, data: bytes = b"") -> str:
    """Of a command that times out, whose stdin gives `data` and is silent then."""
    with iii.start(*words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as running:
        assert running.stdin is not None
        assert running.stderr is not None
        running.stdin.write(data)
        running.stdin.flush()
        *_, said = running.stderr.read().decode().splitlines()
        assert running.wait(20) == 124, said
    assert said.startswith("iii: ")
    return said[5:]


@contextmanager
def reading(iii: Program, ref: str, *words: str) -> Iterator[None]:
    """Somebody reads the ref while this lasts."""
    with iii.start("channel", "read", ref, *words, stdout=subprocess.DEVNULL) as reader:
        yield
        reader.terminate()


@contextmanager
def writing(iii: Program, ref: str, data: bytes, *words: str) -> Iterator[None]:
    """Somebody writes `data` and is silent then, while this lasts."""
    with iii.start("channel", "write", ref, *words, stdin=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        writer.stdin.write(data)
        writer.stdin.flush()
        yield
        writer.terminate()


# writing


@pytest.mark.parametrize(
    ("data", "words", "reason"),
    [
        (b"", [NO_END], "the engine accepts nothing: no reader yet, or a slow one"),
        (b"abc", [], "nothing to send: standard input gives nothing more"),
        *in_ci(
            (b"", [], "nothing to send: standard input gives nothing"),
            (b"a\nbc", ["--lines"], "nothing to send: 2 bytes of standard input are a line without an end"),
            (b"", ["FEW", "--lines"], "all is sent; the reader has not taken the rest"),
            (
                b"",
                ["--", "sh", "-c", "exec >&-; sleep 60"],
                "all is sent; the output of sh has ended, what gave it runs on",
            ),
        ),
    ],
)
def test_a_writer_without_a_reader(iii: Program, data: bytes, words: list[str], reason: str) -> None:
    few = iii.home / "few"
    few.write_text("a line\n" * 1000)  # more messages than the channel holds, fewer than the sockets do
    words = [str(few) if word == "FEW" else word for word in words]
    writer, _ = iii.channel()
    said = last_words(iii, "channel", "write", writer, "--stall-timeout", SHORT, *words, data=data)
    assert said == STALLED + reason


def test_a_source_that_never_stops_is_not_said_to_give_nothing(iii: Program) -> None:
    writer, reader = iii.channel()
    with reading(iii, reader):
        said = last_words(iii, "channel", "write", writer, NO_END, "--timeout", SHORT)
    assert said == f"{TOO_LONG}it was still moving"


def test_how_long_it_stood_still(iii: Program) -> None:
    writer, _ = iii.channel()
    said = last_words(iii, "channel", "write", writer, NO_END, "--timeout", "3s")
    begin, end = (
        "the stream took longer than 3 s (--timeout); the engine accepts nothing for ",
        " s: no reader ",
    )
    assert said.startswith(begin)
    assert said[len(begin) :].partition(end)[0] in ("1", "2", "3")


@pytest.mark.ci
def test_a_reader_that_has_not_confirmed(iii: Program) -> None:
    writer, reader = iii.channel()
    with reading(iii, reader, "--", "sh", "-c", "cat >/dev/null; sleep 60"):
        words = ("--receipt", "--stall-timeout", SHORT, os.devnull)
        said = last_words(iii, "channel", "write", writer, *words)
    assert said == f"{STALLED}all is sent; the reader has not confirmed it"


@pytest.mark.ci
def test_a_reader_that_has_spoken_is_there(iii: Program) -> None:
    iii.env["III_TEST_LIMITS"] = "receipt_beat=1"
    writer, reader = iii.channel()
    with reading(iii, reader, "--", "sleep", "60"):
        said = last_words(iii, "channel", "write", writer, NO_END, "--receipt", "--stall-timeout", "4s")
    assert said.endswith("; the reader takes nothing")


@pytest.mark.ci
@pytest.mark.parametrize("words", ["write iii:write:a:b", "read iii:read:a:b", "tee iii:write:a:b"])
def test_an_engine_that_does_not_let_us_in(iii: Program, words: str) -> None:
    def silent(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    with listening(silent) as url:
        iii.env["III_URL"] = url
        said = last_words(iii, "channel", *words.split(), "--timeout", SHORT)
    assert said == f"{TOO_LONG}still connecting to the engine"


# tee


@pytest.mark.parametrize(
    ("source", "read", "reason"),
    [
        ("zero", 1, "REF 2: nothing taken: no reader yet, or a slow one"),
        *in_ci(
            ("abc", 2, "nothing to send: standard input gives nothing more"),
            ("nothing", 2, "nothing to send: standard input gives nothing"),
            ("lines", 1, "all is sent; the readers of REF 2 have not taken the rest"),
        ),
    ],
)
def test_a_tee(iii: Program, source: str, read: int, reason: str) -> None:
    ends = [iii.channel() for _ in range(2)]
    script = {
        "zero": "cat /dev/zero",
        "abc": "echo abc; sleep 60",
        "nothing": "sleep 60",
        "lines": "seq 1000",
    }
    mode = ["--lines"] if source == "lines" else []
    words = ["channel", "tee", *(writer for writer, _ in ends), "--stall-timeout", SHORT, *mode]
    with ExitStack() as stack:
        for _, reader in ends[:read]:
            stack.enter_context(reading(iii, reader))
        with subprocess.Popen(["sh", "-c", f"exec 2>&-; {script[source]}"], stdout=subprocess.PIPE) as giving:
            done = iii.run(*words, stdin=giving.stdout)
            giving.kill()
    assert done.stderr.decode().splitlines()[-1] == f"iii: {STALLED}{reason}"


# reading


@pytest.mark.parametrize(
    ("data", "words", "reason"),
    [
        (None, "", "nothing has come: no writer yet, or a silent one"),
        (b"abc", "", "no data, the writer is alive"),
        *in_ci(
            (b"", "--no-seal", "nothing has come: no writer yet, or a silent one"),
            (b"abc", "--no-seal", "no more data"),
        ),
    ],
)
def test_a_reader_without_data(iii: Program, data: bytes | None, words: str, reason: str) -> None:
    writer, reader = iii.channel()
    with ExitStack() as stack:
        if data is not None:
            stack.enter_context(writing(iii, writer, data, *words.split()))
        assert last_words(iii, "channel", "read", reader, "--stall-timeout", "1.5s").endswith(f"; {reason}")


@pytest.mark.ci
def test_a_writer_whose_beats_have_stopped(iii: Program) -> None:
    iii.env["III_TEST_LIMITS"] = "beat=0.1"
    writer, reader = iii.channel()
    with silent_writer(iii.url, writer):
        said = last_words(iii, "channel", "read", reader, "--stall-timeout", SHORT)
    assert said == f"{STALLED}no data, and no other word of the writer"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("sleep 60", "COMMAND takes nothing"),
        *in_ci(("cat >/dev/null; sleep 60", "it was still moving")),
    ],
)
def test_a_consumer_and_a_writer_that_never_stops(iii: Program, command: str, reason: str) -> None:
    writer, reader = iii.channel()
    with iii.start("channel", "write", writer, NO_END) as endless:
        said = last_words(iii, "channel", "read", reader, "--timeout", "3s", "--", "sh", "-c", command)
        endless.terminate()
    assert said.endswith(reason) or f"; {reason} for " in said


@pytest.mark.ci
def test_a_consumer_that_runs_on(iii: Program) -> None:
    writer, reader = iii.channel()
    with iii.start("channel", "write", writer):
        words = ("--stall-timeout", SHORT, "--", "sh", "-c", "cat >/dev/null; sleep 60")
        said = last_words(iii, "channel", "read", reader, *words)
    assert said == f"{STALLED}all has come; COMMAND runs on"


@pytest.mark.ci
def test_outputs_that_take_nothing(iii: Program) -> None:
    os.mkfifo(iii.home / "fifo")
    _, reader = iii.channel()
    said = last_words(iii, "channel", "read", reader, "-o", str(iii.home / "fifo"), "--timeout", SHORT)
    assert said == f"{TOO_LONG}our output is not open yet: what should read it has not come"
    writer, reader = iii.channel()
    with iii.start("channel", "write", writer, NO_END) as endless:
        with iii.start("channel", "read", reader, "--stall-timeout", SHORT) as stuck:  # a pipe nobody empties
            assert stuck.wait(20) == 124
            assert stuck.stderr is not None
            assert stuck.stderr.read().decode() == f"iii: {STALLED}our output takes nothing\n"
        endless.terminate()


# calls with streams


@pytest.mark.parametrize(
    ("command", "words", "reason"),
    [
        ("cat >/dev/null", f"--in {NO_END} --timeout 3s", "--in stdin: it was still moving"),
        (
            "sleep 60",
            f"--in {NO_END} --stall-timeout 1s",
            "--in stdin: nothing accepted: the function does not read",
        ),
        *in_ci(
            ("cat", "--in -", "--in stdin: nothing to send: standard input gives nothing more"),
            (
                "cat",
                "--in cmd:exec_>&-;_sleep_60 --stall-timeout 1s",
                "--in stdin: all is sent; the output of exec has ended, what gave it runs on",
            ),
            ("echo a; sleep 60", "--in - --out -", "--out stdout: no data, the function is alive"),
            (
                "cat",
                f"--in {NO_END} --out cmd:sleep_60 --stall-timeout 3s",
                "--out stdout: COMMAND takes nothing",
            ),
        ),
    ],
)
def test_a_call(iii: Program, command: str, words: str, reason: str) -> None:
    limits = () if "timeout" in words else ("--stall-timeout", "1.5s")
    with iii.serving("f", "--", "sh", "-c", command):
        words += "" if "--out" in words else f" --out {os.devnull}"
        given = [word.replace("_", " ") for word in words.split()]
        said = last_words(iii, "trigger", "f", *given, *limits, data=b"abc" if "--in -" in words else b"")
    assert f"{reason};" in said
    assert said.endswith("; the function has not answered")

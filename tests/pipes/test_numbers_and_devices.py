"""Numbers at their borders, 0 for no limit, devices, and a terminal that shows a stream and a result."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.marks import in_ci
from tests.support.screen import on_screen

if TYPE_CHECKING:
    from tests.support.program import Program

BUFFER = "--buffer is a number of messages from 1 to 1024"
FOREVER = "--wait-engine 0 would wait for ever; give it a time, such as 2m"
READ, CALL = "channel read iii:read:a:b", "trigger f"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("channel create --buffer 0", BUFFER),
        *in_ci(
            ("channel create --buffer 1025", BUFFER),
            (f"{CALL} --in - --buffer 1025", BUFFER),
            ("channel create --wait-engine 0", FOREVER),
            ("channel create --buffer -1", BUFFER),
            (f"{CALL} --in - --buffer 0", BUFFER),
            (f"{READ} --wait-engine 0s", FOREVER),
        ),
    ],
)
def test_numbers_that_no_engine_takes(iii: Program, words: str, said: str) -> None:
    iii.env["III_URL"] = "ws://127.0.0.1:9"  # nothing there: they do not come that far
    done = iii.run(*words.split())
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", f"iii: {said}\n")


@pytest.mark.ci
def test_the_borders_are_good(iii: Program) -> None:
    for buffer in ("1", "1024"):
        iii.ok("channel", "create", "--buffer", buffer)


@pytest.mark.ci
def test_nothing_is_no_limit_for_every_time(iii: Program) -> None:
    writer, reader = iii.channel()
    forever = ("--timeout", "0", "--stall-timeout", "0", "--connect-timeout", "0")
    out = str(iii.home / "out")
    with iii.start("channel", "read", reader, "-o", out, "--peer-timeout", "0", *forever) as reading:
        iii.ok("channel", "write", writer, "--receipt", "--receipt-timeout", "0", *forever, stdin=b"data")
        assert reading.wait(10) == 0
    spans = ("--timeout", "0", "--grace", "0", "--shutdown-timeout", "0")
    with iii.start("serve", "f::cat", *spans, "--", "cat") as serving:
        iii.ok("functions", "wait", "f::cat", "--timeout", "0")
        call = ("trigger", "f::cat", "--in", out, "--out", "-", "--result", "/dev/null", "--linger", "0")
        assert iii.ok(*call, *forever) == "data"
        assert iii.ok("trigger", "engine::workers::list", "--timeout-ms", "0")
        serving.terminate()
        assert serving.wait(10) == 0


def test_a_device_takes_the_stream_and_the_result(iii: Program) -> None:
    with iii.serving("f::cat", "--", "cat"):
        iii.ok("trigger", "f::cat", "--in", "/dev/null", "--out", "/dev/null", "--result", "/dev/null")
        (iii.home / "there").write_bytes(b"")
        for name in ("there", "new"):
            both = str(iii.home / name)
            done = iii.run("trigger", "f::cat", "--in", "/dev/null", "--out", both, "--result", both)
            assert (done.returncode, done.stderr) == (2, b"iii: two streams cannot write to the same FILE\n")


@pytest.mark.ci
@pytest.mark.parametrize(("data", "shown"), [("tokens", "tokens\n"), ("a line\n", "a line\n")])
def test_a_result_begins_on_a_line_of_its_own(iii: Program, data: str, shown: str) -> None:
    with iii.start("serve", "f::say", "--stdin", "none", "--", "printf", "%s", data) as serving:
        iii.ok("functions", "wait", "f::say")
        status, screen = on_screen(iii, "trigger", "f::say", "--out", "-")
        assert (status, screen.partition("{")[0]) == (0, shown)
        writer, reader = iii.channel()
        with iii.start("channel", "write", writer, "--no-seal", "--", "printf", "%s", data):
            status, screen = on_screen(iii, "channel", "read", reader)
        assert f"\n{shown}iii: the writer sent no seal" in screen
        assert iii.ok("trigger", "f::say", "--out", "-") == data
        serving.terminate()


@pytest.mark.ci
def test_no_grace_limit_is_no_kill(iii: Program) -> None:
    """0 is no limit: COMMAND may take as long as it wants to end after SIGTERM."""
    go = iii.home / "go"
    os.mkfifo(go)
    slow = f"trap 'read word < {go}; echo $word > {iii.home}/said; exit 1' TERM; while :; do sleep 0.1; done"
    words = (
        "serve",
        "f::slow",
        "--stdin",
        "none",
        "--grace",
        "0",
        "--timeout",
        "300ms",
        "--",
        "sh",
        "-c",
        slow,
    )
    with iii.start(*words) as serving:
        iii.ok("functions", "wait", "f::slow")
        with iii.start("trigger", "f::slow", "--out", "/dev/null") as calling:
            with go.open("w") as ending:  # once it has heard SIGTERM
                ending.write("ended\n")
            calling.wait(10)
        assert (iii.home / "said").read_text() == "ended\n"
        serving.terminate()

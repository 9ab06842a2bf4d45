"""A COMMAND that stops reading early does not end the judgement of the stream.

The writers hold the rest back until the consumer has gone (`gone`), so that what happens to the rest is what
these tests are about.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.marks import in_ci

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program

EARLY = "head -c 5 >/dev/null; touch gone"  # takes five bytes, then ends with 0
HELD = "printf hello; while [ ! -e gone ]; do sleep 0.02; done; seq 20000"  # the rest comes after that
NOTICE = "iii: COMMAND finished early; reading the rest to verify it (--stop-early skips this)\n"


def pair(iii: Program, writer: str, reader: str, then: str = "") -> tuple[int, int, str, str]:
    """Run both sides of a new channel in one shell; exit statuses and stderr of writer and reader.

    `then` runs when the reader has ended.
    """
    iii.refs("x")
    done = iii.shell(
        f"""
        iii channel write env:x_w {writer} 2>writer.err & writer=$!
        iii channel read env:x_r {reader} 2>reader.err; read=$?
        {then}
        wait $writer; echo "$? $read"
        """
    )
    wrote, read = (int(word) for word in done.stdout.split()[-2:])
    return wrote, read, (iii.home / "writer.err").read_text(), (iii.home / "reader.err").read_text()


@pytest.mark.parametrize(
    "consumer",
    [EARLY, *in_ci("exec <&-; touch gone; sleep 60", "(head -c 5 >/dev/null; touch gone) & exit 0")],
    ids=["ends", "closes its stdin and runs on", "leaves a child that ends"],
)
def test_an_abort_after_the_consumer_has_left_is_7(iii: Program, consumer: str) -> None:
    wrote, read, _, said = pair(iii, f"-- sh -c '{HELD}; exit 3'", f"--require-seal -- sh -c '{consumer}'")
    assert (wrote, read) == (11, 7)
    assert "aborted by the writer: sh exited 3" in said


@pytest.mark.parametrize("size", [20_000, *in_ci(10, 500_000)])
def test_a_whole_stream_is_verified_and_confirmed(iii: Program, size: int) -> None:
    consumer = "--require-seal -- sh -c 'head -c 5 >/dev/null'"
    wrote, read, _, said = pair(iii, f"--receipt -- seq {size}", consumer)
    assert (wrote, read, said) == (0, 0, "")


def test_a_consumer_that_fails_early_is_11_at_once(iii: Program) -> None:
    wrote, read, _, said = pair(iii, "-- yes", "-- sh -c 'head -c 5 >/dev/null; exit 3'")
    assert (wrote, read, said) == (9, 11, "iii: sh exited 3\n")


@pytest.mark.ci
def test_a_consumer_that_closes_its_input_and_fails_later_is_11(iii: Program) -> None:
    consumer = "exec <&-; touch gone; exit 3"
    assert pair(iii, f"-- sh -c '{HELD}; yes'", f"-- sh -c '{consumer}'")[1] == 11


@pytest.mark.ci
def test_unsealed_streams_are_read_to_their_end_too(iii: Program) -> None:
    unsealed = "--no-seal --lines -- sh -c"
    error = 'printf "hello\\n"; while [ ! -e gone ]; do sleep 0.02; done; echo {\\"error\\":\\"disk full\\"}'
    _, read, _, said = pair(iii, f"{unsealed} '{error}'", f"--lines -- sh -c '{EARLY}'")
    assert (read, "the writer says: disk full" in said) == (7, True)
    (iii.home / "gone").unlink()
    _, read, _, said = pair(iii, f"--no-seal -- sh -c '{HELD}'", f"--require-seal -- sh -c '{EARLY}'")
    assert (read, "a seal is required" in said) == (7, True)


@pytest.mark.ci
def test_the_rest_is_bounded_by_the_timeout_and_not_by_stalls_while_bytes_come(iii: Program) -> None:
    held = "printf hello; while [ ! -e gone ]; do sleep 0.02; done"
    _, read, _, said = pair(
        iii, f"-- sh -c '{held}; sleep 60'", f"--timeout 2500ms -- sh -c '{EARLY}'", "kill $writer"
    )
    assert (read, said.partition("; no data for")[0]) == (
        124,
        f"{NOTICE}iii: the stream took longer than 2.5 s (--timeout)",
    )
    (iii.home / "gone").unlink()
    slow = f"{held}; for i in 1 2 3 4 5 6; do echo more; sleep 0.3; done"
    wrote, read, _, said = pair(iii, f"-- sh -c '{slow}'", f"--stall-timeout 1s -- sh -c '{EARLY}'")
    assert (wrote, read, said) == (0, 0, NOTICE)


def test_stop_early_ends_at_once_and_says_so(iii: Program) -> None:
    wrote, read, wrote_said, said = pair(
        iii, f"--receipt -- sh -c '{HELD}; sleep 60'", f"--stop-early -- sh -c '{EARLY}'"
    )
    assert (wrote, read) == (9, 0)
    assert said == "iii: stopped early: 5 B read, the rest was neither read nor verified\n"
    assert wrote_said == "iii: the reader did not keep the data: stopped early\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--require-seal", "--stop-early", "--", "head"), "--require-seal wants it verified"),
        (("--stop-early",), "need a COMMAND"),
    ],
)
def test_stop_early_where_it_means_nothing(iii: Program, words: tuple[str, ...], said: str) -> None:
    done = iii.run("channel", "read", "iii:read:a:b", *words)
    assert (done.returncode, said in done.stderr.decode()) == (2, True)


def test_a_pipe_that_is_closed_early_is_141_as_ever(iii: Program) -> None:
    iii.refs("x")
    done = iii.shell(
        """
        iii channel write env:x_w -- yes 2>/dev/null & iii channel read env:x_r | head -1
        echo ${PIPESTATUS[0]}
        """
    )
    assert (done.stdout, done.stderr) == (b"y\n141\n", b"")


@pytest.mark.parametrize("options", ["", *in_ci("--stop-early")])
def test_the_command_of_a_trigger(iii: Program, options: str) -> None:
    with iii.serving("test::held", "--stdin", "none", "--", "sh", "-c", HELD):
        done = iii.shell(
            f"iii trigger test::held {options} --progress json --out 'cmd:{EARLY}' 2>err >/dev/null; echo $?"
        )
    events = [json.loads(line) for line in (iii.home / "err").read_text().splitlines()]
    if options:  # the function may fail, because nobody reads its stream
        text = "stopped early: 5 B read, the rest was neither read nor verified"
        assert text in [event.get("message") for event in events], events
    else:
        assert done.stdout.split()[-1] == b"0"
        assert events[-1]["bytes"] == 108_899


def test_serve_judges_its_input_before_it_seals_its_output(iii: Program) -> None:
    """The filter ends well after five bytes; then its input is aborted."""
    iii.refs("i", "o")
    with iii.serving("test::head", "--", "sh", "-c", "head -c 5; touch gone"):
        done = iii.shell(
            f"""
            iii trigger test::head --ref stdin=env:i_r --ref stdout=env:o_w 2>call.err & call=$!
            iii channel read env:o_r -o out 2>read.err & read=$!
            iii channel write env:i_w -- sh -c '{HELD}; exit 3' 2>/dev/null
            wait $call; echo $?; wait $read; echo $?; exit 0
            """
        )
    assert done.stdout.split() == [b"1", b"7"], done
    assert not (iii.home / "out").exists()
    body = json.loads((iii.home / "call.err").read_text().removeprefix("Error: "))
    assert (body["code"], body["message"]) == ("stream_aborted", "aborted by the writer: sh exited 3")


def test_serve_that_stops_early_does_not_look(iii: Program) -> None:
    with iii.serving("test::quick", "--stop-early", "--", "sh", "-c", "head -c 5; touch gone"):
        done = iii.shell(f"iii trigger test::quick --in 'cmd:{HELD}; yes' --out out --result result; echo $?")
    assert done.stdout.split() == [b"0"], done
    assert (iii.home / "out").read_bytes() == b"hello"


@pytest.mark.ci
def test_serve_does_not_drain_for_ever(iii: Program, tmp_path: Path) -> None:
    iii.env["III_TEST_LIMITS"] = "drain=0.3"
    done = iii.shell(
        f"""
        iii serve test::patient -- sh -c 'head -c 5; touch gone' & serving=$!
        iii functions wait test::patient
        iii trigger test::patient --in 'cmd:{HELD}; sleep 60' --out out 2>err; echo $?
        kill $serving; wait $serving; exit 0
        """
    )
    assert done.stdout.split() == [b"1"], done
    assert not (tmp_path / "out").exists()
    assert (
        "did not end within 0.3 s; `serve --stop-early` does not wait for it"
        in (tmp_path / "err").read_text()
    )

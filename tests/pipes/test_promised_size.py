"""`write --size N` is a promise: other than N bytes abort the stream."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.pipes.ended import transfer
from tests.support.marks import in_ci

if TYPE_CHECKING:
    from tests.support.program import Program

FEWER = "the input ended after 3 bytes, --size promised 4"
MORE = "gave more than the 4 bytes that --size promised"
MODES = "--size counts bytes; it cannot be combined with --lines and --jsonl"


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"12345", f"standard input {MORE}"), *in_ci((b"123", FEWER))],
)
def test_other_than_the_promised_bytes_abort(iii: Program, data: bytes, said: str) -> None:
    wrote, read = transfer(iii, ["--size", "4"], ["-o", str(iii.home / "out")], data)
    assert (wrote.status, wrote.err) == (10, f"iii: {said}\n")
    assert (read.status, read.err) == (7, f"iii: aborted by the writer: {said}\n")
    assert not (iii.home / "out").exists()


@pytest.mark.ci
def test_the_promised_bytes_arrive(iii: Program) -> None:
    for words, data in (
        (["--size", "4"], b"1234"),
        (["--size", "0"], b""),
        (["--size", "4", "--no-seal"], b"1234"),
    ):
        wrote, read = transfer(iii, words, ["--allow-empty"], data)
        assert (wrote.status, wrote.err, read.status, read.out) == (0, "", 0, data)


@pytest.mark.ci
def test_one_byte_too_many_is_enough(iii: Program) -> None:
    """The input goes on, or at least does not end; nobody waits for that."""
    writer, reader = iii.channel()
    with (
        iii.start("channel", "read", reader) as reading,
        iii.start("channel", "write", writer, "--size", "4", stdin=subprocess.PIPE) as writing,
    ):
        assert writing.stdin is not None
        writing.stdin.write(b"12345")
        writing.stdin.flush()
        assert writing.wait(iii.limit) == 10
        assert reading.wait(iii.limit) == 7


@pytest.mark.ci
@pytest.mark.parametrize(
    ("script", "status", "said"),
    [
        ("printf 123", 10, FEWER),
        ("exec cat /dev/zero", 10, f"the output of sh {MORE}"),
        ("printf 123; exit 3", 11, "sh exited 3"),  # the cause, not what it led to
        ("printf 1234; exit 3", 11, "sh exited 3"),
    ],
)
def test_a_command_is_held_to_it_too(iii: Program, script: str, status: int, said: str) -> None:
    wrote, read = transfer(iii, ["--size", "4", "--", "sh", "-c", script])
    assert (wrote.status, wrote.err) == (status, f"iii: {said}\n")
    assert (read.status, read.err) == (7, f"iii: aborted by the writer: {said}\n")


@pytest.mark.ci
def test_several_files_count_together(iii: Program) -> None:
    for name in ("one", "two"):
        (iii.home / name).write_bytes(b"12")
    fifo = iii.home / "fifo"
    os.mkfifo(fifo)
    files = [str(iii.home / name) for name in ("one", "two", "fifo")]
    for late, status in ((b"34", 0), (b"345", 10), (b"3", 10)):
        with subprocess.Popen(["sh", "-c", f"printf {late.decode()} > {fifo}"]):
            wrote, read = transfer(iii, [*files, "--size", "6"])
        assert (wrote.status, read.status) == (status, 7 if status else 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--size 4 five", "the input has 5 bytes, --size promises 4"),
        *in_ci(
            ("--size 11 five five", "the input has 10 bytes, --size promises 11"),
            ("--size 4 < five", "the input has 5 bytes, --size promises 4"),
            ("--size 5 --lines five", MODES),
            ("--size 5 --jsonl < five", MODES),
        ),
    ],
)
def test_what_is_known_before_costs_no_ref(iii: Program, words: str, said: str) -> None:
    (iii.home / "five").write_bytes(b"12345")
    done = iii.shell(f"iii channel create --save x; iii channel write @x {words}")
    assert (done.returncode, done.stderr.decode()) == (2, f"iii: {said}\n")
    assert "unused" in iii.ok("ref", "ls")

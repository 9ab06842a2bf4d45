"""Two directions are two channels: the documented forms."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.program import Program

pytestmark = pytest.mark.ci

CHANNELS = "iii channel create --save a; iii channel create --save b\n"
PIPE = "iii channel read @a | tr a-z A-Z | iii channel write @b & answering=$!\n"
WATCHED = "iii channel write @b -- bash -o pipefail -c 'iii channel read @a | tr a-z A-Z' & answering=$!\n"


@pytest.mark.parametrize("answer", [PIPE, WATCHED], ids=["pipe", "watched"])
def test_a_command_between_two_channels(iii: Program, answer: str) -> None:
    done = iii.shell(
        CHANNELS
        + answer
        + "seq 1000 | sed s/^/line/ | iii channel write @a & iii channel read @b; wait $answering"
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"".join(b"LINE%d\n" % n for n in range(1, 1001))


def test_only_the_watched_form_passes_a_failure_on(iii: Program) -> None:
    done = iii.shell(
        CHANNELS
        + WATCHED
        + "iii channel write @a -- sh -c 'echo half; exit 3' & iii channel read @b -o got; echo $?"
    )
    assert done.stdout == b"7\n"
    assert not (iii.home / "got").exists()
    assert b"aborted by the writer: bash exited 7" in done.stderr


def test_two_shells_talk_to_each_other(iii: Program) -> None:
    """Each reads what the other writes, line by line; a refs' word goes over once, as a token would."""
    iii.ok("channel", "create", "--save", "to-b")
    iii.ok("channel", "create", "--save", "to-a")
    pipe = subprocess.PIPE
    a_reads = iii.start("channel", "read", "@to-a")
    b_reads = iii.start("channel", "read", "@to-b")
    a_writes = iii.start("channel", "write", "@to-b", "--lines", stdin=pipe)
    b_writes = iii.start("channel", "write", "@to-a", "--lines", stdin=pipe)
    for writes, reads, line in [(a_writes, b_reads, b"hello B\n"), (b_writes, a_reads, b"hello A\n")] * 2:
        assert writes.stdin is not None
        assert reads.stdout is not None
        writes.stdin.write(line)
        writes.stdin.flush()
        assert reads.stdout.readline() == line, "it comes while the other end is still open"
    for process in (a_writes, b_writes, a_reads, b_reads):
        _, said = process.communicate(timeout=20)
        assert (process.returncode, said) == (0, b"")

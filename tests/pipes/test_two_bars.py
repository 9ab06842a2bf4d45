"""Two of ours on one terminal: one draws, and what the other says stands on lines of its own."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.tmux import NEEDS_TMUX, recorded, terminal

if TYPE_CHECKING:
    from tests.support.program import Program

pytestmark = [pytest.mark.ci, NEEDS_TMUX]
MIB = 1 << 20


def test_two_of_a_pipeline(iii: Program) -> None:
    for name in ("a", "b"):
        iii.ok("channel", "create", "--save", name)
    with (
        iii.start("channel", "write", "@a", "--size", "2M", stdin=subprocess.PIPE) as writing,
        iii.start("channel", "read", "@b", stdout=subprocess.DEVNULL) as reading,
        terminal(iii.env, iii.home) as screen,
    ):
        assert writing.stdin is not None
        screen.run("iii channel read @a | iii channel write @b")
        writing.stdin.write(bytes(MIB))
        writing.stdin.flush()
        bars = set[bool]()
        while not bars or "for 5 s" not in screen.lines()[-1]:
            command, bar = screen.shows("1.00 MiB")
            assert command.endswith("$?")
            bars.add("of 2.00 MiB" in bar)  # which the reading one knows, and the writing one does not
        assert len(bars) == 1
        writing.stdin.write(bytes(MIB))
        writing.stdin.close()
        *said, status = screen.ended()
        assert (status, reading.wait(20)) == ("status 0", 0)
    said = [recorded([line]) for line in said]
    assert sorted(said) == [
        "iii: 2.00 MiB (2,097,152 bytes) in N s, N/s, not confirmed by the reader",
        "iii: 2.00 MiB (2,097,152 bytes) in N s, N/s, verified",
    ]


def test_another_of_the_job_has_something_to_say(iii: Program) -> None:
    """Above a drawing of two rows, both of which stay whole."""
    (iii.home / "in.bin").write_bytes(bytes(3 * MIB))
    (iii.home / "job").write_text(
        "iii trigger f --in in.bin --out out.bin &\n"
        "until [ -e say ]; do sleep 0.05; done\n"
        "iii ref show none\n"
        "wait\n"
    )
    half = "head -c 1048576; until [ -e go ]; do sleep 0.05; done; cat"
    with iii.serving("f", "--", "sh", "-c", half), terminal(iii.env, iii.home) as screen:
        screen.run("bash job")
        screen.shows("^--out stdout  1.00 MiB")
        (iii.home / "say").touch()
        _, error, *drawn = screen.until(lambda lines: len(lines) == 4 and "no saved ref" in lines[1])
        assert error.startswith("iii: no saved ref 'none'")
        assert [line[:5] for line in drawn] == ["--in ", "--out"]
        (iii.home / "go").touch()
        lines = screen.ended()
    assert lines[0] == error
    assert not [line for line in lines if line.startswith("--")], lines

"""Recorded sessions: progress as a person sees it."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import pytest

from tests.support.program import III, Program, running_engine
from tests.support.scripted_writer import silent_writer
from tests.support.tmux import NEEDS_TMUX, recorded, terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.ci, NEEDS_TMUX]
MIB = 1 << 20
MORE_THAN_FITS = 200 * MIB  # in the engine and the sockets before it, while nobody reads


@pytest.fixture(scope="module")
def engine_url() -> Iterator[str]:
    with running_engine() as (url, _):
        yield url


@pytest.fixture
def iii(engine_url: str, tmp_path: Path) -> Program:
    return Program(tmp_path, engine_url)


@contextmanager
def written(iii: Program, name: str, *options: str) -> Iterator[IO[bytes]]:
    """The stdin of a writer of the saved ref, whose stream ends well when the block does."""
    iii.ok("channel", "create", "--save", name)
    with iii.start("channel", "write", f"@{name}", *options, stdin=subprocess.PIPE) as writing:
        assert writing.stdin is not None
        try:
            yield writing.stdin
            writing.stdin.close()
            assert writing.wait(20) == 0
        finally:
            writing.kill()


@contextmanager
def serving(iii: Program, *words: str) -> Iterator[None]:
    """`iii serve NAME -- COMMAND` in the home, from when the engine knows it."""
    name, *command = words
    with subprocess.Popen(
        [III, "serve", name, "--", *command], env=iii.env, cwd=iii.home, stderr=subprocess.DEVNULL
    ) as serving:
        try:
            iii.ok("functions", "wait", name)
            yield
        finally:
            serving.terminate()


def give(stdin: IO[bytes], mebibytes: int) -> None:
    stdin.write(bytes(mebibytes * MIB))
    stdin.flush()


def big_file(iii: Program) -> str:
    with (iii.home / "big.bin").open("wb") as file:
        file.truncate(MORE_THAN_FITS)
    return "big.bin"


def test_a_bar_moves_and_ends_in_one_line(iii: Program) -> None:
    """The reading side has the size, and so the time that is left, from the seal's open frame."""
    with terminal(iii.env, iii.home) as screen:
        with written(iii, "x", "--size", "16M") as stdin:
            screen.run("iii channel read @x -o got")
            give(stdin, 4)
            command, bar = screen.shows("25%")
            give(stdin, 4)
            assert "\x1b[3" in screen.colours(), "a bar has colours where it may"
            assert screen.shows("50%")[0] == command
            assert recorded([bar]).endswith("4.00 MiB of 16.0 MiB N/s   25%  ETA N:NN  N:NN")
            assert set(bar.split()[0]) <= set("━╸╺")
            give(stdin, 8)
        assert recorded(screen.ended()) == (
            "iii: 16.0 MiB (16,777,216 bytes) in N s, N/s, verified\nstatus 0"
        )  # fmt: skip


def test_without_colours(iii: Program) -> None:
    with terminal(iii.env, iii.home) as screen, written(iii, "x", "--size", "2M") as stdin:
        screen.run("NO_COLOR=1 iii channel read @x -o got")
        give(stdin, 1)
        [_, bar] = screen.shows("50%")
        assert bar.startswith("━")
        assert "\x1b" not in screen.colours()
        give(stdin, 1)


def test_forty_columns(iii: Program) -> None:
    """One row while it moves, one at the end, whatever is left out for that."""
    with terminal(iii.env, iii.home, columns=40) as screen:
        with written(iii, "x", "--size", "2M") as stdin:
            screen.run("iii channel read @x -o got")
            give(stdin, 1)
            screen.shows("50%")
            give(stdin, 1)
            *_, bar = screen.shows("100%")
            assert recorded([bar]).startswith("2.00 MiB N/s  100%  ETA N:NN")
        assert recorded(screen.ended()) == "iii: 2.00 MiB in N s, verified\nstatus 0"


def test_one_column(iii: Program) -> None:
    """It cannot be read, but it ends as everywhere."""
    with terminal(iii.env, iii.home, columns=1) as screen:
        with written(iii, "x", "--size", "2M") as stdin:
            screen.type("iii channel read @x -o got --keep-partial; echo $? >status")
            screen.press("Enter")
            give(stdin, 1)
            screen.until(lambda lines: (iii.home / "got.part").exists())
            give(stdin, 1)
        screen.until(lambda lines: (iii.home / "status").exists() and (iii.home / "status").read_text())
    assert (iii.home / "status").read_text() == "0\n"
    assert (iii.home / "got").stat().st_size == 2 * MIB


def test_a_stall_a_resize_and_ctrl_c(iii: Program) -> None:
    """What is known of a stall fits 80 columns, a narrower window leaves no pieces, and Ctrl-C no traces."""
    with terminal(iii.env, iii.home) as screen:
        screen.run("stty -g >modes")
        screen.ended()
        iii.ok("channel", "create", "--save", "x")
        screen.run(f"iii channel write @x {big_file(iii)}")
        *_, bar = screen.shows("accepts nothing for")
        said = "the engine accepts nothing for N s: no reader yet, or a slow one"
        assert recorded([bar]).partition("B  ")[2] == said
        screen.resize(50)
        lines = screen.until(lambda lines: lines[-1].endswith("…"))
        assert len([line for line in lines if "accepts" in line]) == 1, lines
        screen.resize(100)
        lines = screen.shows(" MiB of 200 MiB  the engine accepts nothing for .* slow one$")
        assert len([line for line in lines if "accepts" in line]) == 1, lines
        screen.press("C-c")
        interrupted, stopped, status = screen.ended()
        assert interrupted == "iii: interrupted; ending (once more to stop at once)"
        assert stopped.startswith("iii: stopped after ")
        assert status == "status 130"
        assert screen.cursor_is_visible
        screen.run("stty -g | cmp - modes")
        assert screen.ended() == ["status 0"]


def test_a_writer_that_has_nothing_to_say_is_alive(iii: Program, engine_url: str) -> None:
    with terminal(iii.env, iii.home) as screen:
        writer, reader = iii.channel()
        (iii.home / "ref").write_text(reader)
        with silent_writer(engine_url, writer):
            screen.run("iii channel read file:ref -o got")
            shown = screen.shows("alive")
            assert recorded(shown[-1:]) == "3 B  no data for N s, the writer is alive"
            screen.press("C-c")
            assert screen.ended()[-1] == "status 130"
    assert not (iii.home / "got").exists()


def test_a_dumb_terminal(iii: Program) -> None:
    """Nothing is drawn; `--progress always` prints lines. Not one escape sequence."""
    with terminal(iii.env | {"TERM": "dumb"}, iii.home) as screen:
        screen.type("export TERM=dumb; clear")
        screen.press("Enter")
        screen.ask("pipe-pane", "-o", f"cat >{iii.home}/raw")
        with written(iii, "x", "--size", "2M") as stdin:
            screen.run("iii channel read @x -o got --progress always")
            give(stdin, 1)
            lines = screen.shows("^iii: 1.00 MiB of 2.00 MiB, .*, 50%")
            give(stdin, 1)
        *_, said, status = screen.ended()
        assert len(lines) >= 2
        assert recorded([said, status]) == "iii: 2.00 MiB (2,097,152 bytes) in N s, N/s, verified\nstatus 0"
        assert b"\x1b" not in (iii.home / "raw").read_bytes().rpartition(b"always")[2]


def test_output_that_goes_elsewhere(iii: Program) -> None:
    """A file gets neither bars nor escape codes; stderr that is still the screen shows the bar."""
    with terminal(iii.env, iii.home) as screen:
        with written(iii, "x", "--size", "2M") as stdin, written(iii, "y", "--size", "2M") as other:
            screen.run("iii channel read @y 2>&1 >other | cat >said & iii channel read @x >got")
            for stream in (stdin, other):
                give(stream, 1)
            *_, bar = screen.shows("50%")
            for stream in (stdin, other):
                give(stream, 1)
        assert "iii: 2.00 MiB (2,097,152 bytes) in N s, N/s, verified" in recorded(screen.ended())
        assert "━" in bar
    assert (iii.home / "got").read_bytes() == (iii.home / "other").read_bytes() == bytes(2 * MIB)
    assert (iii.home / "said").read_bytes() == b""


def test_in_the_background(iii: Program) -> None:
    """A job in the background draws nothing over what is typed; brought back, it does."""
    with terminal(iii.env, iii.home) as screen:
        with written(iii, "x", "--size", "4M") as stdin:
            screen.type("iii channel read @x -o got")
            screen.press("Enter")
            give(stdin, 1)
            screen.shows("25%")
            screen.press("C-z")
            screen.shows("Stopped")
            screen.type("clear; bg; echo so far")
            screen.press("Enter")
            screen.until(lambda lines: lines[-2:] == ["so far", "ready>"])
            give(stdin, 1)
            screen.type("until [ -e twice ]; do sleep 0.1; done; echo quiet")
            screen.press("Enter")
            before = screen.shows("echo quiet$")
            end = time.monotonic() + 1.2  # it would have drawn six times
            while time.monotonic() < end:
                assert screen.lines() == before
            (iii.home / "twice").touch()
            screen.until(lambda lines: lines[-2:] == ["quiet", "ready>"])
            screen.run("fg")
            screen.shows("50%")
            give(stdin, 2)
        assert recorded(screen.ended()[-2:]) == (
            "iii: 4.00 MiB (4,194,304 bytes) in N s, N/s, verified\nstatus 0"
        )  # fmt: skip


def test_a_line_for_each_stream_of_a_call(iii: Program) -> None:
    """The result is printed below them, and one line sums up."""
    (iii.home / "in.bin").write_bytes(bytes(3 * MIB))
    half = "head -c 1048576; until [ -e go ]; do sleep 0.05; done; cat"
    with serving(iii, "text::half", "sh", "-c", half), terminal(iii.env, iii.home) as screen:
        screen.run("iii trigger text::half --in in.bin --out out.bin")
        command, way_in, way_out = screen.shows("^--out stdout  1.00 MiB")
        assert command.endswith("$?")
        assert recorded([way_in]).startswith("--in stdin    ━")
        assert "3.00 MiB of 3.00 MiB" in way_in
        assert recorded([way_out]).startswith("--out stdout  1.00 MiB N/s  N:NN  average N/s")
        (iii.home / "go").touch()
        first, *result, last, summary, status = screen.ended()
        assert (first, last, status) == ("{", "}", "status 0")
        assert '  "stdout_bytes": 3145728' in result
        assert recorded([summary]) == "iii: --in stdin 3.00 MiB, --out stdout 3.00 MiB in N s"
    assert (iii.home / "out.bin").stat().st_size == 3 * MIB


def test_a_producer_that_asks_for_a_password(iii: Program) -> None:
    """It has no terminal to ask at, says so, and fails: nothing waits for an answer that cannot come."""
    iii.ok("channel", "create", "--save", "x")
    with iii.start("channel", "read", "@x") as reading, terminal(iii.env, iii.home) as screen:
        screen.run("iii channel write @x -- sh -c 'read x </dev/tty && echo got $x'")
        refused, aborted, status = screen.ended()
        assert "/dev/tty: No such device or address" in refused
        assert aborted.startswith("iii: sh exited ")
        assert status == "status 11"
        assert reading.wait(20) == 7


def test_a_command_that_reads_what_is_typed(iii: Program) -> None:
    """The terminal as its stdin is another matter: it has what we have."""
    with terminal(iii.env, iii.home) as screen:
        screen.run("iii engine exec -- sh -c 'read x; echo got $x; stty -a | grep -ow echo'")
        screen.type("this")
        screen.press("Enter")
        assert screen.ended()[-3:] == ["got this", "echo", "status 0"]

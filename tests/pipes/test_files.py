"""Files, descriptors and terminals under a stream: what they are, and what becomes of them."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.pipes.ended import transfer
from tests.pipes.test_unfinished_files import customize, linux
from tests.support.marks import in_ci
from tests.support.processes import sizes_in
from tests.support.program import refused
from tests.support.screen import on_screen

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program

NO_DISK = "import os\ndef fsync(fd): raise OSError(5, 'Input/output error')\nos.fsync = fsync\n"
FILLED = "head\nhello\n"


def test_a_new_file_has_the_mode_of_any_other(iii: Program) -> None:
    iii.refs("x")
    done = iii.shell(
        """
        iii channel write env:x_w <<<new & umask 027
        iii channel read env:x_r -o out && wait $! && stat -c %a out
        """
    )
    assert (done.returncode, done.stdout) == (0, b"640\n"), done.stderr


@pytest.mark.parametrize("place", ["/dev/stdout", *in_ci("/dev/fd/1", "link")])
def test_an_output_that_is_a_descriptor_is_written_where_that_stands(
    iii: Program, tmp_path: Path, place: str
) -> None:
    """Behind what is there: the file is neither truncated nor replaced."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    iii.refs("x")
    done = iii.shell(
        f"""
        iii channel write env:x_w <<<hello &
        {{ echo head; iii channel read env:x_r -o {place}; }} >out && wait $!
        """
    )
    assert (done.returncode, (tmp_path / "out").read_text()) == (0, FILLED), done.stderr


def test_an_input_that_was_read_before_goes_on_from_there(iii: Program, tmp_path: Path) -> None:
    (tmp_path / "in").write_text(FILLED)
    iii.refs("x")
    done = iii.shell("iii channel read env:x_r & { read -r; iii channel write env:x_w; } <in && wait $!")
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("write env:x_w /dev/fd/77", b"it is closed"),
        *in_ci(
            ("write env:x_w 0>out", b"it is closed"),
            ("read env:x_r 1</dev/null", b"it is closed"),
            ("write env:x_w .", b"it is a folder"),
        ),
    ],
)
def test_what_cannot_be_read_or_written_is_one_line(iii: Program, words: str, said: bytes) -> None:
    iii.refs("x")
    done = iii.shell(f"iii channel {words}")
    assert (done.returncode, done.stderr.count(b"\n"), said in done.stderr) == (10, 1, True), done.stderr


def test_a_file_that_shrinks_while_it_is_sent_is_no_success(iii: Program, tmp_path: Path) -> None:
    with (tmp_path / "in").open("wb") as file:
        file.truncate(200 << 20)  # more than fits between the two
    writer, reader = iii.channel()
    with (
        iii.start("channel", "read", reader) as reading,
        iii.start("channel", "write", writer, str(tmp_path / "in")) as writing,
    ):
        assert reading.stdout is not None
        reading.stdout.read(1)
        os.truncate(tmp_path / "in", 1)
        assert (reading.communicate()[0] is not None, reading.returncode) == (True, 7)
        said = writing.communicate()[1]
    assert (writing.returncode, b"bytes before its size" in said) == (10, True), said


@linux
@pytest.mark.ci
@pytest.mark.parametrize(
    ("option", "said"), [("--no-clobber", b"exists by now"), ("--stall-timeout=9s", b"Is a directory")]
)
def test_a_place_that_is_taken_meanwhile_is_left_alone(
    iii: Program, tmp_path: Path, option: str, said: bytes
) -> None:
    (tmp_path / "folder").mkdir()
    path = tmp_path / "folder" / "out"
    writer, reader = iii.channel()
    with (
        iii.start("channel", "write", writer, stdin=subprocess.PIPE) as writing,
        iii.start("channel", "read", reader, "-o", str(path), option) as reading,
    ):
        assert writing.stdin is not None
        writing.stdin.write(b"new")
        writing.stdin.flush()
        while sizes_in(path.parent, reading) != [3]:
            time.sleep(0.005)
        path.write_bytes(b"faster") if option == "--no-clobber" else path.mkdir()
        writing.stdin.close()
        err = reading.stderr.read() if reading.stderr else b""
        assert (reading.wait(), err.count(b"\n"), said in err) == (10, 1, True), err
    assert list(path.parent.iterdir()) == [path]
    assert path.is_dir() or path.read_bytes() == b"faster"


@pytest.mark.parametrize(("options", "left"), [((), []), *in_ci((("--keep-partial",), ["out.part"]))])
def test_a_file_that_the_disk_does_not_take_is_none_and_not_confirmed(
    iii: Program, tmp_path: Path, options: tuple[str, ...], left: list[str]
) -> None:
    customize(iii, NO_DISK)
    (tmp_path / "folder").mkdir()
    wrote, read = transfer(iii, ["--receipt"], ["-o", str(tmp_path / "folder" / "out"), *options], b"x")
    assert (wrote.status, read.status, "Input/output error" in read.err) == (9, 10, True)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == left


@pytest.mark.ci
def test_notices_that_nobody_can_take_change_nothing(iii: Program) -> None:
    iii.refs("x")
    done = iii.shell(
        """
        iii channel write env:x_w --no-seal <<<hello 2>/dev/full &
        iii channel read env:x_r 2>/dev/full && wait $!
        """
    )
    assert (done.returncode, done.stdout) == (0, b"hello\n")


# Terminals, and pipes that others have too


def test_a_terminal_gets_no_binary_data(iii: Program) -> None:
    iii.refs("x")
    with iii.start("channel", "write", "env:x_w", "--", "printf", r"plain text\0\33]0;evil\7"):
        status, screen = on_screen(iii, "channel", "read", "env:x_r")
    assert (status, screen.startswith("plain text"), "evil" in screen) == (10, True, False)
    assert "NUL byte" in screen


def test_one_ctrl_d_ends_what_is_typed_and_the_terminal_stays_as_it_was(iii: Program) -> None:
    controller, terminal = os.openpty()
    writer, reader = iii.channel()
    with (
        iii.start("channel", "write", writer, stdin=terminal) as writing,
        iii.start("channel", "read", reader) as reading,
    ):
        os.write(controller, b"typed\n\x04")
        assert reading.communicate()[0] == b"typed\n"
        assert (writing.wait(), os.get_blocking(terminal)) == (0, True)
    os.close(controller)
    os.close(terminal)


def test_a_pipe_that_others_have_too_stays_blocking(iii: Program) -> None:
    ours, theirs = os.pipe()
    writer, reader = iii.channel()
    with (
        iii.start("channel", "write", writer, stdin=ours) as writing,
        iii.start("channel", "read", reader) as reading,
    ):
        os.write(theirs, b"x")
        assert reading.stdout is not None
        assert reading.stdout.read(1) == b"x"
        assert os.get_blocking(ours)
        os.close(theirs)
        assert (writing.wait(), reading.wait()) == (0, 0)
    os.close(ours)


# COMMANDs


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("#!/no/such/interpreter\n", "its first line names an interpreter"),
        *in_ci(("neither a script nor a program", "Exec format error")),
    ],
)
def test_a_command_that_cannot_be_started_is_126(
    iii: Program, tmp_path: Path, content: str, said: str
) -> None:
    (tmp_path / "tool").write_text(content)
    (tmp_path / "tool").chmod(0o755)
    iii.refs("x")
    refused(iii.run("channel", "write", "env:x_w", "--", str(tmp_path / "tool")), 126, said)


def test_a_command_is_looked_for_as_a_shell_does(iii: Program, tmp_path: Path) -> None:
    for folder, mode in (("first", 0o644), ("second", 0o755)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tool").write_text(f"#!/bin/sh\necho {folder}\n")
        (tmp_path / folder / "tool").chmod(mode)
    iii.env["PATH"] = f"{tmp_path}/first:{tmp_path}/second:{iii.env['PATH']}"
    assert transfer(iii, ["--", "tool"])[1].out == b"second\n"


@pytest.mark.ci
@pytest.mark.parametrize(
    ("before", "command", "status", "said"),
    [
        ('trap "" CHLD', "exit 5", 11, b"sh exited 5"),
        ("", "kill -USR1 $$", 11, b"sh was killed by SIGUSR1"),
        ("", "kill -STOP $$", 124, b"--timeout"),
    ],
)
def test_how_a_command_ends_is_told(
    iii: Program, before: str, command: str, status: int, said: bytes
) -> None:
    """Though SIGCHLD is ignored, and though it has stopped itself."""
    iii.refs("x")
    options = "--timeout 500ms" if status == 124 else ""
    done = iii.shell(
        f"{before}\niii channel read env:x_r 2>/dev/null &\n"
        f"iii channel write env:x_w {options} -- sh -c '{command}'"
    )
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr

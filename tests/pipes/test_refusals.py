"""What cannot work ends with its exit code and one line; an end that was never opened is still good."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.marks import in_ci
from tests.support.program import Program, refused, running_engine

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = "ws://127.0.0.1:9"


@pytest.mark.parametrize(
    ("status", "words", "said"),
    [
        (2, ("channel", "read", "rubbish"), "iii: not a channel ref; expected @NAME"),
        (5, ("channel", "read", "iii:read:nope:nope"), "no such channel"),
        (5, ("channel", "read", "@nope"), "no saved ref"),
        (3, ("channel", "create", "--url", NOWHERE), "iii engine run"),
        *in_ci(
            (2, ("channel", "write", ""), "is empty; is a variable not set?"),
            (2, ("channel", "read", "iii:write:a:b"), "writer"),
            (2, ("channel", "write", "iii:read:a:b"), "reader"),
            (5, ("channel", "write", "iii:write:nope:nope"), "no such channel"),
            (2, ("channel", "create", "--buffer", "0x"), "--buffer"),
            (2, ("channel", "create", "--nope"), "no such option"),
            (2, ("nope",), "No such command"),
            (2, ("trigger", "f", "--json", "{"), "--json"),
            (3, ("channel", "read", "iii:read:a:b", "--url", NOWHERE), "connection refused"),
            (2, ("channel", "create", "--url", "http://x"), "ws://"),
            (2, ("functions", "info", "b\udcff"), "not UTF-8"),
            (2, ("serve", "b\udcff", "--", "cat"), "not UTF-8"),
            (2, ("functions", "ls", "--key", "k"), "--key needs --cert"),
            (2, ("functions", "ls", "--namespace", " "), "--namespace is blank"),
            (2, ("functions", "ls", "--color", "blue"), "auto, always or never"),
            (2, ("channel", "read", "--url", NOWHERE), "set III_READER"),
        ),
    ],
)
def test_one_line_and_its_exit_code(iii: Program, status: int, words: tuple[str, ...], said: str) -> None:
    refused(iii.run(*words), status, said)


def test_a_root_option_may_stand_behind_the_subcommand(iii: Program) -> None:
    refused(
        iii.run("channel", "create", "--connect-timeout", "2s", "--url", NOWHERE), 3, "connection refused"
    )


def test_a_refused_command_leaves_the_ref_unused(iii: Program, tmp_path: Path) -> None:
    iii.ok("channel", "create", "--save", "x")
    refused(iii.run("channel", "write", "@x", "nofile"), 10, "nofile")
    refused(iii.run("channel", "write", "@x", "--", "nosuchcommand"), 127, "nosuchcommand")
    refused(iii.run("channel", "read", "@x", "-o", "/nodir/f"), 10, "/nodir")
    reading = iii.start("channel", "read", "@x")
    iii.ok("channel", "write", "@x", stdin=b"still good")
    assert reading.communicate(timeout=20)[0] == b"still good"


@pytest.mark.ci
def test_each_refusal_leaves_the_ref_unused(iii: Program, tmp_path: Path) -> None:
    iii.ok("channel", "create", "--save", "x")
    refused(iii.run("channel", "write", "@x", "--digest", "md5"), 2, "--digest")
    refused(iii.run("channel", "write", "@x", "--", str(tmp_path)), 126)
    refused(iii.run("channel", "read", "@x", "--", "nosuchcommand"), 127, "nosuchcommand")
    refused(iii.run("channel", "read", "@x/writer"), 2, "writer")
    assert "unused" in iii.ok("ref", "ls")
    reading = iii.start("channel", "read", "@x")
    iii.ok("channel", "write", "@x", stdin=b"still good")
    assert reading.communicate(timeout=20)[0] == b"still good"


@pytest.mark.parametrize("ref", ["iii:read:nope:nope", *in_ci(f"iii:read:nope:nope --url {NOWHERE}")])
def test_a_read_that_never_began_leaves_nothing_behind(iii: Program, tmp_path: Path, ref: str) -> None:
    assert iii.run("channel", "read", *ref.split(), "-o", str(tmp_path / "out")).returncode in (3, 5)
    assert list(tmp_path.iterdir()) == []


def test_a_used_ref_is_said_to_be_used(iii: Program, tmp_path: Path) -> None:
    writer, reader = iii.channel()
    reading = iii.start("channel", "read", reader)
    iii.ok("channel", "write", writer, stdin=b"x")
    reading.communicate(timeout=20)
    refused(iii.run("channel", "read", reader, "-o", str(tmp_path / "out")), 6, "already used")
    assert not (tmp_path / "out").exists()
    refused(iii.run("channel", "write", writer, stdin=b"x"), 6, "already taken")


def test_a_full_disk(iii: Program) -> None:
    writer, reader = iii.channel()
    with open("/dev/full", "wb") as full:
        reading = iii.start("channel", "read", reader, stdout=full)
    iii.run("channel", "write", writer, stdin=b"x" * 100_000)
    assert reading.communicate(timeout=20)[1].count(b"\n") == 1
    assert reading.returncode == 10


@pytest.mark.ci
def test_an_engine_that_is_killed_half_way(tmp_path: Path) -> None:
    with running_engine() as (url, engine):
        iii = Program(tmp_path, url)
        writer, reader = iii.channel()
        reading = iii.start("channel", "read", reader)
        writing = iii.start("channel", "write", writer, stdin=subprocess.PIPE)
        assert writing.stdin is not None
        assert reading.stdout is not None
        writing.stdin.write(b"half")
        writing.stdin.flush()
        assert reading.stdout.read(4) == b"half"
        engine.kill()
        engine.wait()
        for process in (reading, writing):
            _, err = process.communicate(timeout=20)
            assert (process.returncode, err.count(b"\n")) == (3, 1), err


@pytest.mark.parametrize("signum", [signal.SIGTERM, *in_ci(signal.SIGINT)])
def test_a_signal_aborts_the_stream(iii: Program, signum: int) -> None:
    writer, reader = iii.channel()
    reading = iii.start("channel", "read", reader)
    writing = iii.start("channel", "write", writer, stdin=subprocess.PIPE)
    assert writing.stdin is not None
    assert reading.stdout is not None
    writing.stdin.write(b"half")
    writing.stdin.flush()
    assert reading.stdout.read(4) == b"half"
    writing.send_signal(signum)
    writing.wait(10)
    _, err = reading.communicate(timeout=20)
    assert writing.returncode == 128 + signum
    assert (reading.returncode, b"aborted by the writer: interrupted" in err) == (7, True), err
    writing.stdin.close()
    assert writing.stderr is not None
    writing.stderr.close()
    assert writing.stdout is not None
    writing.stdout.close()


def test_head_ends_quietly(iii: Program) -> None:
    iii.refs("x")
    done = iii.shell(
        """
        head -c 200M /dev/zero | iii channel write env:x_w 2> writer.err & writer=$!
        iii channel read env:x_r | head -c 10 | od -An -tx1
        echo ${PIPESTATUS[@]}
        wait $writer; echo $?
        """
    )
    assert done.stdout.decode().split("\n")[1:] == ["141 0 0", "9", ""]
    assert done.stderr == b""
    done = iii.shell("iii functions ls --all | head -1 >/dev/null; echo ${PIPESTATUS[0]}")
    assert done.stdout in (b"0\n", b"141\n")
    assert done.stderr == b""


def test_a_stalled_pipe_does_not_stop_the_clock(iii: Program) -> None:
    """The reader's own stdout is full; its --timeout fires all the same."""
    writer, reader = iii.channel()
    writing = iii.start("channel", "write", writer, "/dev/zero", "--timeout", "10s")
    reading = iii.start("channel", "read", reader, "--timeout", "1s")
    assert reading.wait(8) == 124
    assert writing.wait(10) == 9
    for process in (reading, writing):
        process.communicate()


@pytest.mark.parametrize("verb", ["read", *in_ci("write")])
def test_a_saved_ref_of_an_engine_that_is_gone_says_whose_it_is(tmp_path: Path, verb: str) -> None:
    with running_engine() as (gone, _):
        Program(tmp_path, gone).ok("channel", "create", "--save", "x")
    done = Program(tmp_path, NOWHERE).run("channel", verb, "@x")
    refused(done, 3, f"no engine at {gone}", "@x is of that engine", "create --save x --force")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("channel write - -", "stdin carries data"),
        ("trigger f --in b --out o --result ./o", "same FILE"),
        *in_ci(
            ("channel write - /dev/stdin", "stdin carries data"),
            ("--token-file - channel write {writer}", "cannot both be read from standard input"),
            ("--token-file - channel tee {writer}", "cannot both be read from standard input"),
            ("trigger f --in /dev/stdin --json -", "cannot both read standard input"),
            ("trigger f --in b --out /dev/stdout --result -", "cannot both write to standard output"),
            ("channel read {reader} -o same --messages ./same", "same FILE"),
        ),
    ],
)
def test_stdin_and_files_are_used_once(iii: Program, tmp_path: Path, words: str, said: str) -> None:
    writer, reader = iii.channel()
    (tmp_path / "b").write_bytes(b"")
    done = iii.shell(f"cd {tmp_path}; echo text | iii {words.format(writer=writer, reader=reader)}")
    refused(done, 2, said)


@pytest.mark.parametrize("words", ["channel read iii:read:a:b", *in_ci("trigger no::such --out o")])
def test_old_messages_are_lost_only_to_a_stream(iii: Program, tmp_path: Path, words: str) -> None:
    (tmp_path / "m").write_text("precious")
    done = iii.shell(f"cd {tmp_path}; iii {words} --messages m")
    assert done.returncode == 5
    assert (tmp_path / "m").read_text() == "precious"


@pytest.mark.ci
def test_a_device_takes_data_and_messages(iii: Program) -> None:
    iii.refs("x")
    done = iii.shell(
        """
        echo data | iii channel write env:x_w &
        iii channel read env:x_r -o /dev/null --messages /dev/null
        """
    )
    assert done.returncode == 0, done

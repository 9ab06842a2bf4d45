"""What a seal is good for, with the installed program: producers, consumers, receipts, modes, outputs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.marks import in_ci
from tests.support.processes import group_runs
from tests.support.program import Child

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program

Ended = tuple[int, bytes, str]


def both(
    iii: Program,
    write: list[str],
    read: list[str],
    stdin: bytes = b"",
) -> tuple[Ended, Ended]:
    """Run a writer and a reader to their ends: exit status, stdout, stderr of each."""
    iii.refs("x")
    reading = iii.start("channel", "read", "env:x_r", *read)
    wrote = iii.run("channel", "write", "env:x_w", *write, stdin=stdin)
    out, err = reading.communicate(timeout=20)
    return (wrote.returncode, wrote.stdout, wrote.stderr.decode()), (reading.returncode, out, err.decode())


# A COMMAND that produces


def test_a_producer_that_succeeds_ends_the_stream(iii: Program) -> None:
    wrote, read = both(iii, ["--", "printf", "hello"], [])
    assert wrote == (0, b"", "")
    assert read == (0, b"hello", "")


@pytest.mark.parametrize(
    ("script", "said"),
    [("printf half; exit 3", "sh exited 3"), *in_ci(("printf half; kill -9 $$", "SIGKILL"))],
)
def test_a_producer_that_fails_aborts_the_stream(iii: Program, script: str, said: str) -> None:
    wrote, read = both(iii, ["--", "sh", "-c", script], [])
    assert wrote[0] == 11
    assert said in wrote[2]
    assert (read[0], read[1]) == (7, b"half")
    assert "aborted by the writer: sh" in read[2]
    assert "printf" not in read[2], "a reason names the command's first word only"


def test_exit_code_passes_the_producers_own_on(iii: Program) -> None:
    wrote, read = both(iii, ["--exit-code", "--", "sh", "-c", "exit 42"], [])
    assert (wrote[0], read[0]) == (42, 7)


@pytest.mark.ci
def test_a_producer_that_is_gone_before_we_look_cannot_be_seen(iii: Program) -> None:
    """Documented in `iii help seals`, next to the form that can be."""
    iii.refs("x")
    done = iii.shell("iii channel read env:x_r & (false | iii channel write env:x_w); wait")
    assert done.returncode == 0
    assert "gone before we looked (`false |`)" in iii.ok("help", "seals")


def test_a_signal_leaves_no_producer_behind(iii: Program, tmp_path: Path) -> None:
    iii.refs("x")
    reading = iii.start("channel", "read", "env:x_r")
    script = f"echo $$ > {tmp_path}/pid; printf ready; sleep 60 & wait"
    writing = iii.start("channel", "write", "env:x_w", "--", "sh", "-c", script)
    assert reading.stdout is not None
    assert reading.stdout.read(5) == b"ready"
    writing.send_signal(signal.SIGTERM)
    writing.communicate(timeout=20)
    assert writing.returncode == 143
    assert (reading.communicate(timeout=20)[1].count(b"aborted"), reading.returncode) == (1, 7)
    assert not group_runs(int((tmp_path / "pid").read_text()))


# A COMMAND that consumes


def test_a_consumer_gets_the_stream_and_its_end(iii: Program) -> None:
    wrote, read = both(iii, [], ["--", "wc", "-c"], stdin=b"x" * 100_000)
    assert (wrote[0], read[0], read[1].strip()) == (0, 0, b"100000")


def test_a_consumer_that_fails_is_11(iii: Program) -> None:
    _, read = both(iii, [], ["--", "sh", "-c", "cat >/dev/null; exit 4"], stdin=b"x")
    assert (read[0], "sh exited 4" in read[2]) == (11, True)


@pytest.mark.ci
def test_exit_code_passes_the_consumers_own_on(iii: Program) -> None:
    _, read = both(iii, [], ["--exit-code", "--", "sh", "-c", "cat >/dev/null; exit 4"], stdin=b"x")
    assert read[0] == 4


def test_a_consumer_that_had_enough_is_a_success(iii: Program) -> None:
    iii.refs("x")
    writing = iii.start("channel", "write", "env:x_w", "/dev/zero")
    read = iii.run("channel", "read", "env:x_r", "--stop-early", "--", "head", "-c", "10")
    assert (read.returncode, read.stdout) == (0, bytes(10))
    writing.communicate(timeout=20)
    assert writing.returncode == 9


@pytest.mark.parametrize(("options", "got"), [((), None), *in_ci((("--deliver-partial",), b"half"))])
def test_a_consumer_never_sees_a_truncated_stream_end(
    iii: Program, tmp_path: Path, options: tuple[str, ...], got: bytes | None
) -> None:
    """It is stopped before its stdin is closed, so it cannot take half for the whole."""
    consumer = [*options, "--", "sh", "-c", f"cat > {tmp_path}/got; cp {tmp_path}/got {tmp_path}/done"]
    wrote, read = both(iii, ["--", "sh", "-c", "printf half; exit 1"], consumer)
    assert (wrote[0], read[0]) == (11, 7)
    done = tmp_path / "done"
    assert (done.read_bytes() if done.exists() else None) == got


# Receipts


def test_a_receipt_comes_after_the_rename(iii: Program, tmp_path: Path) -> None:
    target = tmp_path / "db.sql"
    wrote, read = both(iii, ["--receipt", "--", "printf", "data"], ["-o", str(target)])
    assert (wrote, read) == ((0, b"", ""), (0, b"", ""))
    assert target.read_bytes() == b"data"


def test_a_receipt_of_a_consumer_that_ended_well(iii: Program) -> None:
    wrote, read = both(iii, ["--receipt"], ["--", "cat"], stdin=b"data")
    assert (wrote[0], read[0], read[1]) == (0, 0, b"data")


@pytest.mark.ci
def test_a_receipt_of_a_consumer_that_failed(iii: Program) -> None:
    wrote, read = both(iii, ["--receipt"], ["--", "sh", "-c", "cat >/dev/null; exit 1"], stdin=b"data")
    assert (wrote[0], read[0]) == (9, 11)
    assert "sh exited 1" in wrote[2]


def test_an_output_that_is_a_pipe_is_not_confirmed(iii: Program) -> None:
    wrote, read = both(iii, ["--receipt"], [], stdin=b"data")
    assert (wrote[0], read[:2]) == (9, (0, b"data"))
    assert "pipe" in wrote[2]


@pytest.mark.ci
def test_a_full_disk_is_told_to_the_writer(iii: Program) -> None:
    wrote, read = both(iii, ["--receipt"], ["-o", "/dev/full"], stdin=b"data" * 100_000)
    assert (wrote[0], read[0]) == (9, 10)
    assert "no space left" in wrote[2].lower()


@pytest.mark.ci
def test_a_reader_killed_after_the_last_byte_confirms_nothing(iii: Program) -> None:
    iii.refs("x")
    reading = iii.start("channel", "read", "env:x_r")
    writing = iii.start("channel", "write", "env:x_w", "--receipt", stdin=subprocess.PIPE)
    assert writing.stdin is not None
    assert reading.stdout is not None
    writing.stdin.write(b"data")
    writing.stdin.flush()
    assert reading.stdout.read(4) == b"data"
    reading.kill()
    reading.communicate()
    writing.communicate(timeout=20)
    assert writing.returncode == 9


def test_a_reader_that_is_not_ours_sends_no_receipt(iii: Program, tmp_path: Path) -> None:
    """Stands in for one: a reader of the same channel that never answers."""
    iii.refs("x")
    wrote = iii.run("channel", "write", "env:x_w", "--receipt", "--receipt-timeout", "500ms", stdin=b"data")
    assert wrote.returncode == 9
    assert b"only `iii` readers send receipts" in wrote.stderr


# Modes


def test_lines_are_messages_and_come_out_as_lines(iii: Program) -> None:
    text = "one\n\n\r\nlast without newline ä".encode()
    wrote, read = both(iii, ["--lines"], [], stdin=text)
    assert (wrote[0], read[:2]) == (0, (0, text + b"\n"))


@pytest.mark.ci
@pytest.mark.parametrize(("mode", "shown"), [("--text", b"ab"), ("--jsonl", b'{"text":"a"}\n{"text":"b"}\n')])
def test_messages_come_out_in_other_modes(iii: Program, mode: str, shown: bytes) -> None:
    _, read = both(iii, ["--lines"], [mode], stdin=b"a\nb\n")
    assert read[:2] == (0, shown)


@pytest.mark.ci
def test_a_very_long_line_arrives(iii: Program) -> None:
    line = b"x" * 9_000_000 + b"\n"
    wrote, read = both(iii, ["--lines"], [], stdin=line)
    assert (wrote[0], read[0]) == (0, 0), (wrote[2], read[2])
    assert read[1] == line


def test_jsonl_loses_nothing(iii: Program) -> None:
    frames = b'{"text":"\xc3\xa4"}\n{"base64":"AP8="}\n{"text":""}\n{"base64":""}\n'
    wrote, read = both(iii, ["--jsonl"], [], stdin=frames)
    assert (wrote[0], read[:2]) == (0, (0, frames))


@pytest.mark.ci
def test_invalid_utf8_is_refused_and_the_reader_hears_of_it(iii: Program) -> None:
    wrote, read = both(iii, ["--lines"], [], stdin=b"good\nbad \xff\n")
    assert (wrote[0], read[0]) == (10, 7)
    assert "line 2 is not UTF-8" in wrote[2]


@pytest.mark.parametrize(
    ("write", "read", "status"),
    [([], ["--lines"], 2), *in_ci((["--no-seal"], ["--lines"], 8))],
    ids=["sealed", "foreign bytes"],
)
def test_a_mode_that_contradicts_the_stream_is_refused_before_anything_is_written(
    iii: Program, write: list[str], read: list[str], status: int
) -> None:
    _, ended = both(iii, write, read, stdin=b"a line\n")
    assert ended[:2] == (status, b"")


@pytest.mark.ci
def test_bytes_beside_the_lines_of_a_foreign_stream_are_not_lost_in_silence(iii: Program) -> None:
    mixed = b'{"text":"a line"}\n{"base64":"AAAA"}\n'
    _, read = both(iii, ["--no-seal", "--jsonl"], ["--lines"], stdin=mixed)
    assert read[:2] == (0, b"a line\n")
    assert "3 bytes beside the messages were not shown" in read[2]


# Verdicts


def test_an_unsealed_stream_is_said_to_be_unverified(iii: Program) -> None:
    wrote, read = both(iii, ["--no-seal"], [], stdin=b"data")
    assert (wrote[0], read[:2]) == (0, (0, b"data"))
    assert (read[2].count("\n"), "could not be verified" in read[2]) == (1, True)


@pytest.mark.ci
def test_a_seal_may_be_required(iii: Program) -> None:
    _, read = both(iii, ["--no-seal"], ["--require-seal"], stdin=b"data")
    assert read[0] == 7


@pytest.mark.parametrize(("options", "status"), [([], 6), *in_ci((["--allow-empty"], 0))])
def test_nothing_at_all_is_6_unless_it_is_allowed(iii: Program, options: list[str], status: int) -> None:
    _, read = both(iii, ["--no-seal"], options)
    assert read[0] == status


def test_sha256_is_the_digest_that_sha256sum_prints(iii: Program) -> None:
    wrote, read = both(iii, ["--digest", "sha256"], [], stdin=b"data")
    assert (wrote[0], read[:2]) == (0, (0, b"data"))


# Outputs


def test_a_link_is_followed(iii: Program, tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    _, read = both(iii, [], ["-o", str(tmp_path / "link")], stdin=b"new")
    assert read[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


@pytest.mark.parametrize(("device", "status"), [("/dev/null", 0), *in_ci(("/dev/full", 10))])
def test_an_output_that_is_a_device(iii: Program, device: str, status: int) -> None:
    assert both(iii, [], ["-o", device], stdin=b"x" * 100_000)[1][0] == status


@pytest.mark.ci
def test_an_output_that_is_a_fifo(iii: Program, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with Child(["cat", str(tmp_path / "fifo")], stdout=subprocess.PIPE) as cat:
        assert both(iii, [], ["-o", str(tmp_path / "fifo")], stdin=b"through")[1][0] == 0
        assert cat.communicate(timeout=10)[0] == b"through"


@pytest.mark.parametrize(("options", "left"), [((), []), (("--keep-partial",), ["out.part"])])
def test_a_failed_stream_leaves_no_file_but_the_part_that_was_asked_for(
    iii: Program, tmp_path: Path, options: tuple[str, ...], left: list[str]
) -> None:
    broken = ["--", "sh", "-c", "printf half; exit 1"]
    assert both(iii, broken, ["-o", str(tmp_path / "out"), *options])[1][0] == 7
    found = sorted(path for path in tmp_path.iterdir() if path.name.startswith(("out", ".out")))
    assert [(path.name, path.read_bytes()) for path in found] == [(name, b"half") for name in left]


def test_no_clobber_is_refused_before_the_end_is_opened(iii: Program, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"precious")
    iii.ok("channel", "create", "--save", "y")
    refused = iii.run("channel", "read", "@y", "-o", str(target), "--no-clobber")
    assert (refused.returncode, target.read_bytes()) == (10, b"precious")
    rows = json.loads(iii.ok("ref", "ls", "--json"))
    assert [row["state"] for row in rows if row["name"] == "y"] == ["unused"]

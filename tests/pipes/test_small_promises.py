"""What was called a bug, blamed the wrong side, or lost something on the way."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.marks import in_ci
from tests.support.program import Program, running_engine
from tests.support.scripted_engine import ScriptedEngine
from tests.support.scripted_engine import running_engine as running_scripted

if TYPE_CHECKING:
    from pathlib import Path

scripted = pytest.fixture(running_scripted)


@pytest.mark.parametrize(
    "words",
    [
        "channel read @x -o out",
        *in_ci("trigger f --in /dev/null --out out", "context add y ws://h --cacert ca"),
    ],
)
def test_a_deleted_working_directory(iii: Program, words: str) -> None:
    iii.ok("channel", "create", "--save", "x")
    gone = iii.home / "gone"
    gone.mkdir()
    done = iii.shell(f"cd {gone}; rmdir {gone}; iii {words}")
    said = b"iii: the working directory was deleted; cd to another one\n"
    assert (done.returncode, done.stdout, done.stderr) == (10, b"", said)
    assert "unused" in iii.ok("ref", "ls")


def test_a_line_that_is_no_text_is_an_error_of_its_own(tmp_path: Path, scripted: ScriptedEngine) -> None:
    scripted.functions["f"] = lambda data: data
    iii = Program(tmp_path, scripted.url)
    done = iii.run("trigger", "f", "--each", "-P4", stdin=b'1\n2\n"\xff"\n"\xc3\xa4"\n\xff')
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert [answer["ok"] for answer in answers] == [True, True, False, True, False]
    assert [answer["result"] for answer in answers if answer["ok"]] == [1, 2, "ä"]
    assert answers[2]["error"]["code"] == "INVALID_INPUT"
    assert answers[2]["error"]["message"].startswith("line 3: ")
    assert done.stderr == b"iii: 2 of 5 calls failed\n"


@pytest.mark.ci
def test_an_engine_that_dies_before_the_receipt_is_not_the_reader(tmp_path: Path) -> None:
    with running_engine() as (url, engine):
        iii = Program(tmp_path, url)
        writer, reader = iii.channel()
        consumer = ("sh", "-c", "cat > /dev/null; echo got >&2; sleep 60")
        with iii.start("channel", "read", reader, "--", *consumer) as reading:
            with iii.start("channel", "write", writer, "--receipt", stdin=subprocess.PIPE) as writing:
                assert reading.stderr is not None
                assert writing.stdin is not None
                assert writing.stderr is not None
                writing.stdin.write(b"data")
                writing.stdin.close()
                assert reading.stderr.readline() == b"got\n"
                line = b""
                while b"the reader has not confirmed it" not in line:
                    writing.send_signal(signal.SIGUSR1)
                    line = writing.stderr.readline()
                engine.kill()
                said = writing.stderr.read().splitlines()[-1]
                assert writing.wait(10) == 3
            reading.terminate()
    assert said == (
        b"iii: the engine was lost before the reader confirmed; "
        b"the data was handed to the engine; whether it was kept is unknown"
    )


def test_short_options_may_stand_together(iii: Program) -> None:
    writer, reader = iii.channel()
    out = iii.home / "out"
    with iii.start("channel", "read", reader, "-qo", str(out), "--progress", "always") as reading:
        iii.ok("channel", "write", writer, "-q", "--", "echo", "-qo")  # behind `--` nothing is ours
        assert reading.communicate(timeout=20) == (b"", b"")
    assert out.read_bytes() == b"-qo\n"
    assert "engine::workers::list" in iii.ok("-qn", "default", "functions", "ls", "--all")
    done = iii.run("channel", "read", "-qx", "iii:read:a:b")
    assert (done.returncode, b"no such option -x" in done.stderr) == (2, True)


def test_a_global_option_stands_in_front_of_its_command_or_behind_it(iii: Program) -> None:
    """The last of two wins; one without its value takes no word of the command for it."""
    nowhere = "ws://127.0.0.1:9"
    for words in (
        f"functions ls --url {nowhere}",
        f"functions --url={nowhere} ls",
        f"--url {nowhere} functions ls",
    ):
        done = iii.run(*words.split())
        assert done.returncode == 3
        assert nowhere.encode() in done.stderr
    assert iii.run("--url", nowhere, "functions", "ls", "--url", iii.env["III_URL"]).returncode == 0
    done = iii.run("functions", "ls", "--url")
    assert (done.returncode, done.stderr) == (2, b"iii: Option '--url' requires an argument\n")
    assert iii.run("--url", "", "functions", "ls").returncode == 2
    assert iii.run("functions", "ls", "--url", "").returncode == 2


def test_the_demo_says_equal_only_of_what_is(tmp_path: Path) -> None:
    """Whatever the filter made of it, with an exit code of 0."""
    iii, sent = Program(tmp_path), tmp_path / "sent"
    sent.write_bytes(b"x" * 100_000)
    done = iii.run("demo", str(sent))
    assert (done.returncode, done.stdout.count(b"Equal. 100000 bytes")) == (0, 1), done.stderr
    false = tmp_path / "gzip"
    false.write_text("#!/bin/sh\nexec cat\n")
    false.chmod(0o755)
    done = iii.run("demo", str(sent), env={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert (done.returncode, b"Equal" in done.stdout) == (8, False)
    assert done.stderr == b"iii: not equal: what came back is not what was sent\n"

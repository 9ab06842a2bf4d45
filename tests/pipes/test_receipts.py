"""A reader that owes a receipt says on the way that it lives and how much it has."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.pipes.slow_link import slow_link

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program

DATA = hashlib.shake_256(b"receipts").digest(400_000)


@pytest.mark.ci
def test_a_slow_reader_has_the_time_that_it_needs(iii: Program, tmp_path: Path) -> None:
    """All is sent long before the reader has it: its words count, not our close."""
    (tmp_path / "in").write_bytes(DATA)
    writer, reader = iii.channel()
    iii.env["III_TEST_LIMITS"] = "receipt_beat=0.3"
    with slow_link(iii.env["III_URL"], None, 100e3) as url:
        writing = iii.start(
            "channel", "write", writer, str(tmp_path / "in"), "--receipt", "--receipt-timeout", "1s"
        )
        iii.env |= {"III_URL": url, "III_READER": reader}
        done = iii.run("channel", "read", "-o", str(tmp_path / "out"))
        _, said = writing.communicate(timeout=20)
    assert (done.returncode, done.stderr, writing.returncode, said) == (0, b"", 0, b"")
    assert (tmp_path / "out").read_bytes() == DATA


def test_a_reader_that_cannot_confirm_says_so_at_once(iii: Program) -> None:
    iii.ok("channel", "create", "--save", "x")
    note = b"iii: note: the reader cannot confirm this stream (its output is a pipe)\n"
    with iii.start("channel", "read", "@x/reader", stdout=subprocess.PIPE) as reading:
        writing = iii.start("channel", "write", "@x/writer", "--receipt", stdin=subprocess.PIPE)
        assert writing.stderr is not None
        assert writing.stderr.readline() == note, "before anything was written"
        writing.communicate(b"all of it", timeout=10)
        assert reading.stdout is not None
        assert reading.stdout.read() == b"all of it"
        assert (writing.returncode, reading.wait(10)) == (9, 0)


def test_an_idle_writer_with_a_receipt_knows_at_once_that_its_reader_has_gone(iii: Program) -> None:
    iii.env["III_TEST_LIMITS"] = "receipt_beat=0.2"
    iii.ok("channel", "create", "--save", "x")
    reading = iii.start("channel", "read", "@x/reader", "-o", "/dev/null")
    words = ("channel", "write", "@x/writer", "--receipt", "--progress", "json")
    with iii.start(*words, stdin=subprocess.PIPE) as writing:
        assert writing.stdin is not None
        assert writing.stderr is not None
        writing.stdin.write(b"a word")
        writing.stdin.flush()
        while json.loads(writing.stderr.readline()).get("confirmed", 0) == 0:
            pass
        reading.kill()
        began = time.monotonic()
        last = json.loads(writing.stderr.read().splitlines()[-1])
        assert writing.wait(10) == last["exit"] == 9
        assert time.monotonic() - began < 5, "long before a beat"
    reading.communicate()


def test_progress_is_what_is_confirmed(iii: Program, tmp_path: Path) -> None:
    """Without a reader nothing is, however much the engine has taken."""
    (tmp_path / "in").write_bytes(DATA)
    writer, _ = iii.channel()
    words = ("channel", "write", writer, str(tmp_path / "in"), "--receipt", "--progress", "always")
    writing = iii.start(*words)
    assert writing.stderr is not None
    line = writing.stderr.readline().decode()
    assert re.search(r"391 KiB sent, 0 B of 391 KiB confirmed, ", line), line
    assert "%" not in line.replace("0%", "")
    writing.kill()
    writing.communicate()

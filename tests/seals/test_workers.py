"""Workers with seals beside the installed `iii`: what a handler sees, what the caller and the reader see."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.seals.conftest import running
from tests.support.marks import in_ci
from tests.support.scripted_writer import silent_writer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.program import Program

    Start = Callable[[str, str], subprocess.Popen[bytes]]

HALF = "cmd:seq 100000 | head -c 300000; exit 3"


def result_of(done: subprocess.CompletedProcess[bytes]) -> Any:
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout or done.stderr)


def fails(done: subprocess.CompletedProcess[bytes], status: int, *words: str) -> None:
    said = done.stderr.decode()
    assert done.returncode == status, said
    assert all(word in said for word in words), said


# A producer that fails


def test_without_seals_a_handler_succeeds_on_half_of_the_data(
    iii: Program, worker: str, tmp_path: Path
) -> None:
    result = tmp_path / "result"
    done = iii.run("trigger", f"{worker}::plain_count", "--in", HALF, "--result", str(result))
    assert (done.returncode, json.loads(result.read_text())["bytes"]) == (11, 300_000)


@pytest.mark.parametrize("function", ["count", *in_ci("keep")])
def test_with_them_it_raises(iii: Program, worker: str, tmp_path: Path, function: str) -> None:
    result = tmp_path / "result"
    done = iii.run("trigger", f"{worker}::{function}", "--in", HALF, "--result", str(result))
    fails(done, 11, "seq exited 3")
    assert not result.exists()


# What goes in


@pytest.mark.parametrize("size", [0, 1_000_003, *in_ci(1, 65_537)])
def test_a_whole_stream_is_handed_on(iii: Program, worker: str, tmp_path: Path, size: int) -> None:
    (tmp_path / "in").write_bytes(os.urandom(size))
    done = iii.run("trigger", f"{worker}::count", "--in", str(tmp_path / "in"))
    assert result_of(done) == {"bytes": size, "messages": [], "mode": "bytes"}


def test_messages_come_in_order(iii: Program, worker: str) -> None:
    words = ("--in", "-", "--lines", "--seal")
    done = iii.run("trigger", f"{worker}::count", *words, stdin="a\n\nä😀\n".encode())
    assert result_of(done) == {"bytes": 0, "messages": ["a", "", "ä😀"], "mode": "lines"}


def test_records_are_verified(iii: Program, worker: str) -> None:
    records = b'{"text":"a"}\n{"base64":"AP8="}\n{"base64":""}\n{"text":""}\n'
    done = iii.run("trigger", f"{worker}::count", "--in", "-", "--jsonl", "--seal", stdin=records)
    assert result_of(done) == {"bytes": 2, "messages": ["a", ""], "mode": "records"}


def test_a_writer_without_a_seal_is_refused_unless_it_is_accepted(iii: Program, worker: str) -> None:
    words = ("trigger", f"{worker}::count", "--in", "-", "--no-seal")
    fails(iii.run(*words, stdin=b"data"), 1, "no seal")
    accepted = iii.run(*words, 'options={"unsealed":"accept"}', stdin=b"data")
    assert result_of(accepted) == {"bytes": 4, "messages": [], "mode": None}


@pytest.mark.ci
def test_nothing_at_all_is_an_error(iii: Program, worker: str) -> None:
    fails(iii.run("trigger", f"{worker}::count", "--in", "-", "--no-seal", stdin=b""), 1, "othing")


@pytest.mark.ci
def test_leaving_early_lets_the_writer_go(iii: Program, worker: str, tmp_path: Path) -> None:
    """Nothing was verified, and nothing is said to be wrong: the handler had enough."""
    with (tmp_path / "in").open("wb") as file:
        file.truncate(256 << 20)
    done = iii.run("trigger", f"{worker}::count", "leave_after=1", "--in", str(tmp_path / "in"))
    assert 0 < result_of(done)["bytes"] < 256 << 20


def test_a_writer_that_falls_silent_is_given_up(iii: Program, worker: str) -> None:
    iii.refs("x")
    with silent_writer(iii.url, iii.env["x_w"]):
        option = 'options={"peer_timeout":1}'
        done = iii.run("trigger", f"{worker}::count", option, "--ref", "stdin=env:x_r")
        fails(done, 1, "vanished: 1 s of silence")


def test_a_writer_that_ends_without_a_close_frame_is_noticed(iii: Program, worker: str) -> None:
    iii.refs("x")
    with silent_writer(iii.url, iii.env["x_w"]):
        pass
    fails(iii.run("trigger", f"{worker}::count", "--ref", "stdin=env:x_r"), 1, "truncated")


# What comes out


@pytest.mark.parametrize("size", [0, 1_000_003, *in_ci(1, 65_537)])
def test_a_sealed_writer_is_verified(iii: Program, worker: str, tmp_path: Path, size: int) -> None:
    words = ("--out", str(tmp_path / "out"), "--require-seal")
    iii.ok("trigger", f"{worker}::produce", f"bytes={size}", *words)
    assert (tmp_path / "out").read_bytes() == bytes(size)


def test_a_plain_writer_is_not(iii: Program, worker: str, tmp_path: Path) -> None:
    words = ("--out", str(tmp_path / "out"), "--require-seal")
    fails(iii.run("trigger", f"{worker}::plain_produce", "bytes=1000", *words), 7, "seal")


@pytest.mark.parametrize(
    ("mode", "items", "expected"),
    [
        *in_ci(
            ("lines", [["text", "a"], ["text", ""], ["text", "ä"]], "a\n\nä\n"),
            ("text", [["text", "to"], ["text", "ken"]], "token"),
            (
                "records",
                [["text", "a"], ["binary", "00ff"], ["binary", ""], ["text", ""]],
                '{"text":"a"}\n{"base64":"AP8="}\n{"base64":""}\n{"text":""}\n',
            ),
        ),
        ("bytes", [["text", "said"], ["binary", "61"], ["text", "more"], ["binary", "62"]], "ab"),
    ],
)
@pytest.mark.parametrize("digest", ["xxh3_128", *in_ci("sha256")])
def test_each_mode_is_followed(
    iii: Program, worker: str, mode: str, items: list[list[str]], expected: str, digest: str
) -> None:
    iii.refs("x")
    reading = iii.start("channel", "read", "env:x_r", "--require-seal")
    payload = json.dumps({"mode": mode, "items": items, "options": {"digest": digest}})
    iii.ok("trigger", f"{worker}::produce", "--json", payload, "--ref", "stdout=env:x_w")
    out, err = reading.communicate(timeout=20)
    assert (reading.returncode, out.decode()) == (0, expected), err


def test_what_a_handler_raises_aborts_its_stream(iii: Program, worker: str) -> None:
    iii.refs("x")
    reading = iii.start("channel", "read", "env:x_r")
    words = ("bytes=5", "fail=the table is gone", "--ref", "stdout=env:x_w")
    fails(iii.run("trigger", f"{worker}::produce", *words), 1, "the table is gone")
    out, err = reading.communicate(timeout=20)
    assert (reading.returncode, out) == (7, bytes(5))
    assert b"aborted by the writer: " in err
    assert b"the table is gone" in err


@pytest.mark.ci
def test_an_abort_does_not_wait_for_a_reader_that_stands_still(iii: Program, worker: str) -> None:
    iii.refs("x")
    reading = iii.start("channel", "read", "env:x_r", "--", "sh", "-c", "sleep 10; cat > /dev/null")
    began = time.monotonic()
    words = ("trigger", f"{worker}::produce", f"bytes={1 << 30}", "within=1", "--ref", "stdout=env:x_w")
    fails(iii.run(*words), 1)
    assert time.monotonic() - began < 8
    _, err = reading.communicate(timeout=30)
    assert reading.returncode == 7, err


def test_a_cut_input_of_a_filter_aborts_its_output(iii: Program, worker: str, tmp_path: Path) -> None:
    words = ("--in", HALF, "--out", str(tmp_path / "out"), "--require-seal")
    fails(iii.run("trigger", f"{worker}::upper", *words), 11)
    assert not (tmp_path / "out").exists()
    whole = iii.run("trigger", f"{worker}::upper", "--in", "-", "--out", "-", "--require-seal", stdin=b"abc")
    assert (whole.returncode, whole.stdout) == (0, b"ABC"), whole.stderr


def test_an_end_that_was_taken_is_an_error(iii: Program, worker: str) -> None:
    iii.refs("x")
    reading = iii.start("channel", "read", "env:x_r")
    iii.ok("channel", "write", "env:x_w", stdin=b"data")
    reading.communicate(timeout=20)
    done = iii.run("trigger", f"{worker}::produce", "bytes=3", "--ref", "stdout=env:x_w")
    fails(done, 1)


@pytest.mark.ci
@pytest.mark.timeout(300)
def test_a_worker_that_is_killed_half_way_is_noticed(iii: Program, start: Start, language: str) -> None:
    """At ten moments. Its handler has answered and writes on: a call that still ran would end with 9."""
    for moment in range(10):
        prefix = f"{language}-killed-{moment}"
        with running(start, iii, prefix) as process:
            words = ("ticks=100000", "every=0.001", "later=true", "--out", "-", "--require-seal")
            calling = iii.start("trigger", f"{prefix}::produce", *words)
            assert calling.stdout is not None
            assert calling.stdout.read(2) == b"0\n"
            time.sleep(0.05 * moment)
            process.kill()
            _, err = calling.communicate(timeout=20)
        assert (moment, calling.returncode, b"truncated" in err) == (moment, 7, True), err


@pytest.mark.ci
def test_a_reader_notices_while_the_call_runs(iii: Program, start: Start, language: str) -> None:
    iii.refs("x")
    reading = iii.start("channel", "read", "env:x_r", "--require-seal")
    with running(start, iii, f"{language}-read") as process:
        words = ("ticks=100000", "every=0.001", "--ref", "stdout=env:x_w")
        calling = iii.start("trigger", f"{language}-read::produce", *words)
        assert reading.stdout is not None
        assert reading.stdout.read(2) == b"0\n"
        process.kill()
        _, err = reading.communicate(timeout=20)
        calling.communicate(timeout=20)
    assert (reading.returncode, b"truncated" in err, calling.returncode) == (7, True, 9), err


# Receipts


@pytest.mark.parametrize(
    ("function", "payload", "status", "said"),
    [
        ("keep", (), 0, ""),
        ("keep", ("fail=no space",), 9, "no space"),
        *in_ci(
            ("keep", ("leave_after=1",), 9, "stopped early"),
            ("count", (), 9, "verified, not confirmed"),
            ("plain_count", (), 9, ""),
        ),
    ],
)
def test_a_receipt(
    iii: Program, worker: str, function: str, payload: tuple[str, ...], status: int, said: str
) -> None:
    iii.refs("x")
    words = ("channel", "write", "env:x_w", "--receipt", "--receipt-timeout", "2s", "-")
    writing = iii.start(*words, stdin=subprocess.PIPE)
    calling = iii.start("trigger", f"{worker}::{function}", *payload, "--ref", "stdin=env:x_r")
    _, err = writing.communicate(b"x" * 100_000, timeout=20)
    _, call_err = calling.communicate(timeout=20)
    assert (writing.returncode, said in err.decode()) == (status, True), (err, call_err)
    assert calling.returncode == (1 if any(word.startswith("fail") for word in payload) else 0), call_err


@pytest.mark.ci
def test_a_slow_commit_beats(iii: Program, worker: str) -> None:
    """The writer waits 2 seconds from the reader's last word, and the reader says one each half second."""
    iii.refs("x")
    iii.env["III_TEST_LIMITS"] = "receipt_beat=0.5"
    words = ("channel", "write", "env:x_w", "--receipt", "--receipt-timeout", "2s", "-")
    writing = iii.start(*words, stdin=subprocess.PIPE)
    calling = iii.start("trigger", f"{worker}::keep", "commit=4", "--ref", "stdin=env:x_r")
    _, err = writing.communicate(b"data", timeout=20)
    calling.communicate(timeout=20)
    assert (writing.returncode, calling.returncode) == (0, 0), err

"""Counts that a peer sends are no more than a file can have: others are refused, and never a bug of ours."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from websockets.sync.client import connect

from tests.pipes.foreign import end_target, foreign_stream, foreign_worker, seal_frame
from tests.support.marks import in_ci
from tests.support.program import Program
from tests.support.scripted_engine import ScriptedEngine, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HUGE, TOO_MUCH = 10**4000, 1 << 63
OPEN = {"mode": "bytes", "digest": "xxh3_128"}
FIGURES = {"bytes": 3, "digest": "aa", "messages": 0, "messages_digest": "bb"}
SEALED = "iii: not what the writer sealed: "


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedEngine]:
    yield from running_engine()


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("open", OPEN | {"size": HUGE}, "the open frame's size is not a count of bytes"),
        *in_ci(
            ("open", OPEN | {"size": TOO_MUCH}, "the open frame's size is not a count of bytes"),
            ("open", OPEN | {"size": -1}, "the open frame's size is not a count of bytes"),
            ("beat", {"bytes": HUGE}, "a malformed beat frame"),
            ("close", FIGURES | {"bytes": HUGE}, "a malformed close frame: "),
            ("close", FIGURES | {"messages": TOO_MUCH}, "a malformed close frame: "),
            ("abort", {"code": HUGE, "reason": "x"}, "a malformed abort frame"),
            ("abort", {"code": -HUGE, "reason": "x"}, "a malformed abort frame"),
        ),
        ("close", FIGURES | {"\ud800": 1}, "a malformed close frame: "),
    ],
    ids=[
        "size",
        "size 2**63",
        "size -1",
        "beat",
        "close bytes",
        "close messages",
        "code",
        "code below 0",
        "key",
    ],
)
def test_a_seal(iii: Program, kind: str, body: dict[str, Any], said: str) -> None:
    opening: list[str | bytes] = [seal_frame("open", OPEN), b"abc"] if kind != "open" else []
    with foreign_stream(iii, *opening, seal_frame(kind, body), b"more" * 100_000) as reader:
        done = iii.run("channel", "read", reader, "--progress", "json", "-o", str(iii.home / "out"))
    error = json.loads(done.stderr.splitlines()[-2])
    assert (done.returncode, error["exit"]) == (8, 8)
    assert f"iii: {error['message']}".startswith(SEALED + said)
    assert len(done.stderr) < 1000


@pytest.mark.ci
def test_the_longest_file_is_no_fault(iii: Program) -> None:
    opening = seal_frame("open", OPEN | {"size": TOO_MUCH - 1})
    with foreign_stream(iii, opening, b"abc") as reader:
        done = iii.run("channel", "read", reader, "--progress", "always")
    assert (done.returncode, done.stdout) == (7, b"abc")  # it never said that it was done


@pytest.mark.ci
@pytest.mark.parametrize(
    "receipt",
    [
        {"committed": True, "bytes": HUGE},
        {"committed": False, "code": HUGE, "reason": "full"},
        {"committed": "yes", "\ud800": 1},
    ],
)
def test_a_receipt(iii: Program, receipt: dict[str, Any]) -> None:
    url = iii.env["III_URL"]
    writer, reader = iii.channel()

    def confirm() -> None:
        with connect(url + end_target(reader), compression=None) as stream:
            opened = json.loads(stream.recv())["iii"]["open"]
            with connect(url + end_target(opened["receipt"]), compression=None) as answer:
                for frame in stream:
                    if isinstance(frame, str) and '"close"' in frame:
                        break
                answer.send(json.dumps({"iii": {"v": 1, "receipt": FIGURES | receipt}}))

    confirming = threading.Thread(target=confirm)
    confirming.start()
    done = iii.run("channel", "write", writer, "--receipt", stdin=b"abc")
    confirming.join()
    assert (done.returncode, done.stderr) == (8, b"iii: the reader's receipt is malformed\n")


@pytest.mark.ci
@pytest.mark.parametrize("size", [-1, TOO_MUCH])
def test_a_size_beside_a_ref(iii: Program, size: int) -> None:
    _, kind, channel, key = iii.channel()[1].split(":")
    ref = {"direction": kind, "channel_id": channel, "access_key": key}
    with foreign_worker(iii.env["III_URL"], give=lambda data: {"content": ref, "size": size}):
        done = iii.run("trigger", "give", "--read", "content", "--result", "/dev/null")
    assert (done.returncode, done.stdout) == (8, b"")
    assert done.stderr == b"iii: the size beside the ref in the result is not a count of bytes\n"


@pytest.mark.parametrize("code", [256, *in_ci(-1, 1e300, 0.5)])
def test_an_exit_code_of_a_result(scripted: ScriptedEngine, tmp_path: Path, code: int) -> None:
    """It was 0: a success."""
    scripted.functions["exits"] = lambda data: {"exit_code": code}
    done = Program(tmp_path, scripted.url).run("trigger", "exits", "--exit-code", "--format", "jsonl")
    assert (done.returncode, json.loads(done.stdout)) == (8, {"exit_code": code})
    said = "the `exit_code` of the result is not an exit code from 0 to 255"
    assert done.stderr.decode() == f"iii: {said}\n"


@pytest.mark.ci
@pytest.mark.parametrize("far", [10**308, -(10**308)])
def test_times_and_limits_in_listings(scripted: ScriptedEngine, tmp_path: Path, far: int) -> None:
    """What cannot be is not shown."""
    span = {"name": "s", "trace_id": "1" * 32, "start_time_unix_nano": far, "end_time_unix_nano": -far}
    details = {"max_buffer_bytes": far, "open_channels": far, "max_channels": -far}
    health = {"timestamp": far, "components": {"embedded": {"details": details}}}
    scripted.functions |= {
        "engine::workers::list": lambda data: {"workers": [{"name": "w", "connected_at_ms": far}]},
        "engine::traces::tree": lambda data: {"roots": [span]},
        "engine::health::check": lambda data: health,
    }
    iii = Program(tmp_path, scripted.url)
    for words in ("workers ls", f"trace show {'1' * 32}", "doctor"):
        done = iii.run(*words.split())
        assert done.returncode in (0, 1), done.stderr
        assert b"bug in iii" not in done.stderr
        assert b"00000000" not in done.stdout

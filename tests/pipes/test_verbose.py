"""`--verbose`: each connection, each request and each close, a line each, and no key in any."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.program import Program
from tests.support.tls import OPENSSL, Authority, tls_proxy

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

TOKEN = "t0ken-that-nobody-may-see"
STEP = re.compile(r"#(\d+) (.*)")


@pytest.fixture
def place(iii: Program) -> Program:
    """The engine's URL holds a token, and more that may be one."""
    iii.env["III_URL"] += f"/?token={TOKEN}&x={TOKEN}"
    iii.env["III_TOKEN"] = TOKEN
    return iii


def steps(said: str, *secrets: str) -> list[str]:
    """What was told, without the numbers; every connection has an end."""
    assert not [secret for secret in (TOKEN, *secrets) if secret in said], said
    found = [match.groups() for line in said.splitlines() if (match := STEP.fullmatch(line))]
    for number in {number for number, _ in found}:
        of_one = [text for other, text in found if other == number]
        assert re.fullmatch(r"connected to ws://localhost:\d+ \(127\.0\.0\.1:\d+\)", of_one[0]), of_one
        assert of_one[1].startswith("GET /"), of_one
        assert re.fullmatch(r"closed after \d+ ms", of_one[-1]), of_one
        assert sum(text.startswith("closed") for text in of_one) == 1, of_one
    return [text for _, text in found if not text.startswith(("connected", "closed"))]


def said_by(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode().replace("iii: ", "")


def test_each_connection_and_request_of_a_command_is_told(place: Program, tmp_path: Path) -> None:
    asked = "GET /?token=***&x=***: 101"
    place.ok("channel", "create", "--save", "x")
    channel, key = place.ok("ref", "show", "x", "--end", "reader").strip().split(":")[2:]
    end = f"GET /ws/channels/{channel}?token=***&x=***&key=***&dir="
    with place.start("channel", "read", "@x", "-o", str(tmp_path / "out"), "--verbose") as reading:
        written = place.run("--verbose", "channel", "write", "@x", "--receipt", stdin=b"data")
        read = reading.communicate(timeout=20)[1].decode().replace("iii: ", "")
    receipt = [step for step in steps(said_by(written), key) if channel not in step]
    assert steps(said_by(written), key)[:3] == [asked, "call engine::channels::create", f"{end}write: 101"]
    assert [step.rpartition("&")[2] for step in receipt] == ["x=***: 101", receipt[1], "dir=read: 101"]
    assert [step.rpartition("&")[2] for step in steps(read, key)] == ["dir=read: 101", "dir=write: 101"]
    gone = place.run("channel", "read", f"iii:read:{channel}:{key}", "--verbose")
    assert steps(said_by(gone), key)[0] in (f"{end}read: 101", f"{end}read: 404")


@pytest.mark.ci
@pytest.mark.parametrize(
    ("words", "called"),
    [
        ("channel create", "engine::channels::create"),
        ("functions ls --all", "engine::functions::list"),
        ("workers ls", "engine::workers::list"),
        ("trigger engine::workers::list", "engine::workers::list"),
        ("trigger engine::workers::list --void", "engine::workers::list"),
    ],
)
def test_each_call_of_a_command_is_told(place: Program, words: str, called: str) -> None:
    done = place.run(*words.split(), "--verbose")
    assert done.returncode == 0, done.stderr
    assert steps(said_by(done)) == ["GET /?token=***&x=***: 101", f"call {called}"]


def test_each_step_of_doctor_is_told(place: Program) -> None:
    told = steps(said_by(place.run("doctor", "--verbose")))
    assert told[:3] == [
        "GET /?token=***&x=***: 101",
        "call engine::health::check",
        "call engine::channels::create",
    ]
    assert [step.rpartition("&")[2] for step in told[3:]] == ["dir=write: 101", "dir=read: 101"]


def test_nothing_is_told_unasked(place: Program) -> None:
    assert place.run("workers", "ls").stderr == b""
    assert place.run("workers", "ls", "--verbose", "-q").stderr == b""


@pytest.mark.ci
def test_a_service_tells_what_it_promises_and_answers(place: Program) -> None:
    asked = "GET /?token=***&x=***: 101"
    serving = place.start(
        "serve", "s::env", "--stdin", "none", "--stdout", "result", "--verbose", "--", "env"
    )
    place.ok("functions", "wait", "s::env")
    place.ok("trigger", "s::env")
    serving.send_signal(signal.SIGTERM)
    _out, err = serving.communicate(timeout=20)
    assert serving.returncode == 0
    said = err.decode().replace("iii: ", "")
    register = ["call engine::workers::register", "register s::env"]
    assert steps(said) == [asked, *register, "answer for s::env", "unregister s::env"]


@pytest.mark.ci
def test_each_line_is_an_event_where_programs_read(place: Program) -> None:
    writer, reader = place.channel()
    with place.start("channel", "read", reader, "--verbose", "--progress", "json") as reading:
        place.ok("channel", "write", writer, stdin=b"data")
        _, err = reading.communicate(timeout=20)
    events = [json.loads(line) for line in err.splitlines()]
    said = "\n".join(event["message"] for event in events if event["event"] == "notice")
    assert [step[:17] for step in steps(said, reader.rpartition(":")[2])] == ["GET /ws/channels/"]
    assert events[-1]["event"] == "done"


def test_a_connection_that_is_tried_again_is_told(tmp_path: Path) -> None:
    iii = Program(tmp_path, f"ws://127.0.0.1:9/?token={TOKEN}")
    for words in (("functions", "ls"), ("channel", "read", "iii:read:a:k3y")):
        done = iii.run(*words, "--verbose", "--wait-engine", "200ms")
        assert done.returncode == 3
        *tried, last = said_by(done).splitlines()
        assert set(tried) == {"no engine at ws://127.0.0.1:9 (connection refused); trying again"}
        assert "iii engine run" in last
        assert TOKEN not in said_by(done)


@pytest.mark.ci
@pytest.mark.skipif(OPENSSL is None, reason="needs the openssl command")
def test_what_protects_a_connection_is_told(engine_url: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    with tls_proxy(engine_url, authority.sign("localhost", "DNS:localhost")) as url:
        iii = Program(tmp_path, url)
        for words in (("channel", "create"), ("channel", "read", "iii:read:a:k3y")):
            said = said_by(iii.run(*words, "--verbose", "--cacert", str(authority.file)))
            assert re.match(rf"#1 connected to {url} \(127\.0\.0\.1:\d+, TLSv1\.[23]\)\n", said), said

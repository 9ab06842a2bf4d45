"""An engine that wants a token: with it everything works, without it is exit 4 with one line."""

from __future__ import annotations

import secrets
import subprocess
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.support.listening import REFUSALS, gatekeeper
from tests.support.marks import in_ci, in_ci_but
from tests.support.program import III, Program, refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMANDS = {
    "call": ("trigger", "f", "a=1"),
    "channel create": ("channel", "create"),
    "ls": ("functions", "ls"),
    "wait": ("functions", "wait", "f", "--timeout", "3s"),
    "serve": ("serve", "f", "--", "cat"),
    "streams": ("trigger", "f", "--in", "-", "--out", "-"),
}
ENDS = {
    "read": ("channel", "read", "iii:read:a:b"),
    "write": ("channel", "write", "iii:write:a:b"),
}


@pytest.mark.parametrize(
    ("command", "refusal"),
    in_ci_but(
        [("channel create", "401"), ("serve", "error frame"), ("streams", "403")], product(COMMANDS, REFUSALS)
    ),
)
def test_a_worker_connection_that_is_refused(tmp_path: Path, refusal: str, command: str) -> None:
    with gatekeeper(refusal) as url:
        done = Program(tmp_path, url).run(*COMMANDS[command], env={"III_TOKEN": "sk-wrong-token"})
    refused(done, 4)
    assert b"sk-" not in done.stderr


@pytest.mark.parametrize(
    ("end", "refusal"), in_ci_but([("read", "401"), ("write", "403")], product(ENDS, ("401", "403")))
)
def test_a_channel_end_that_is_refused(tmp_path: Path, refusal: str, end: str) -> None:
    with gatekeeper(refusal) as url:
        refused(Program(tmp_path, url).run(*ENDS[end]), 4, "III_TOKEN")


class Guarded:
    """`iii engine run` with a token, its log, and programs with and without it."""

    def __init__(self, tmp_path: Path) -> None:
        self.token = secrets.token_hex(16)
        self.token_file = tmp_path / "token"
        self.token_file.write_text(self.token + "\n")
        self.log = tmp_path / "log"
        options = ["--port", "0", "--print-url", "--token-file", str(self.token_file), "--log", "json"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [III, "engine", "run", "--host", "0.0.0.0", *options], stdout=subprocess.PIPE, stderr=log
            )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().decode().strip()
        self.outside = Program(tmp_path / "outside", self.url)
        self.inside = Program(tmp_path / "inside", self.url)
        self.inside.env["III_TOKEN_FILE"] = str(self.token_file)

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=10)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    engine = Guarded(tmp_path)
    try:
        yield engine
    finally:
        engine.stop()


def test_who_has_the_token_and_who_has_only_a_ref(guarded: Guarded) -> None:
    refused(guarded.outside.run("channel", "create"), 4, "401")
    refused(guarded.outside.run("channel", "create", env={"III_TOKEN": "wrong"}), 4, "401")
    created = guarded.inside.ok("channel", "create", "--token-file", str(guarded.token_file))
    writer, reader = (line.split("\t")[1] for line in created.splitlines())
    refused(guarded.outside.run("channel", "read", reader, env={"III_TOKEN": "wrong"}), 4, "401")
    reading = guarded.outside.start("channel", "read", reader)
    guarded.inside.ok("channel", "write", writer, stdin=b"by the key alone")
    assert reading.communicate(timeout=20)[0] == b"by the key alone"
    guarded.stop()
    log = guarded.log.read_text()
    assert log.count('"request refused"') == 3
    assert guarded.token not in log
    assert all(token.rsplit(":", 1)[1] not in log for token in (writer, reader))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--host 0.0.0.0", "--token-file"),
        *in_ci(
            ("--host ::", "--token-file"),
            ("--allow-origin *", "--allow-origin"),
            ("--allow-host a:1", "--allow-host"),
        ),
    ],
)
def test_what_an_engine_does_not_start_with(tmp_path: Path, words: str, said: str) -> None:
    refused(Program(tmp_path).run("engine", "run", "--port", "0", *words.split()), 2, said)


@pytest.mark.ci
def test_an_empty_token_is_no_token(tmp_path: Path) -> None:
    refused(Program(tmp_path).run("engine", "run", "--port", "0", "--token-file", "/dev/null"), 2, "no token")

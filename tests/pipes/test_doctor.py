"""`iii doctor` on healthy, sick and missing engines, homes and programs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.hostile_worker import DANGEROUS
from tests.support.listening import gatekeeper
from tests.support.program import III, Program, running_engine
from tests.support.screen import on_screen
from tests.support.scripted_engine import ScriptedEngine
from tests.support.scripted_engine import running_engine as running_scripted
from tests.support.tls import OPENSSL, Authority, tls_proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = {
    *("exit", "findings", "engine", "auth", "namespace", "program", "path", "contexts", "saved_refs"),
}
TRICKS = "1\x1b[2J\x1b]52;c;aGk=\x07\nfresh\r\u202e\x9b1m"


@pytest.fixture
def scripted() -> Iterator[ScriptedEngine]:
    yield from running_scripted()


def examined(
    iii: Program, *words: str, env: dict[str, str] | None = None
) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Exit status, the document, and its findings by check. Whatever was found, the form is kept."""
    done = iii.run("doctor", "--json", *words, env=env)
    assert done.stderr.count(b"\n") == (1 if done.returncode else 0), done.stderr
    document = json.loads(done.stdout)
    assert document.keys() == KEYS
    assert document["exit"] == done.returncode
    findings = document["findings"]
    assert all(finding["advice"] for finding in findings if finding["level"] != "ok")
    assert all(finding["found"] for finding in findings)
    return done.returncode, document, {finding["check"]: finding for finding in findings}


def test_an_engine_that_is_well(iii: Program) -> None:
    status, document, findings = examined(iii, "-n", "orders")
    assert status == 0
    assert document["engine"]["url"] == iii.env["III_URL"]
    assert document["engine"]["source"] == "III_URL"
    assert document["engine"]["embedded"] is True
    assert 0 < document["engine"]["connect_ms"] < 1000
    assert 0 < document["engine"]["channel_ms"] < 1000
    assert document["namespace"] == {"name": "orders", "source": "--namespace"}
    assert document["auth"] == {"token_source": None, "headers": [], "accepted": True}
    assert findings["engine"]["level"] == findings["channel"]["level"] == "ok"


def test_piped_it_is_a_line_for_each_finding(iii: Program) -> None:
    rows = [line.split("\t") for line in iii.ok("doctor").splitlines()]
    assert {len(row) for row in rows} == {4}
    assert {row[0] for row in rows} <= {"ok", "note", "warning"}


def test_nobody_there_is_3_and_all_else_is_still_looked_at(tmp_path: Path) -> None:
    iii = Program(tmp_path, "ws://127.0.0.1:9")
    status, document, findings = examined(iii)
    assert status == 3
    assert document["engine"]["reached"] is False
    assert "iii engine run" in findings["engine"]["advice"]
    assert findings["program"]["level"] == "ok"
    shown = on_screen(iii, "doctor")[1].splitlines()
    assert shown[0].startswith("problem  engine      no engine at ws://127.0.0.1:9 (connection refused)")
    assert shown[1] == " " * 21 + f"-> {findings['engine']['advice']}"


def test_a_guarded_engine_is_4_and_says_what_to_set(tmp_path: Path) -> None:
    with gatekeeper("401") as url:
        iii = Program(tmp_path, url)
        status, document, findings = examined(iii)
        assert (status, document["auth"]["accepted"]) == (4, False)
        assert "III_TOKEN" in findings["auth"]["advice"]
        status, document, findings = examined(iii, env={"III_TOKEN": "sk-hunter2"})
        assert (status, document["auth"]["token_source"]) == (4, "III_TOKEN")
        assert "hunter2" not in json.dumps(document)


@pytest.mark.ci
def test_the_token_of_a_guarded_engine_opens_it(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef\n")
    with running_engine("--token-file", str(token)) as (url, _):
        status, document, findings = examined(Program(tmp_path, url), "--token-file", str(token))
    assert (status, document["auth"]["token_source"]) == (0, "--token-file")
    assert "let us in" in findings["auth"]["found"]


@pytest.mark.ci
def test_a_hostile_engine_moves_no_cursor(tmp_path: Path, scripted: ScriptedEngine) -> None:
    scripted.functions["engine::health::check"] = lambda data: {
        "version": TRICKS,
        "status": TRICKS,
        "timestamp": 1,
        "components": {"embedded": {"details": {"open_channels": 10**30, "max_channels": 1}}},
    }
    iii = Program(tmp_path, scripted.url)
    status, shown = on_screen(iii, "doctor")
    assert status == 0
    assert DANGEROUS.search(shown) is None


@pytest.mark.ci
def test_what_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    """A port that takes connections and never answers: a firewall, a stopped process."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        iii = Program(tmp_path, f"ws://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        status, _, _ = examined(iii, "--connect-timeout", "1h", "--wait-engine", "1h")
        assert status == 3
        assert time.monotonic() - began < 8


@pytest.mark.ci
def test_a_token_file_that_hangs_is_not_waited_for(iii: Program) -> None:
    os.mkfifo(iii.home / "token")
    status, document, findings = examined(iii, "--token-file", str(iii.home / "token"))
    assert (status, document["engine"]) == (10, None)
    assert "took too long" in findings["settings"]["found"]


@pytest.mark.parametrize("home", ["/nonexistent", "/dev/null", "/proc", ""])
def test_a_home_that_is_none_is_no_problem(iii: Program, home: str) -> None:
    env = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"), home)
    assert examined(iii, env=env)[0] == 0


def test_damaged_files_are_10_and_named(iii: Program) -> None:
    for folder, name in (("contexts", "bad.toml"), ("refs", "bad.json")):
        (iii.home / "iii-cli" / folder).mkdir(parents=True, mode=0o700)
        (iii.home / "iii-cli" / folder / name).write_text("\x01")
    status, document, findings = examined(iii)
    assert status == 10
    assert "bad.toml" in document["contexts"]["problems"][0]
    assert "bad.json" in findings["saved refs"]["found"]


@pytest.mark.parametrize(
    ("env", "status"),
    [({"III_URL": "http://x"}, 2), ({"III_CONTEXT": "gone"}, 2), ({"III_TOKEN_FILE": "/nonexistent"}, 10)],
    ids=["url", "context", "token file"],
)
def test_settings_that_cannot_be_meant_are_a_finding(iii: Program, env: dict[str, str], status: int) -> None:
    found, document, findings = examined(iii, env=env)
    assert (found, document["engine"]) == (status, None)
    assert findings["settings"]["level"] == "problem"
    assert findings["program"]["level"] == "ok"


@pytest.mark.ci
def test_it_tells_which_program_wins(iii: Program, tmp_path: Path) -> None:
    theirs = tmp_path / "bin" / "iii"
    theirs.parent.mkdir()
    theirs.write_text("#!/bin/sh\nexit 1\n")
    theirs.chmod(0o755)
    ours = str(Path(III).parent)
    env = {"PATH": f"{theirs.parent}{os.pathsep}{ours}"}
    _, document, findings = examined(iii, env=env)
    assert [program["ours"] for program in document["path"]["iii"]] == [False, True]
    assert findings["path"]["level"] == "note"
    assert "iii-cli" in findings["path"]["advice"]
    env = {"PATH": f"{ours}{os.pathsep}{theirs.parent}"}
    assert str(theirs) in examined(iii, env=env)[2]["path"]["found"]
    assert examined(iii, env={"PATH": "/nonexistent"})[2]["path"]["level"] == "warning"


@pytest.mark.ci
@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_a_certificate_of_nobody_says_what_to_set(engine_url: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    with tls_proxy(engine_url, authority.sign("localhost", "DNS:localhost")) as url:
        iii = Program(tmp_path, url)
        status, _, findings = examined(iii, "--cacert", str(authority.file))
        assert status == 0
        assert findings["channel"]["level"] == "ok"
        status, _, findings = examined(iii)
        assert status == 3
        assert "--cacert" in findings["engine"]["advice"]


@pytest.mark.ci
def test_the_examples_of_its_help_run(iii: Program) -> None:
    assert iii.shell("iii doctor").returncode == 0
    if shutil.which("jq"):
        done = iii.shell("iii doctor --json | jq -r '.findings[] | select(.level != \"ok\").advice'")
        assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = Program(tmp_path, f"ws://127.0.0.1:{silent.getsockname()[1]}").start("doctor")
        silent.settimeout(10)
        connection, _ = silent.accept()
        connection.recv(1)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=2)
        connection.close()
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in error

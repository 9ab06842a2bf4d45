"""A COMMAND gets our environment without the token; `--pass-token` hands it over. `doctor` repeats none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.keys import JSON, KEY, READER, TOKEN, WRITER
from tests.support.marks import in_ci
from tests.support.scripted_engine import ScriptedEngine, running_engine

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program

PASSED_ON = {
    "III_TOKEN": f"{TOKEN}-1",
    "PROD_TOKEN": f"{TOKEN}-2",  # the context's
}
HIDDEN = (*PASSED_ON.values(), f"{TOKEN}-3", f"{TOKEN}-4")


@pytest.fixture
def place(iii: Program) -> Program:
    """Every way to name a token at once."""
    iii.ok("context", "add", "prod", "wss://engine.example", "--token", "env:PROD_TOKEN")
    iii.env |= PASSED_ON | {"III_CONTEXT": "prod", "III_TOKEN_FILE": "/some/where", "OTHER": "kept"}
    iii.env["III_URL"] += f"/?token={TOKEN}-3&tenant=blue&x-api-key={TOKEN}-4"
    return iii


def environments(iii: Program, folder: Path, *options: str) -> dict[str, dict[str, str]]:
    """Of a COMMAND of each kind, by the command that starts it."""
    found = {}
    out = folder / "seen"
    writer, reader = iii.channel()
    tail = (*options, "--", "sh", "-c", f"env > {out}; cat > {folder / 'written'}")
    with iii.start("channel", "read", reader, *tail) as reading:
        iii.ok("channel", "write", writer, *options, "--", "env")
        assert reading.wait(10) == 0
    found["read"], found["write"] = out.read_text(), (folder / "written").read_text()
    with iii.start("serve", "s::env", *options, "--", "sh", "-c", "env; cat") as serving:
        iii.ok("functions", "wait", "s::env")
        sent = iii.home / "sent"
        words = ("--in", f"cmd:env | tee {sent}", "--out", f"cmd:env > {out}; cat", "--result", "/dev/null")
        found["serve"] = iii.ok("trigger", "s::env", *words, *options)
        serving.terminate()
    found["trigger --out"], found["trigger --in"] = out.read_text(), sent.read_text()
    found["serve"] = found["serve"].removesuffix(found["trigger --in"])
    return {
        name: dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        for name, text in found.items()
    }


def test_a_command_does_not_inherit_the_token(place: Program, tmp_path: Path) -> None:
    for name, environment in environments(place, tmp_path).items():
        assert not PASSED_ON.keys() & environment.keys(), name
        assert environment["III_URL"] == place.env["III_URL"].partition("?")[0] + "?tenant=blue", name
        kept = {key: environment[key] for key in ("III_CONTEXT", "III_TOKEN_FILE", "OTHER")}
        assert kept == {"III_CONTEXT": "prod", "III_TOKEN_FILE": "/some/where", "OTHER": "kept"}, name
        assert not [value for value in environment.values() if TOKEN in value], name


@pytest.mark.ci
def test_a_command_inherits_the_token_where_that_was_said(place: Program, tmp_path: Path) -> None:
    wanted = {**PASSED_ON, "III_URL": place.env["III_URL"]}
    for name, environment in environments(place, tmp_path, "--pass-token").items():
        assert {key: environment.get(key) for key in wanted} == wanted, name


@pytest.mark.parametrize(
    "words", [f"channel write {WRITER}", *in_ci(f"channel read {READER}", "trigger f --out x")]
)
def test_without_a_command_there_is_nobody_to_pass_it_to(iii: Program, words: str) -> None:
    done = iii.run(*words.split(), "--pass-token")
    assert (done.returncode, done.stderr) == (2, b"iii: --pass-token needs a COMMAND\n")


def doctored(words: tuple[str, ...], env: dict[str, str], *, quick: bool) -> Any:
    """A command line of doctor with a secret in it."""
    name = " ".join((*words, *env)).replace(KEY, "KEY").replace(TOKEN, "TOKEN")
    return pytest.param(words, env, id=name, marks=() if quick else pytest.mark.ci)


@pytest.mark.parametrize(
    ("words", "env"),
    [
        doctored((), {"III_WRITER": WRITER, "III_READER": READER, "III_TOKEN": TOKEN}, quick=True),
        doctored((), {"III_CONTEXT": READER}, quick=False),
        doctored((), {"III_NAMESPACE": READER, "III_TOKEN_FILE": JSON}, quick=False),
        doctored((), {"III_TOKEN_FILE": TOKEN}, quick=False),
        doctored((), {"III_TOKEN_FILE": READER}, quick=False),
        doctored((), {"III_URL": f"ws://127.0.0.1:9/{READER}?token={TOKEN}"}, quick=False),
        doctored((), {"III_URL": READER}, quick=False),
        doctored((), {"XDG_STATE_HOME": f"/tmp/{READER}"}, quick=False),
        doctored(("--context", READER), {}, quick=False),
        doctored(("--context", JSON), {}, quick=False),
        doctored(("-n", READER), {}, quick=False),
        doctored(("--header", f"@{READER}"), {}, quick=False),
        doctored(("--token-file", READER), {}, quick=False),
        doctored(("--token-file", TOKEN), {}, quick=False),
        doctored(("--connect-timeout", READER), {}, quick=False),
        doctored(("--url", f"ws://127.0.0.1:9/?token={TOKEN}"), {}, quick=False),
        doctored((READER,), {}, quick=False),
    ],
)
def test_doctor_repeats_no_secret(iii: Program, words: tuple[str, ...], env: dict[str, str]) -> None:
    for option in ((), ("--json",)):
        done = iii.run("doctor", *option, *words, env=env)
        said = (done.stdout + done.stderr).decode()
        assert said
        assert KEY not in said
        assert TOKEN not in said


scripted = pytest.fixture(running_engine)


def test_doctor_repeats_no_secret_that_an_engine_says_back(iii: Program, scripted: ScriptedEngine) -> None:
    scripted.functions["engine::health::check"] = lambda data: {
        "version": f"1 {TOKEN} {TOKEN}-2 {READER}",
        "status": f"{TOKEN}-2 {JSON}",
    }
    env = {"III_URL": f"{scripted.url}/?token={TOKEN}-2", "III_TOKEN": TOKEN}
    for option in ((), ("--json",)):
        said = iii.run("doctor", *option, env=env).stdout.decode()
        assert "1 *** ***" in said
        assert KEY not in said
        assert TOKEN not in said
    findings = json.loads(said)["findings"]
    assert {finding["level"] for finding in findings if finding["check"] == "engine"} == {"ok"}

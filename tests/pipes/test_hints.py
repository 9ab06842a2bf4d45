"""Mistakes that many make: one line says what is wrong and what to type instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.marks import in_ci
from tests.support.program import Program
from tests.support.scripted_engine import Drop, ScriptedEngine, running_engine

if TYPE_CHECKING:
    from pathlib import Path

READ, WRITE = "iii channel read … -- ", "iii channel write … -- "
BEHIND = "write COMMAND behind `--`; "

scripted = pytest.fixture(running_engine)


def test_tab_offers_no_id_that_would_be_an_option_or_a_ref(tmp_path: Path, scripted: ScriptedEngine) -> None:
    ids = ["@backup", "--url=ws://evil", "-n", "a-b@c", "plain::one"]
    scripted.functions["engine::functions::list"] = lambda data: {
        "functions": [{"function_id": name, "namespace": "default"} for name in ids]
    }
    scripted.functions["engine::workers::list"] = lambda data: {"workers": [{"name": name} for name in ids]}
    scripted.functions["engine::functions::info"] = lambda data: {
        "request_schema": {"properties": {name: {} for name in ids}}
    }
    iii = Program(tmp_path, scripted.url)
    iii.env["III_COMPLETION_TIMEOUT"] = "10s"
    assert iii.ok("_complete", "line", "", "--", "trigger") == "words 0\na-b@c\nplain::one\n"
    assert iii.ok("_complete", "line", "", "--", "workers", "info") == "words 0\na-b@c\nplain::one\n"
    assert iii.ok("_complete", "line", "", "--", "trigger", "f").split()[3:] == ["a-b@c=", "plain::one="]


@pytest.mark.ci
def test_a_receipt_says_an_exit_code_once(iii: Program) -> None:
    writer, reader = iii.channel()
    with iii.start("channel", "read", reader, "--exit-code", "--", "sh", "-c", "cat >&2; exit 42") as reading:
        done = iii.run("channel", "write", writer, "--receipt", stdin=b"x")
        assert reading.wait(10) == 42
    assert (done.returncode, done.stderr) == (9, b"iii: the reader did not keep the data: sh exited 42\n")


@pytest.mark.parametrize(
    ("status", "words", "said"),
    [
        (2, "channel read @x tar x", f"{BEHIND}{READ}tar …"),
        *in_ci(
            (2, "channel write @x sh -c true", f"{BEHIND}{WRITE}sh …"),
            (10, "channel write @x sh", f"no file sh; is it a COMMAND? {WRITE}sh …"),
            (2, "serve f gzip -9", f"{BEHIND}iii serve … -- gzip …"),
            (2, "channel read @x -o out tar -xf -", f"{BEHIND}{READ}tar …"),
            (2, "engine exec sh -c true", f"{BEHIND}iii engine exec … -- sh …"),
            (2, "channel read @x tar -x", f"{BEHIND}{READ}tar …"),
            (2, "channel read tar x", f"{BEHIND}{READ}tar …"),
            (
                2,
                "channel write --size 5 @x ./sh -c true",
                f"no such option -c; a COMMAND stands behind `--`; {WRITE}",
            ),
            (10, "channel write @x cat there gone", f"no file cat; is it a COMMAND? {WRITE}cat …"),
            (10, "channel write @x there gone", "cannot read gone: No such file or directory"),
            (2, "channel write @x -c true", "no such option -c; a COMMAND stands behind `--`"),
            (2, "serve f -c gzip", "no such option -c; a COMMAND stands behind `--`; iii serve … --"),
            (2, "serve f", "no COMMAND; write it behind `--`: iii serve f -- COMMAND"),
            (2, "channel read @x --outptu y", "no such option --outptu; did you mean --output?"),
            (2, "channel read -c @x -- sh", "no such option -c; see `iii channel read --help`"),
        ),
    ],
)
def test_a_command_without_its_dashes(iii: Program, status: int, words: str, said: str) -> None:
    iii.ok("channel", "create", "--save", "x")
    (iii.home / "there").write_bytes(b"")
    done = iii.shell(f"iii {words}")
    assert (done.returncode, done.stderr.count(b"\n")) == (status, 1), done.stderr
    assert f"iii: {said}" in done.stderr.decode()
    assert "unused" in iii.ok("ref", "ls")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("channel read backup", "@backup"),
        *in_ci(
            ("channel read bakcup/reader", "@backup/reader"),
            ("trigger f --ref reader=backup/reader", "@backup/reader"),
            ("channel write backup", "@backup"),
            ("channel tee backup", "@backup"),
            ("ref save y backup/writer", "@backup/writer"),
        ),
    ],
)
def test_a_forgotten_at_sign(iii: Program, words: str, meant: str) -> None:
    iii.ok("channel", "create", "--save", "backup")
    done = iii.run(*words.split())
    assert (done.returncode, done.stderr.decode()) == (2, f"iii: not a channel ref; did you mean {meant}?\n")


@pytest.mark.parametrize("form", ["-", *in_ci("file:PATH", "env:BOTH", "JSON")])
def test_the_whole_object_of_create_is_a_ref_where_its_end_is_clear(iii: Program, form: str) -> None:
    text = iii.ok("channel", "create", "--json")
    (iii.home / "both").write_text(text)
    iii.env["BOTH"] = text
    word = {"file:PATH": f"file:{iii.home}/both", "JSON": text}.get(form, form)
    given = text.encode() if form == "-" else b""
    with iii.start("channel", "write", word, "--", "echo", "data", stdin=-1) as writing:
        assert writing.stdin is not None
        writing.stdin.write(given)
        writing.stdin.close()
        assert iii.run("channel", "read", word, stdin=given).stdout == b"data\n"
        assert writing.wait(10) == 0


def test_the_whole_object_of_create_is_no_ref_where_its_end_is_not_clear(iii: Program) -> None:
    text = iii.ok("channel", "create", "--json")
    done = iii.run("ref", "save", "x", "-", stdin=text.encode())
    said = "iii: stdin holds both ends of a channel; take .writer or .reader\n"
    assert (done.returncode, done.stderr.decode()) == (2, said)


@pytest.mark.parametrize("lost", [True, *in_ci(False)])
def test_waiting_for_a_function_takes_one_connection(
    tmp_path: Path, scripted: ScriptedEngine, lost: bool
) -> None:
    def functions(data: Any) -> Any:
        if lost and len(scripted.calls) == 2:
            raise Drop
        there = [{"function_id": "f", "namespace": "default"}] if len(scripted.calls) == 5 else []
        return {"functions": there}

    scripted.functions["engine::functions::list"] = functions
    Program(tmp_path, scripted.url).ok("functions", "wait", "f")
    assert (len(scripted.calls), scripted.connections) == (5, 2 if lost else 1)

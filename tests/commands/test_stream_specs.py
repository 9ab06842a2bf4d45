"""`--in KEY=SOURCE`, `--out KEY=TARGET`, and what contradicts itself before anything is opened."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from iii_cli.cli import status_of
from iii_cli.commands.trigger_streams import check_keys, command_word, parse_spec
from iii_cli.errors import UsageProblem

if TYPE_CHECKING:
    from pathlib import Path

    from iii_cli.protocol.payload import KeyPath

KEY = "SECRETKEY"


@pytest.mark.parametrize(
    ("text", "option", "key", "place"),
    [
        ("links.csv", "--in", ("stdin",), "links.csv"),
        ("links.csv", "--out", ("stdout",), "links.csv"),
        ("-", "--in", ("stdin",), "-"),
        ("reader=links.csv", "--in", ("reader",), "links.csv"),
        ("a.b[0].reader=x=y", "--in", ("a", "b", 0, "reader"), "x=y"),
        ("./a=b", "--in", ("stdin",), "./a=b"),
        ("cmd:A=1 make", "--in", ("stdin",), "cmd:A=1 make"),
        ("k=cmd:gzip > x", "--out", ("k",), "cmd:gzip > x"),
        ("k=./@x", "--in", ("k",), "./@x"),
    ],
)
def test_specs(text: str, option: str, key: KeyPath, place: str) -> None:
    spec = parse_spec(text, option)
    assert (spec.key, spec.place) == (key, place)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names nothing"),
        ("k=", "names nothing"),
        ("k=cmd:", "names nothing"),
        ("=x", "the KEY before `=` is empty"),
        ("@x", "--ref stdin=@x"),
        ("reader=@links.csv", "did you mean the file? --in reader=links.csv"),
        (f"k=iii:read:a:{KEY}", "--ref k=REF"),
        (f"iii:read:a:{KEY}", "--ref stdin=REF"),
        (f'k={{"channel_id":"a","access_key":"{KEY}"}}', "--ref k=REF"),
        (f"k=@iii:read:a:{KEY}", "--ref k=REF"),
        ("k=env:NAME", "a file of that name is ./NAME"),
    ],
)
def test_what_is_no_source(text: str, words: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        parse_spec(text, "--in")
    assert words in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        (("a",), ("a",), True),
        (("a",), ("a", "b"), True),
        (("a", 0), ("a",), True),
        (("a",), ("b",), False),
        (("a", "b"), ("a", "c"), False),
    ],
)
def test_two_refs_need_two_places(one: KeyPath, other: KeyPath, clash: bool) -> None:
    keys = [("--in", one), ("--ref", other)]
    if not clash:
        return check_keys(keys)
    with pytest.raises(UsageProblem, match="need the same place"):
        check_keys(keys)
    return None


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("pg_dump db", "pg_dump"),
        ("/usr/bin/gzip -9", "gzip"),
        ("PASSWORD=x curl u", "curl"),
        ("(cd x && make)", "cd"),
        ("A=1", "the command"),
    ],
)
def test_a_command_is_known_by_its_first_word(command: str, word: str) -> None:
    assert command_word(command) == word


REFUSED = {
    "two stdin": (["--in", "a=-", "--in", "b=-"], 2, "cannot both read standard input"),
    "stdin for two things": (["--in", "-", "--json", "-"], 2, "--json - and --in stdin=-"),
    "two stdout": (["--out", "-", "--read", "content"], 2, "cannot both write to standard output"),
    "result on a taken stdout": (["--out", "-", "--result", "-"], 2, "cannot both write"),
    "the same FILE": (["--out", "a=x", "--out", "b=x"], 2, "the same FILE"),
    "the same place": (["--in", "a=in", "--ref", f"a.b=iii:read:c:{KEY}"], 2, "need the same place"),
    "in the way": (["x=1", "--in", "x.y=in"], 2, "x is not an object"),
    "no FILE": (["--in", "none"], 10, "cannot read none"),
    "a folder": (["--in", "."], 10, "it is a folder"),
    "no folder": (["--out", "no/x"], 10, "no folder"),
    "no clobber": (["--out", "in", "--no-clobber"], 10, "--no-clobber keeps it"),
    "no folder for the result": (["--in", "in", "--result", "no/x"], 10, "no folder"),
    "no folder for messages": (["--in", "in", "--messages", "no/x"], 10, "cannot write to no/x"),
    "two modes": (["--out", "-", "--lines", "--text"], 2, "one of --lines"),
    "a mode without a stream": (["--jsonl"], 2, "--jsonl is about streams"),
    "a seal without a stream": (["--no-seal"], 2, "--seal and --no-seal is about streams"),
    "a limit without a stream": (["--stall-timeout", "1s"], 2, "--stall-timeout is about streams"),
    "void": (["--void", "--in", "in"], 2, "nothing can be streamed"),
    "void with a result": (["--void", "--result", "r"], 2, "--void returns no result"),
    "buffer": (["--in", "in", "--buffer", "0"], 2, "--buffer"),
    "linger": (["--in", "in", "--linger", "soon"], 2, "--linger"),
    "progress": (["--in", "in", "--progress", "maybe"], 2, "--progress"),
    "read": (["--read", "a..b"], 2, "--read"),
}


@pytest.mark.parametrize(("typed", "status", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_before_a_connection_is_made(
    typed: list[str],
    status: int,
    words: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    for name in [name for name in os.environ if name.startswith(("III_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("III_URL", "ws://127.0.0.1:1")  # nothing listens: a connection would be exit 3
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", None)  # nothing may touch it
    (tmp_path / "in").write_text("data")
    assert status_of(["trigger", "f", *typed]) == status
    shown = capfd.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert words in shown.err
    assert KEY not in shown.err
    assert sorted(os.listdir(tmp_path)) == ["in"]


def test_a_dry_run_shows_where_the_refs_go(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "in").write_text("data")
    typed = ["a=1", "--in", f"b[0].r={tmp_path}/in", "--out", "-", "--dry-run"]
    assert status_of(["trigger", "f", *typed]) == 0
    out = capfd.readouterr().out
    assert '"direction": "read"' in out
    assert '"access_key": "***"' in out

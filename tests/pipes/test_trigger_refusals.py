"""`trigger` with streams: contradictions are refused before a connection is made or a file touched."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.marks import in_ci_but
from tests.support.program import III, LIMIT, Program

if TYPE_CHECKING:
    from pathlib import Path

KEY = "SECRETKEY"

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
    # what is no SOURCE, and what is one
    "nothing": (["--in", ""], 2, "names nothing"),
    "no SOURCE": (["--in", "k="], 2, "names nothing"),
    "no command": (["--in", "k=cmd:"], 2, "names nothing"),
    "no KEY": (["--in", "=x"], 2, "the KEY before `=` is empty"),
    "a saved ref": (["--in", "@x"], 2, "--ref stdin=@x"),
    "as curl": (["--in", "reader=@links.csv"], 2, "did you mean the file? --in reader=links.csv"),
    "a ref": (["--in", f"k=iii:read:a:{KEY}"], 2, "--ref k=REF"),
    "a ref alone": (["--in", f"iii:read:a:{KEY}"], 2, "--ref stdin=REF"),
    "a ref as JSON": (["--in", f'k={{"channel_id":"a","access_key":"{KEY}"}}'], 2, "--ref k=REF"),
    "a ref with a mark": (["--in", f"k=@iii:read:a:{KEY}"], 2, "--ref k=REF"),
    "a variable": (["--in", "k=env:NAME"], 2, "a file of that name is ./NAME"),
    "a FILE with =": (["--in", "./a=b"], 10, "cannot read ./a=b"),
    "a deep KEY": (["--in", "a.b[0].reader=x=y"], 10, "cannot read x=y"),
    "a FILE with @": (["--in", "k=./@x"], 10, "cannot read ./@x"),
}


QUICK = ("two stdin", "the same place", "a folder", "no clobber", "void", "buffer")


def trigger(home: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Nothing listens there: a connection would be exit 3."""
    (home / "in").write_text("data")
    return subprocess.run(
        [III, "trigger", "f", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
        env=Program(home, "ws://127.0.0.1:1").env,
        cwd=home,
    )


@pytest.mark.parametrize("name", in_ci_but(QUICK, REFUSED))
def test_what_is_refused_before_a_connection_is_made(name: str, tmp_path: Path) -> None:
    typed, status, words = REFUSED[name]
    done = trigger(tmp_path, *typed)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (status, b"", 1)
    assert words in done.stderr.decode()
    assert KEY not in done.stderr.decode()
    assert os.listdir(tmp_path) == ["in"]


def test_a_dry_run_shows_where_the_refs_go(tmp_path: Path) -> None:
    done = trigger(tmp_path, "a=1", "--in", "b[0].r=in", "--out", "-", "--dry-run")
    assert done.returncode == 0
    assert b'"direction": "read"' in done.stdout
    assert b'"access_key": "***"' in done.stdout

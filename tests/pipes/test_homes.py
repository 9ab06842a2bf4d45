"""Many commands at once in one home."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.program import Program

COUNT = 6


@pytest.mark.ci
def test_commands_that_save_at_the_same_moment_lose_nothing(iii: Program) -> None:
    saving = [
        iii.start(*words)
        for n in range(COUNT)
        for words in (
            ("context", "add", f"c{n}", f"ws://host{n}:1", "--use"),
            ("channel", "create", "--save", f"r{n}"),
        )
    ]
    for process in saving:
        said, problems = process.communicate(timeout=30)
        assert (process.returncode, said) == (0, b""), problems
    contexts = json.loads(iii.ok("context", "ls", "--json"))
    assert [each["url"] for each in contexts] == [f"ws://host{n}:1" for n in range(COUNT)]
    assert sum(each["in_use"] for each in contexts) == 1
    assert [each["name"] for each in json.loads(iii.ok("ref", "ls", "--json"))] == [
        f"r{n}" for n in range(COUNT)
    ]
    files = [path for path in iii.home.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


@pytest.mark.ci
def test_a_foreign_file_is_never_overwritten(iii: Program) -> None:
    iii.ok("context", "add", "mine", "ws://host:1")
    [file] = iii.home.rglob("mine.toml")
    file.write_text("url = 5\n")
    for words in ("context add mine ws://other:1 --force", "context rm mine", "functions ls --context mine"):
        done = iii.run(*words.split())
        assert (done.returncode, done.stdout) == (10, b"")
        assert b"mine.toml' is damaged or not ours: 'url' is not a text in quotes; mend or" in done.stderr
    assert file.read_text() == "url = 5\n"
    assert iii.run("functions", "ls").returncode == 0, "what does not need it goes on"

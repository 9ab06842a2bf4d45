"""man/ and completions/ say what the command tree says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from iii_cli.commands.manual import SHELLS, Command, commands, generated
from iii_cli.errors import ExitStatus
from tests.support.program import III

ROOT = Path(__file__).parents[2]
TREE = commands()
FRESH = generated()
LEAVES = [command for command in TREE if not command.children]


@pytest.mark.parametrize("path", sorted(FRESH))
def test_a_committed_file_is_fresh(path: str) -> None:
    found = (ROOT / path).read_text(encoding="utf-8")
    assert found == FRESH[path], "run: python -m iii_cli.commands.manual"


def test_nothing_stale_is_committed() -> None:
    there = {
        str(path.relative_to(ROOT)) for name in ("man", "completions") for path in (ROOT / name).iterdir()
    }
    assert there == {path for path in FRESH if not path.startswith("iii_cli/")}


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_prints_the_same(shell: str) -> None:
    done = subprocess.run([III, "completion", shell], capture_output=True, text=True, check=True)
    assert done.stdout == FRESH[f"completions/{SHELLS[shell][0]}"]


@pytest.mark.parametrize("command", TREE, ids=lambda command: command.name or "iii")
def test_everything_explains_itself(command: Command) -> None:
    assert command.line.endswith("."), "a sentence"
    assert [option.flags for option in command.options if not option.help] == []
    assert [argument.metavar for argument in command.arguments if not argument.help] == []


@pytest.mark.parametrize("command", LEAVES, ids=lambda command: command.name)
def test_the_help_ends_with_two_examples(command: Command) -> None:
    assert len(command.examples) >= 2
    assert all("iii " in example for example in command.examples)
    shown = subprocess.run([III, *command.path, "--help"], capture_output=True, text=True, check=True).stdout
    assert [line.strip() for line in shown.splitlines()[-len(command.examples) :]] == list(command.examples)


def test_choices_of_an_option_are_in_its_help() -> None:
    """They are read from the metavar, so that people and scripts see the same."""
    progress = next(
        option
        for c in TREE
        if c.name == "channel write"
        for option in c.options
        if "--progress" in option.flags
    )
    assert progress.values == "auto always never json"
    assert progress.metavar == "auto|always|never|json"


def test_the_manual_names_every_exit_status() -> None:
    page = FRESH["man/iii.1"].partition(".SH EXIT STATUS")[2].partition(".SH ")[0]
    codes = {
        int(line.split()[0])
        for line in page.splitlines()
        if line.strip()[:1].isdigit() and line.split()[0].isdigit()
    }
    assert codes == {int(status) for status in ExitStatus} - {ExitStatus.PIPE_CLOSED}
    assert str(int(ExitStatus.PIPE_CLOSED)) in page


@pytest.mark.ci
@pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")
def test_mandoc_finds_nothing_to_say() -> None:
    pages = sorted(path for path in (ROOT / "man").iterdir() if path.name != "iii-cli.1")
    done = subprocess.run(["mandoc", "-Tlint", *pages], capture_output=True, text=True)
    assert done.stdout == ""


@pytest.mark.ci
@pytest.mark.skipif(shutil.which("groff") is None, reason="groff is not installed")
def test_groff_warns_of_nothing() -> None:
    for page in sorted(path for path in (ROOT / "man").iterdir() if path.name != "iii-cli.1"):
        done = subprocess.run(
            ["groff", "-ww", "-man", "-Tutf8", "-K", "utf8", str(page)], capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (0, ""), page.name


@pytest.mark.ci
@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
@pytest.mark.parametrize("name", ["iii", "iii-channel-write"])
def test_a_page_can_be_read(name: str) -> None:
    environ: dict[str, Any] = {"PATH": "/usr/bin:/bin", "MANWIDTH": "80", "LC_ALL": "C.UTF-8"}
    command = ["man", "--warnings", "-l", str(ROOT / "man" / f"{name}.1")]
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    for title in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"):
        assert f"\n{title}\n" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80

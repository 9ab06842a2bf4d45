"""man/ and the words of TAB say what the command tree says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from iii_cli.commands.help import SCRIPTS
from iii_cli.commands.manual import generated
from iii_cli.errors import ExitStatus
from tests.support.program import III

ROOT = Path(__file__).parents[2]
FRESH = generated()
PAGES = sorted(path for path in FRESH if path.startswith("man/") and path != "man/iii-cli.1")
WORDS: dict[str, Any] = json.loads(FRESH["iii_cli/commands/words.json"])
LEAVES = [name for name, entry in WORDS.items() if name != "aliases" and not entry["commands"]]


@pytest.mark.parametrize("path", sorted(FRESH))
def test_a_committed_file_is_fresh(path: str) -> None:
    found = (ROOT / path).read_text(encoding="utf-8")
    assert found == FRESH[path], "run: python -m iii_cli.commands.manual"


def test_nothing_stale_is_committed() -> None:
    there = {f"man/{path.name}" for path in (ROOT / "man").iterdir()}
    assert there == {path for path in FRESH if path.startswith("man/")}


@pytest.mark.parametrize("shell", SCRIPTS)
def test_completion_prints_the_script_that_is_installed(shell: str) -> None:
    done = subprocess.run([III, "completion", shell], capture_output=True, text=True, check=True)
    assert done.stdout == (ROOT / "iii_cli" / "completions" / SCRIPTS[shell]).read_text()


@pytest.mark.parametrize("path", PAGES)
def test_everything_explains_itself(path: str) -> None:
    items = re.findall(r"^\.TP\n(.+)\n(.*)", FRESH[path], re.M)
    assert [term for term, text in items if not text or text.startswith(".")] == []


@pytest.mark.parametrize("name", LEAVES)
def test_the_help_ends_with_two_examples(name: str) -> None:
    shown = subprocess.run([III, *name.split(), "--help"], capture_output=True, text=True, check=True).stdout
    examples = [line.strip() for line in shown.partition("\n  Examples:\n")[2].splitlines()]
    assert len(examples) >= 2
    assert all("iii " in example for example in examples)


def test_choices_of_an_option_are_in_its_help() -> None:
    """They are read from the metavar, so that people and scripts see the same."""
    assert WORDS["channel write"]["options"]["--progress"][1] == "auto always never json"
    assert "auto|always|never|json" in FRESH["man/iii-channel-write.1"]


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

"""The script for bash, called as bash calls it: words split at `:` since 4.0, whole in 3.2."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.shells.interactive import COMPLETIONS, needs
from tests.shells.world import world
from tests.support.program import III, Program

if TYPE_CHECKING:
    from collections.abc import Iterator

BREAKS = re.compile(r"[=:@]+|[^\s=:@]+|(?<=\s)$|(?<=[=:@])$")
ASK = """\
source {script}
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:@'
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
COMP_LINE={line}
COMP_POINT=${{#COMP_LINE}}
_iii
[[ ${{#COMPREPLY[@]}} -eq 0 ]] || printf '%s\\n' "${{COMPREPLY[@]}}"
"""
# Of what bash has since 4.0 only: associative arrays, case conversion, mapfile, |&, and a bare compopt.
NEWER = (
    r"declare -A",
    r"local -A",
    r"\$\{\w+(,,|\^\^)",
    r"mapfile",
    r"readarray",
    r"\|&",
    r";;&",
    r"local -n",
)


@pytest.fixture(scope="module")
def iii(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with world(tmp_path_factory.mktemp("home")) as program:
        yield program


def replies(iii: Program, line: str, *, split: bool) -> list[str]:
    """COMPREPLY for a TAB at the end of `line`."""
    words = BREAKS.findall(line) if split else re.findall(r"\S+|(?<=\s)$", line)
    script = ASK.format(
        script=shlex.quote(str(COMPLETIONS / "iii.bash")), words=shlex.join(words), line=shlex.quote(line)
    )
    done = subprocess.run(
        ["bash", "--norc", "--noprofile", "-c", script],
        capture_output=True,
        text=True,
        env=iii.env | {"PATH": f"{Path(III).parent}{os.pathsep}{iii.env['PATH']}"},
        cwd=iii.home,
        timeout=20,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize("split", [True, False], ids=["bash 4", "bash 3.2"])
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("iii ", "COMMANDS"),
        ("iii cha", "channel"),
        ("iii-cli cha", "channel"),
        ("iii -q --url ws://x:1 functions ", "ls info wait"),
        ("iii channel write --dig", "--digest"),
        ("iii channel write --digest ", "xxh3_128 sha256"),
        ("iii channel write --digest=s", "sha256"),
        ("iii --color=al", "always"),
        ("iii functions info img::re", "resize"),
        ("iii functions info img::", "resize rotate"),
        ("iii functions info img:", ":resize :rotate"),
        ("iii functions wait img::rotate te", "text::upper"),
        ("iii trigger img::resize w", "width="),
        ("iii t img::resize width=3 ", "name= width="),
        ("iii trigger -n default img::resize n", "name="),
        ("iii trigger img::resize --in name=big", "big file.bin"),
        ("iii channel write @b", "@backup"),
        ("iii channel write ", "@backup"),
        ("iii channel write @backup big", "big file.bin"),
        ("iii trigger img::resize --ref name=@", "@backup"),
        ("iii ref rm ", "backup"),
        ("iii --context p", "prod"),
        ("iii context use ", "prod"),
        ("iii workers info pai", "painter"),
        ("iii help exit", "exit-codes"),
        ("iii ref show backup --end ", "writer reader"),
        ("iii functions ls --json --", None),
        ("iii trace show ", ""),
        ("iii channel create ", ""),
        ("iii channel nonsense ", ""),
        ("iii channel read --progress=json -- big", "big file.bin"),
    ],
)
def test_replies(iii: Program, line: str, expected: str | None, split: bool) -> None:
    if line.endswith("-- big"):
        line = line.replace("-- big", "-- cat big")
    found = replies(iii, line, split=split)
    if expected == "COMMANDS":
        listed = iii.ok("--help").partition("\nCommands:\n")[2]
        expected = " ".join(re.findall(r"^  (\w+)  +\S", listed, re.M))
    if expected is None:
        assert {"--json", "--ids", "--url", "--help"} <= set(found)
    elif " file" in expected:
        assert found == [expected]
    else:
        assert found == expected.split() or sorted(found) == sorted(expected.split())


def test_a_command_behind_the_dashes_is_one_of_the_machine(iii: Program) -> None:
    assert "printf" in replies(iii, "iii engine exec -- print", split=True)
    assert replies(iii, "iii functions ls -- print", split=True) == []


def test_nothing_newer_than_bash_3_2_is_used() -> None:
    script = (COMPLETIONS / "iii.bash").read_text()
    assert [feature for feature in NEWER if re.search(feature, script)] == []
    assert re.findall(r"^\s*compopt", script, re.MULTILINE) == []


@pytest.mark.ci
@needs("shellcheck")
def test_shellcheck_has_no_error() -> None:
    assert shutil.which("shellcheck")
    done = subprocess.run(
        ["shellcheck", "-s", "bash", "-S", "error", str(COMPLETIONS / "iii.bash")],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, "")

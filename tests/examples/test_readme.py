"""Every block of the README that can run is run; the others say why not."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.examples.transcript import script_of
from tests.examples.world import World, a_home, around, skip_without_what_it_needs
from tests.support.program import III

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$", re.M | re.S
)
BLOCKS = [(match["kind"], match["text"], match["reason"]) for match in BLOCK.finditer(README.read_text())]
RUN = {text.split("\n")[0]: (kind, text) for kind, text, reason in BLOCKS if kind != "python" and not reason}
AROUND = around("readme")


@pytest.mark.ci
@pytest.mark.timeout(60)
@pytest.mark.parametrize("first_line", RUN)
def test_a_block_does_what_it_says(first_line: str, url: str, tmp_path: Path) -> None:
    kind, text = RUN[first_line]
    block = script_of(text) if kind == "console" else text.rstrip("\n")
    script = AROUND.get(first_line, "EXAMPLE").replace("EXAMPLE", block)
    skip_without_what_it_needs(script)
    if kind == "console":
        for host in "AB":
            (tmp_path / host).mkdir()
            a_home(tmp_path / host)
    code, said = World(a_home(tmp_path), url).run(script)
    assert code == 0, f"{script}\n{said}"


def test_a_block_is_of_a_kind_that_is_run() -> None:
    assert {kind for kind, _, _ in BLOCKS} == {"sh", "console", "python"}  # python: test_examples.py
    assert len(RUN) == len([text for kind, text, reason in BLOCKS if kind != "python" and not reason])


def test_nothing_is_around_what_is_no_block() -> None:
    assert set(AROUND) - set(RUN) == set()


def test_the_set_up_commands_come_first() -> None:
    commands = [text for _, text, _ in BLOCKS[:2]]
    assert all(
        command.startswith("python3 -m venv .venv && .venv/bin/pip install -q ") for command in commands
    )
    done = [command.rpartition(" && ")[2].strip() for command in commands]
    assert done == [".venv/bin/iii demo", ".venv/bin/pytest -n 2"]


def test_the_table_of_exit_codes_is_whole() -> None:
    table = README.read_text().partition("| exit | it means |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines()[2:]]
    told = subprocess.run([III, "help", "exit-codes"], capture_output=True, text=True, check=True).stdout
    codes = {int(code) for code in re.findall(r"^ +(\d+)  ", told, re.M)} - {0}
    signals = {130, 141, 143}  # one line of the help: 128+n
    assert {int(code) for cell in cells for code in re.findall(r"\d+", cell)} == codes | signals


# What comes before the line in a start-up file, and what shows afterwards that the shell completes.
START_UP = {
    "bash": ("", "complete -p iii-cli"),
    "zsh": ("autoload -Uz compinit; compinit -u -D; ", "(( $+_comps[iii-cli] ))"),
    "fish": ("", 'test (complete -C "iii-cli chan" | count) -gt 0'),
}


@pytest.mark.ci
@pytest.mark.parametrize("shell", START_UP)
def test_the_line_of_a_start_up_file(shell: str, tmp_path: Path) -> None:
    [line] = re.findall(rf"^(\S.*completion {shell}\b.*?) +#", README.read_text(), re.M)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    before, shows = START_UP[shell]
    code, said = World(a_home(tmp_path), None).run(f"{shell} -c {shlex.quote(f'{before}{line}; {shows}')}")
    assert code == 0, said

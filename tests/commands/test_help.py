"""`iii help`: short enough to read, and true."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import iii_cli
from iii_cli import errors
from iii_cli.commands.help import TOPICS, topic_text
from iii_cli.commands.root import app
from iii_cli.errors import ExitStatus, Failure, UsageProblem


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_is_plain_text_for_a_terminal(topic: str) -> None:
    text = CliRunner().invoke(app, ["help", topic]).stdout
    assert text == topic_text(topic) == text.rstrip("\n") + "\n"
    lines = text.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() and line == line.rstrip() for line in lines)


def test_every_exit_status_is_in_the_table_and_no_other() -> None:
    rows = {int(code) for code in re.findall(r"^ +(\d+)  \S", topic_text("exit-codes"), re.M)}
    assert rows == set(ExitStatus) - {ExitStatus.PIPE_CLOSED}
    assert "141" in topic_text("exit-codes")
    of_classes = {
        thing.status for _, thing in inspect.getmembers(errors, inspect.isclass) if issubclass(thing, Failure)
    }
    assert of_classes <= rows


def test_every_variable_that_the_program_reads_is_explained() -> None:
    source = "".join(path.read_text() for path in Path(iii_cli.__file__).parent.rglob("*.py"))
    hidden = {"III_PASSED", "III_TEST_LIMITS"}  # between two of ours only, and for tests only
    read = set(re.findall(r"\bIII_[A-Z_]+[A-Z]\b", source)) - hidden
    assert read <= set(re.findall(r"\bIII_[A-Z_]+\b", topic_text("environment")))


@pytest.mark.parametrize(
    ("words", "said"),
    [("", "seals"), ("channel", "write"), ("channel write", "Usage: iii channel write"), ("t", "trigger")],
)
def test_help_of_a_command_is_its_own(words: str, said: str) -> None:
    assert said in CliRunner().invoke(app, ["help", *words.split()], prog_name="iii").stdout


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("seal", "iii help seals"),
        ("channel wirte", "iii help channel write"),
        ("chanel", "iii help channel"),
        ("zzz", "see `iii help`"),
        ("channel write x", "see `iii help`"),
    ],
)
def test_what_is_unknown_names_the_nearest(words: str, hint: str) -> None:
    problem = CliRunner().invoke(app, ["help", *words.split()]).exception
    assert isinstance(problem, UsageProblem)
    assert hint in str(problem)

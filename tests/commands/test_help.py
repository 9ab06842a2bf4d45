"""`iii help`: short enough to read, and true."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import iii_cli
from iii_cli import errors
from iii_cli.commands.help import TOPICS, help_command
from iii_cli.errors import ExitStatus, Failure, UsageProblem

EVERY = ["exit-codes", "environment", "refs", "seals"]


def a_tree() -> typer.Typer:
    app = typer.Typer(name="iii", rich_markup_mode=None)
    channel = typer.Typer()
    app.add_typer(channel, name="channel")
    app.command("help")(help_command)

    @channel.command("write")
    def write(ref: str) -> None:
        """Send stdin."""

    @channel.command("read")
    def read(ref: str) -> None:
        """Receive."""

    return app


def run(*args: str) -> str:
    result = CliRunner().invoke(a_tree(), ["help", *args], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_topics_are_those_of_the_design() -> None:
    assert list(TOPICS) == EVERY


@pytest.mark.parametrize("topic", EVERY)
def test_a_topic_is_plain_text_for_a_terminal(topic: str) -> None:
    text = run(topic)
    assert text == TOPICS[topic]
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    lines = text.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 80
    assert all(line.isprintable() and line == line.rstrip() for line in lines)


def test_every_exit_status_is_in_the_table_and_no_other() -> None:
    rows = {int(code) for code in re.findall(r"^ +(\d+)  \S", TOPICS["exit-codes"], re.M)}
    assert rows == set(ExitStatus) - {ExitStatus.PIPE_CLOSED}
    assert "141" in TOPICS["exit-codes"]
    of_classes = {
        thing.status for _, thing in inspect.getmembers(errors, inspect.isclass) if issubclass(thing, Failure)
    }
    assert of_classes <= rows


def test_every_variable_that_the_program_reads_is_explained() -> None:
    source = "".join(path.read_text() for path in Path(iii_cli.__file__).parent.rglob("*.py"))
    hidden = {"III_PASSED", "III_TEST_LIMITS"}  # between two of ours only, and for tests only
    read = set(re.findall(r"\bIII_[A-Z_]+[A-Z]\b", source)) - hidden
    assert read <= set(re.findall(r"\bIII_[A-Z_]+\b", TOPICS["environment"]))


def test_help_of_a_command_is_its_own() -> None:
    assert "Send stdin." in run("channel", "write")
    assert "Usage: iii channel write" in run("channel", "write").replace("root", "iii")
    assert "write" in run("channel")
    assert "seals" in run()


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["seal"], "iii help seals"),
        (["channel", "wirte"], "iii help channel write"),
        (["chanel"], "iii help channel"),
        (["zzz"], "see `iii help`"),
        (["channel", "write", "x"], "see `iii help`"),
    ],
)
def test_what_is_unknown_names_the_nearest(words: list[str], hint: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        CliRunner().invoke(a_tree(), ["help", *words], catch_exceptions=False)
    assert hint in str(caught.value)

"""The lazy command tree says of every command what the command says of itself."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from iii_cli.commands.root import TREE, app

ROOT: Any = typer.main.get_command(app)


def built(word: str) -> Any:
    return ROOT.get_command(typer.Context(ROOT), word)


@pytest.mark.parametrize("word", TREE)
def test_a_listed_line_is_the_first_line_of_the_commands_own_help(word: str) -> None:
    command = built(word)
    assert command.name == word
    if command.hidden:
        assert TREE[word][1] == ""
    else:
        assert TREE[word][1] == command.help.splitlines()[0]


def test_the_help_lists_every_command_that_is_not_hidden() -> None:
    listed = ROOT.get_help(typer.Context(ROOT)).partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    words = [line.split()[0] for line in listed if line.startswith("  ") and line[2] != " "]
    assert words == [word for word in TREE if not built(word).hidden]

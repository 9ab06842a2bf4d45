"""`iii help`: the topics that belong to no single command, and any command's own help."""

from __future__ import annotations

import difflib
import sys
from typing import Annotated, Any

import typer

from iii_cli.commands.topics import TOPICS
from iii_cli.errors import UsageProblem

__all__ = ("help_app", "help_command")

help_app = typer.Typer()


@help_app.command(name="help")
def help_command(
    context: typer.Context,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TOPIC | COMMAND...]", help="Nothing: the list of both.", show_default=False),
    ] = None,
) -> None:
    """Explain exit-codes, environment, refs or seals, or a command.

    \b
    Examples:
      iii help exit-codes
      iii help channel write
    """
    sys.stdout.write(_help_for(context.find_root(), words or []))


def _help_for(root: Any, words: list[str]) -> str:
    if len(words) == 1 and words[0] in TOPICS:
        return TOPICS[words[0]]
    text = _command_help(root, words)
    return text if words else f"{text}\nTopics (iii help TOPIC):\n  {'  '.join(TOPICS)}\n"


def _command_help(context: Any, words: list[str]) -> str:
    """The help of the command that `words` lead to from the root. Raises UsageProblem where none is."""
    command = context.command
    for depth, word in enumerate(words):
        names = command.list_commands(context) if hasattr(command, "list_commands") else []
        found = command.get_command(context, word) if word in names else None
        if found is None:
            raise _unknown(words[: depth + 1], [*names, *(() if depth else TOPICS)])
        context = type(context)(found, info_name=word, parent=context)
        command = found
    text: str = command.get_help(context)
    return text.rstrip("\n") + "\n"


def _unknown(words: list[str], names: list[str]) -> UsageProblem:
    near = difflib.get_close_matches(words[-1], names, n=1)
    hint = f"did you mean `iii help {' '.join([*words[:-1], near[0]])}`?" if near else "see `iii help`"
    return UsageProblem(f"no topic or command {' '.join(words)!r}", hint=hint)

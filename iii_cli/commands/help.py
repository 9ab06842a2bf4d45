"""What is printed from a text beside this module: `iii help` with its topics, and the shells' scripts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from iii_cli.errors import UsageProblem

__all__ = ("SCRIPTS", "TOPICS", "completion_app", "help_app", "topic_text")

help_app = typer.Typer()
completion_app = typer.Typer()

TOPICS = ("exit-codes", "environment", "refs", "seals")  # plain text, 80 columns, a screen or so each
SCRIPTS = {"bash": "iii.bash", "zsh": "_iii", "fish": "iii.fish"}  # where shells look, they have these names


def topic_text(topic: str) -> str:
    """What `iii help TOPIC` prints, and iii(1) has."""
    return Path(__file__).with_name("topics").joinpath(f"{topic}.txt").read_text(encoding="utf-8")


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
    words = words or []
    if len(words) == 1 and words[0] in TOPICS:
        sys.stdout.write(topic_text(words[0]))
        return
    # The command that the words lead to from the root, and its context.
    at: Any = context.find_root()
    for depth, word in enumerate(words):
        command = at.command
        names = command.list_commands(at) if hasattr(command, "list_commands") else []
        found = command.get_command(at, word) if word in names else None
        if found is None:
            from iii_cli.config.store import nearest

            hint = "see `iii help`"
            if near := nearest(word, [*names, *(() if depth else TOPICS)]):
                hint = f"did you mean `iii help {' '.join([*words[:depth], near])}`?"
            raise UsageProblem(f"no topic or command {' '.join(words[: depth + 1])!r}", hint=hint)
        at = type(at)(found, info_name=word, parent=at)
    sys.stdout.write(at.command.get_help(at).rstrip("\n") + "\n")
    if not words:
        sys.stdout.write(f"\nTopics (iii help TOPIC):\n  {'  '.join(TOPICS)}\n")


@completion_app.command(name="completion")
def completion_command(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="The shell that will read it.")],
) -> None:
    """Print the completion script for bash, zsh or fish.

    `pip install` puts the same scripts into share/, where the shells of most systems look by themselves. They
    complete commands and options without an engine, and with one the ids of functions, their keys, and
    workers.

    \b
    Examples:
      source <(iii completion bash)
      iii completion fish > ~/.config/fish/completions/iii.fish
    """
    if shell not in SCRIPTS:
        raise UsageProblem(f"no script for {shell!r}", hint="there is one for bash, zsh and fish")
    folder = Path(__file__).parents[1] / "completions"
    sys.stdout.write((folder / SCRIPTS[shell]).read_text(encoding="utf-8"))

"""`iii completion SHELL`."""

from __future__ import annotations

from typing import Annotated

import typer

from iii_cli.errors import UsageProblem

__all__ = ("completion_app",)

completion_app = typer.Typer()


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
    from iii_cli.commands.generate import SHELLS
    from iii_cli.commands.shell.reference import commands
    from iii_cli.io.console import emit

    if shell not in SHELLS:
        raise UsageProblem(f"no script for {shell!r}", hint="there is one for bash, zsh and fish")
    emit(SHELLS[shell][1](commands()))

"""`iii demo`: the product's main job in one command, on an engine of its own."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ("demo_app",)

demo_app = typer.Typer()


@demo_app.command(name="demo")
def demo_command(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="What to send. [a real file it finds]")
    ] = None,
) -> None:
    """Stream a file through a served Unix filter and back, and compare what came out.

    Starts an engine on a free port, whatever III_URL says, and leaves nothing behind. Prints the commands
    that a person would type for each step, then what it measured.

    \b
    Examples:
      iii demo
      iii demo big.bin
    """
    from iii_cli.commands.demo.steps import run_demo

    run_demo(file)

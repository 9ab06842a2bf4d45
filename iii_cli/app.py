"""The front door: the command tree, and the one place that prints an error and exits."""

from __future__ import annotations

import typer

__all__ = ("app", "main")

app = typer.Typer(name="iii", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def root() -> None:
    """Pipe data between iii workers, from the shell."""


def main() -> None:
    """Run the program."""
    app()

"""`iii workers ls | info`."""

from __future__ import annotations

from typing import Annotated

import typer

from iii_cli.commands.common import settings_of
from iii_cli.errors import UsageProblem

__all__ = ("workers_app",)

workers_app = typer.Typer(no_args_is_help=True, help="See which workers are connected, and what they offer.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@workers_app.command()
def ls(
    ctx: typer.Context,
    json: AsJson = False,
    names: Annotated[bool, typer.Option("--names", help="Print the names alone.")] = False,
    search: Annotated[str | None, typer.Option(metavar="TEXT", help="Somewhere in the name.")] = None,
    runtime: Annotated[
        str | None, typer.Option(metavar="NAME", help="python, node, rust, go, or engine.")
    ] = None,
) -> None:
    """List the workers that the engine knows, its own among them.

    A worker that does not announce a process id is not listed; its functions are.

    \b
    Examples:
      iii workers ls --runtime python
      iii workers ls --json | jq -r '.[] | select(.active_invocations > 0).name'
    """
    from iii_cli.commands.discovery.worker_listing import list_workers

    if json and names:
        raise UsageProblem("either --json or --names")
    list_workers(settings_of(ctx), {"search": search, "runtime": runtime}, json=json, names=names)


@workers_app.command()
def info(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As `iii workers ls` shows it.")],
    json: AsJson = False,
) -> None:
    """Tell what the engine knows of one worker: where it runs, and its functions.

    \b
    Examples:
      iii workers info engine
      iii workers info engine --json | jq -r '.functions[].function_id'
    """
    from iii_cli.commands.discovery.worker_listing import describe_worker

    describe_worker(settings_of(ctx), name, json=json)

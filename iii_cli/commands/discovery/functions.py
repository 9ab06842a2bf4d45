"""`iii functions ls | info | wait`."""

from __future__ import annotations

from typing import Annotated

import typer

from iii_cli.commands.common import settings_of
from iii_cli.errors import UsageProblem

__all__ = ("functions_app",)

functions_app = typer.Typer(no_args_is_help=True, help="See which functions there are, and wait for them.")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@functions_app.command()
def ls(
    ctx: typer.Context,
    json: AsJson = False,
    ids: Annotated[bool, typer.Option("--ids", help="Print the ids alone.")] = False,
    prefix: Annotated[str | None, typer.Option(metavar="TEXT", help="Ids that begin so.")] = None,
    worker: Annotated[str | None, typer.Option(metavar="NAME", help="Functions of that worker.")] = None,
    search: Annotated[str | None, typer.Option(metavar="TEXT", help="In id or description.")] = None,
    all_functions: Annotated[bool, typer.Option("--all", help="The engine's own, too.")] = False,
) -> None:
    """List the functions that the engine knows.

    \b
    Examples:
      iii functions ls --prefix text::
      iii functions ls --json | jq -r '.[].function_id'
    """
    from iii_cli.commands.discovery.function_listing import list_functions

    if json and ids:
        raise UsageProblem("either --json or --ids")
    list_functions(
        settings_of(ctx),
        {"prefix": prefix, "worker": worker, "search": search, "include_internal": all_functions or None},
        json=json,
        ids=ids,
    )


@functions_app.command()
def info(
    ctx: typer.Context,
    function: Annotated[str, typer.Argument(metavar="FUNCTION", help="Its id.")],
    json: AsJson = False,
    template: Annotated[bool, typer.Option("--template", help="Print a payload to fill in.")] = False,
) -> None:
    """Tell what a function is for and what it takes.

    \b
    Examples:
      iii functions info text::upper
      iii functions info text::upper --template > in.json
    """
    from iii_cli.commands.discovery.function_listing import describe_function

    if json and template:
        raise UsageProblem("either --json or --template; a template is JSON")
    describe_function(settings_of(ctx), function, json=json, template=template)


@functions_app.command()
def wait(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="FUNCTION...", help="Their ids.")],
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Give up after. 0: never.")] = "30s",
) -> None:
    """Wait until the engine is there and knows all these functions; 124 names those that are missing.

    \b
    Examples:
      iii functions wait text::upper --timeout 1m
      iii functions wait text::upper text::gzip && echo ready
    """
    from iii_cli.commands.discovery.function_waiting import wait_for_functions

    if not all(names):
        raise UsageProblem("a FUNCTION is empty", hint="is a variable not set?")
    wait_for_functions(settings_of(ctx), names, timeout)

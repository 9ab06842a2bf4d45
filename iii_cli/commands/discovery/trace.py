"""`iii trace show ID`."""

from __future__ import annotations

from typing import Annotated

import typer

from iii_cli.commands.common import settings_of

__all__ = ("trace_app",)

trace_app = typer.Typer(no_args_is_help=True, help="See what happened in a trace.")


@trace_app.command()
def show(
    ctx: typer.Context,
    trace_id: Annotated[str, typer.Argument(metavar="ID", help="32 hex digits, or a traceparent.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Draw the calls and channel ends of a trace, with the time that each took.

    The engine keeps the spans of recent traces only, and of calls that were made with a traceparent.

    \b
    Examples:
      iii trace show 0af7651916cd43dd8448eb211c80319c
      iii trace show "$TRACEPARENT" --json | jq '.roots | length'
    """
    from iii_cli.commands.discovery.trace_tree import show_trace

    show_trace(settings_of(ctx), trace_id, json=json)

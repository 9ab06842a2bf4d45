"""`iii trigger FUNCTION [key=value …]`."""

from __future__ import annotations

from typing import Annotated

import typer

from iii_cli.commands.trigger_order import TriggerOptions

__all__ = ("trigger_app",)

trigger_app = typer.Typer()

# `--help` is an option of ours: it knows the function
CONTEXT: dict[str, list[str]] = {"help_option_names": []}


@trigger_app.command(name="t", hidden=True, context_settings=CONTEXT)
@trigger_app.command(name="trigger", context_settings=CONTEXT)
def trigger_command(
    ctx: typer.Context,
    function: Annotated[str | None, typer.Argument(metavar="FUNCTION", help="Its id.")] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="The payload; VALUE is JSON if it can be."),
    ] = None,
    strings: Annotated[
        list[str] | None, typer.Option("-s", "--string", metavar="KEY=VALUE", help="VALUE stays a string.")
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(metavar="JSON|@FILE|-", help="The payload, or what KEY=VALUE is merged over."),
    ] = None,
    refs: Annotated[
        list[str] | None,
        typer.Option("--ref", metavar="KEY=REF", help="Put a ref at KEY (a.b[0].reader) of the payload."),
    ] = None,
    metadata: Annotated[
        str | None, typer.Option(metavar="JSON|@FILE", help="Sent beside the payload.")
    ] = None,
    void: Annotated[bool, typer.Option("--void", help="Do not wait for an answer.")] = False,
    form: Annotated[
        str, typer.Option("--format", metavar="FORM", help="pretty, jsonl, or raw: a string as it is.")
    ] = "pretty",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the payload, keys masked, and make no call.")
    ] = False,
    timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Limit for the whole of it. 0: none. [30s]")
    ] = None,
    timeout_ms: Annotated[
        int | None, typer.Option(metavar="N", help="The same in milliseconds, as the engine's CLI has it.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="HOST", help="The engine's host, in place of --url.")
    ] = None,
    port: Annotated[int | None, typer.Option(metavar="N", help="Its port. [49134]")] = None,
    help_wanted: Annotated[
        bool, typer.Option("-h", "--help", help="Show this; with FUNCTION, what the engine knows of it.")
    ] = False,
) -> None:
    """Call a function and print its result as JSON; nothing for null.

    The error of a function goes to stderr, with exit 1; an unknown function is exit 5.

    Examples: `iii trigger orders::create id=7 -s zip=01234`; `iii t files::index --ref reader=@x/reader`;
    `iii trigger orders::create --help`.
    """
    if help_wanted and function is None:
        typer.echo(ctx.get_help())
        return
    from iii_cli.commands.trigger_call import trigger

    trigger(
        ctx,
        TriggerOptions(
            function=function,
            pairs=tuple(pairs or ()),
            strings=tuple(strings or ()),
            json=json,
            refs=tuple(refs or ()),
            metadata=metadata,
            void=void,
            form=form,
            dry_run=dry_run,
            timeout=timeout,
            timeout_ms=timeout_ms,
            address=address,
            port=port,
            help_wanted=help_wanted,
        ),
    )

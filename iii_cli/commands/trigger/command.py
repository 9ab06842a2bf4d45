"""`iii trigger FUNCTION [key=value …]`."""

from __future__ import annotations

from typing import Annotated

import typer

from iii_cli.commands.common import PassToken
from iii_cli.commands.trigger.order import StreamOptions, TriggerOptions

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
        str,
        typer.Option("--format", metavar="pretty|jsonl|raw", help="Of the result; raw: a string as it is."),
    ] = "pretty",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the payload, keys masked, and make no call.")
    ] = False,
    ins: Annotated[
        list[str] | None,
        typer.Option(
            "--in",
            metavar="[KEY=]SOURCE",
            help="Stream FILE, - or cmd:COMMAND to the function; its reader ref is put at KEY. [stdin]",
        ),
    ] = None,
    outs: Annotated[
        list[str] | None,
        typer.Option(
            "--out",
            metavar="[KEY=]TARGET",
            help="Stream from the function to FILE, - or cmd:COMMAND; a writer ref is put at KEY. [stdout]",
        ),
    ] = None,
    read: Annotated[
        str | None,
        typer.Option(metavar="PATH[=TARGET]", help="Read the ref found at PATH of the result."),
    ] = None,
    result: Annotated[
        str | None, typer.Option(metavar="FILE", help="Where the result goes; stderr if stdout is a stream.")
    ] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Streams: a line is a text message.")] = False,
    text: Annotated[bool, typer.Option("--text", help="--out: text messages joined as they are.")] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help='Streams: a line is a frame, {"text":…} or {"base64":…}.')
    ] = False,
    messages: Annotated[
        str | None,
        typer.Option(metavar="stderr|drop|FILE", help="Where text messages beside bytes go. [stderr]"),
    ] = None,
    seal: Annotated[
        bool | None,
        typer.Option("--seal/--no-seal", help="Seal what --in sends. [bytes: yes, text messages: no]"),
    ] = None,
    require_seal: Annotated[
        bool, typer.Option("--require-seal", help="An --out that cannot be verified fails.")
    ] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="An empty --out is no failure.")] = False,
    stop_early: Annotated[
        bool,
        typer.Option("--stop-early", help="cmd: targets: end when COMMAND wants no more, unverified."),
    ] = False,
    no_clobber: Annotated[bool, typer.Option("--no-clobber", help="Refuse a FILE that exists.")] = False,
    keep_partial: Annotated[bool, typer.Option("--keep-partial", help="Keep FILE.part on failure.")] = False,
    pass_token: PassToken = False,
    buffer: Annotated[
        int | None, typer.Option(metavar="N", help="Messages that the engine holds for a stream.")
    ] = None,
    linger: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="After the result: silence before a stream is looked into. [5s]"),
    ] = None,
    stall_timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="End when nothing moved for so long. [60s after the result]"),
    ] = None,
    progress: Annotated[
        str, typer.Option(metavar="auto|always|never|json", help="How the streams get on, on stderr.")
    ] = "auto",
    producer: Annotated[
        str,
        typer.Option(
            metavar="warn|strict|ignore",
            envvar="III_PRODUCER",
            help="--in -: what it means when the program before the pipe fails.",
        ),
    ] = "warn",
    each: Annotated[
        bool,
        typer.Option("--each", help="A call for each line of JSON on stdin, a line of JSON for each answer."),
    ] = False,
    parallel: Annotated[
        int | None, typer.Option("-P", "--parallel", metavar="N", help="--each: calls in flight. [1]")
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="--each: begin no more calls after one that failed.")
    ] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Print the trace id, and what the engine knows of the trace.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Pass on the code of a COMMAND, or `exit_code` of the result.")
    ] = False,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Limit for all of it (--each: of a call). 0: none. [30s, none with streams]"
        ),
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
) -> int:
    """Call a function, with streams if it wants some, and print its result as JSON; nothing for null.

    The error of a function goes to stderr, with exit 1; an unknown function is exit 5, a worker that was lost
    during the call exit 9.

    \b
    Examples:
      iii trigger orders::create id=7 -s zip=01234
      iii trigger orders::create --help
      iii trigger text::gzip --in big.bin --out big.gz
      iii trigger llm::chat prompt=hi --out stream=- --text
    """
    if help_wanted and function is None:
        typer.echo(ctx.get_help())
        return 0
    from iii_cli.commands.trigger.call import trigger

    return trigger(
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
            exit_code=exit_code,
            trace=trace,
            each=each,
            parallel=parallel,
            fail_fast=fail_fast,
            help_wanted=help_wanted,
            streams=StreamOptions(
                ins=tuple(ins or ()),
                outs=tuple(outs or ()),
                read=read,
                result=result,
                lines=lines,
                text=text,
                jsonl=jsonl,
                messages=messages,
                seal=seal,
                require_seal=require_seal,
                allow_empty=allow_empty,
                stop_early=stop_early,
                no_clobber=no_clobber,
                keep_partial=keep_partial,
                pass_token=pass_token,
                buffer=buffer,
                linger=linger,
                stall_timeout=stall_timeout,
                progress=progress,
                producer=producer,
            ),
        ),
    )

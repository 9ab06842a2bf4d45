"""The root of the command tree: the global options, and where each command is found."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated, Any

import typer

from iii_cli.commands.tree import LazyGroup, Leaf, build
from iii_cli.config.settings import GlobalFlags, color_choice
from iii_cli.io.console import talk
from iii_cli.net.trail import listen

__all__ = ("TREE", "app")

TREE = {
    "channel": Leaf("channel:channel_app", "Make channels, write into them and read from them."),
    "trigger": Leaf(
        "trigger:trigger_app",
        "Call a function, with streams if it wants some, and print its result as JSON; nothing for null.",
    ),
    "t": Leaf("trigger:trigger_app", ""),
    "serve": Leaf("serve:serve_app", "Make any Unix filter a function: COMMAND runs once for each call."),
    "functions": Leaf("listing:functions_app", "See which functions there are, and wait for them."),
    "workers": Leaf("listing:workers_app", "See which workers are connected, and what they offer."),
    "trace": Leaf("listing:trace_app", "See what happened in a trace."),
    "ref": Leaf("saved:ref_app", "Keep the refs of channels by name."),
    "context": Leaf("saved:context_app", "Manage saved engines (contexts)."),
    "engine": Leaf("engine.command:engine_app", "Run the embedded engine: for development, tests and CI."),
    "bench": Leaf("bench:bench_app", "Measure an engine: bytes, calls and round trips a second."),
    "doctor": Leaf(
        "doctor:doctor_app",
        "Look at the engine, the settings and this machine, and say what to do about what is not fine.",
    ),
    "demo": Leaf(
        "demo:demo_app",
        "Stream a file through a served Unix filter and back, and compare what came out.",
    ),
    "completion": Leaf("manual:completion_app", "Print the completion script for bash, zsh or fish."),
    "help": Leaf("help:help_app", "Explain exit-codes, environment, refs or seals, or a command."),
}


class _Root(LazyGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.grow(
            {word: partial(build, word, leaf) for word, leaf in TREE.items()},
            {word: leaf.line for word, leaf in TREE.items()},
        )


app = typer.Typer(
    name="iii",
    cls=_Root,
    no_args_is_help=True,
    add_completion=False,  # `iii completion` prints scripts that know ids with `::`
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog="cloud, compose, console, project, update, worker and -c FILE are for the engine's own `iii`: "
    "they go to the next one on PATH.",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from iii_cli import __version__

        typer.echo(f"iii {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="The engine, ws://HOST:PORT or wss://….")
    ] = None,
    context: Annotated[str | None, typer.Option(metavar="NAME", help="Use a saved context.")] = None,
    namespace: Annotated[
        str | None, typer.Option("-n", "--namespace", metavar="NS", help="Namespace of the functions called.")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing but errors.")] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Show each connection, request and close on stderr; keys are masked."),
    ] = False,
    color: Annotated[
        str | None, typer.Option(metavar="auto|always|never", help="Colours on stderr. [auto]")
    ] = None,
    connect_timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="For the connection to the engine. [10s]")
    ] = None,
    wait_engine: Annotated[
        str | None, typer.Option(metavar="TIME", help="Retry a refused connection for so long.")
    ] = None,
    token_file: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Read the bearer token from FILE.")
    ] = None,
    cacert: Annotated[
        str | None, typer.Option(metavar="FILE", help="Trust this authority for wss://.")
    ] = None,
    cert: Annotated[str | None, typer.Option(metavar="FILE", help="Client certificate for wss://.")] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", help="Its key.")] = None,
    server_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The name expected in the engine's certificate.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="K=V|@FILE", help="Send a header, or those of FILE.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Pipe data between iii workers, from the shell.

    Global options may stand before or after the command, up to `--`.
    """
    color_choice(color, os.environ)
    talk.configure(quiet=quiet)
    listen(talk.notice if verbose else None)
    ctx.obj = GlobalFlags(
        url=url,
        context=context,
        namespace=namespace,
        quiet=quiet,
        verbose=verbose,
        color=color,
        connect_timeout=connect_timeout,
        wait_engine=wait_engine,
        token_file=token_file,
        cacert=cacert,
        cert=cert,
        key=key,
        server_name=server_name,
        headers=tuple(header or ()),
    )

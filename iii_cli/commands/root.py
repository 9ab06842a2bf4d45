"""The command tree: its root with the global options, and the words that lead to each command.

Building a command costs milliseconds: its module is imported, its signature read. A shell loop pays that
every time round, so a command is built when its word is looked up. Words and one-line helps are known before.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import cache, partial
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = ("TREE", "LazyGroup", "app")

# Each word: the Typer in iii_cli.commands that has its command; its line in the help, empty if not listed.
TREE = {
    "channel": ("channel:channel_app", "Make channels, write into them and read from them."),
    "trigger": (
        "trigger:trigger_app",
        "Call a function, with streams if it wants some, and print its result as JSON; nothing for null.",
    ),
    "t": ("trigger:trigger_app", ""),
    "pipe": ("pipe:pipe_app", "Pipe data through functions of several workers, as `|` does for programs."),
    "serve": ("serve:serve_app", "Make any Unix filter a function: COMMAND runs once for each call."),
    "functions": ("listing:functions_app", "See which functions there are, and wait for them."),
    "workers": ("listing:workers_app", "See which workers are connected, and what they offer."),
    "trace": ("listing:trace_app", "See what happened in a trace."),
    "ref": ("saved:ref_app", "Keep the refs of channels by name."),
    "context": ("saved:context_app", "Manage saved engines (contexts)."),
    "engine": ("engine:engine_app", "Run the embedded engine: for development, tests and CI."),
    "bench": ("bench:bench_app", "Measure an engine: bytes, calls and round trips a second."),
    "doctor": (
        "doctor:doctor_app",
        "Look at the engine, the settings and this machine, and say what to do about what is not fine.",
    ),
    "demo": (
        "demo:demo_app",
        "Stream a file through a served Unix filter and back, and compare what came out.",
    ),
    "completion": ("help:completion_app", "Print the completion script for bash, zsh or fish."),
    "help": ("help:help_app", "Explain exit-codes, environment, refs or seals, or a command."),
}


class LazyGroup(TyperGroup):
    """A group whose commands are built one by one, when somebody asks for them."""

    commands: Any  # what builds each, by its word
    lines: Mapping[str, str] = {}  # of the help; without them the commands are built for it

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return self.commands[cmd_name]() if cmd_name in self.commands else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Whole sentences: typer cuts them where a row ends."""
        lines = self.lines or {
            word: build().get_short_help_str(limit=1000) for word, build in self.commands.items()
        }
        with formatter.section("Commands"):
            formatter.write_dl([(word, line) for word, line in lines.items() if line])


class _Root(LazyGroup):
    lines: Mapping[str, str] = {word: line for word, (_, line) in TREE.items()}

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {word: cache(partial(self._build, word, place)) for word, (place, _) in TREE.items()}

    def _build(self, word: str, place: str) -> Any:
        """The command for `word`: the Typer's own command of that name, or else the Typer as a group."""
        module, _, name = place.partition(":")
        found: typer.Typer = getattr(import_module(f"iii_cli.commands.{module}"), name)
        words = {_word_of(info): info for info in found.registered_commands}
        if word in words:
            return self._single(word, words[word])
        group = LazyGroup(
            name=word,
            help=found.info.help,
            no_args_is_help=bool(found.info.no_args_is_help),
            rich_markup_mode=None,
        )
        group.commands = {inner: cache(partial(self._single, inner, info)) for inner, info in words.items()}
        return self._with_global_options(group)

    def _single(self, word: str, info: Any) -> Any:
        """One command by itself, as typer builds it for a program that has no other."""
        from iii_cli.commands.common import PlainCommand

        alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        info.cls = PlainCommand if info.cls in (None, TyperCommand) else info.cls
        alone.registered_commands.append(info)
        command = typer.main.get_command(alone)
        command.name = word
        # People look for examples at the end, behind the options: `Examples:` of a docstring goes there.
        text, mark, examples = (command.help or "").partition("\b\nExamples:\n")
        if mark:
            command.help, command.epilog = text.rstrip(), mark + examples
        return self._with_global_options(command)

    def _with_global_options(self, command: Any) -> Any:
        """Let the root's options stand behind the command, too, but for names that it has itself."""
        own = {name for parameter in command.params for name in parameter.opts}
        for option in self.params:
            names = [name for name in option.opts if name not in own]
            if names and not option.is_eager:
                late: Any = copy(option)
                late.opts, late.hidden, late.expose_value, late.callback = names, True, False, _given_late
                late.name = f"root.{option.name}"  # the command may have a parameter of that name
                command.params.append(late)
        return command


def _word_of(info: Any) -> str:
    return info.name or str(info.callback.__name__).replace("_", "-")


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
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", help="Show each connection, request and close on stderr; keys are masked."),
    ] = False,
    color: Annotated[
        str | None, typer.Option(metavar="auto|always|never", help="Colours on stderr. [auto]")
    ] = None,
    connect_timeout: Annotated[
        str | None, typer.Option(metavar="TIME", help="Limit for connecting to the engine. [10s]")
    ] = None,
    wait_engine: Annotated[
        str | None, typer.Option(metavar="TIME", help="Keep retrying for TIME while the engine is not up.")
    ] = None,
    token_file: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Read the bearer token from FILE.")
    ] = None,
    cacert: Annotated[
        str | None, typer.Option(metavar="FILE", help="CA certificate file for wss://.")
    ] = None,
    cert: Annotated[str | None, typer.Option(metavar="FILE", help="Client certificate for wss://.")] = None,
    key: Annotated[str | None, typer.Option(metavar="FILE", help="Private key for --cert.")] = None,
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
    from iii_cli.config.settings import GlobalFlags

    ctx.obj = GlobalFlags()
    _take(ctx, ctx.params)


# But an empty text was given, and is refused where it has no meaning.
_NOT_GIVEN: tuple[object, ...] = (None, False, (), [])


def _given_late(ctx: Any, option: Any, value: Any) -> None:
    """A global option behind the command's word: it wins over one in front, and headers are added."""
    if value not in _NOT_GIVEN:
        _take(ctx, {option.name.removeprefix("root."): value})


def _take(ctx: Any, params: Mapping[str, Any]) -> None:
    """Keep those global options that were given; what is for the whole process is done at once."""
    import os

    from msgspec.structs import replace

    from iii_cli.config.settings import color_choice
    from iii_cli.io.console import console
    from iii_cli.net.trail import listen

    given = {name: value for name, value in params.items() if value not in _NOT_GIVEN}
    if "header" in given:
        given["headers"] = (*ctx.obj.headers, *given.pop("header"))
    flags = ctx.obj = replace(ctx.obj, **given)
    color_choice(flags.color, os.environ)
    console.configure(quiet=flags.quiet)
    listen(console.notice if flags.verbose else None)

"""The front door: the command tree, and the one place that prints an error and exits."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from iii_cli.commands.channel import channel_app
from iii_cli.commands.context import context_app
from iii_cli.commands.demo import demo_command
from iii_cli.commands.engine import engine_app
from iii_cli.commands.functions import functions_app
from iii_cli.commands.global_options import hoist
from iii_cli.commands.help import help_command
from iii_cli.commands.ref import ref_app
from iii_cli.commands.running import tell
from iii_cli.commands.serve import serve_command
from iii_cli.commands.tail import TailCommand
from iii_cli.commands.trigger import TRIGGER_CONTEXT, trigger_command
from iii_cli.config.settings import GlobalFlags, color_choice
from iii_cli.errors import ExitStatus, Failure, FunctionFailed, Interrupted, UsageProblem
from iii_cli.terminal.descriptors import reserve_descriptors

if TYPE_CHECKING:
    from types import FrameType

__all__ = ("app", "main")

app = typer.Typer(
    name="iii",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(channel_app, name="channel")
app.add_typer(context_app, name="context")
app.add_typer(engine_app, name="engine")
app.add_typer(functions_app, name="functions")
app.add_typer(ref_app, name="ref")
app.command(name="demo")(demo_command)
app.command(name="serve", cls=TailCommand)(serve_command)
app.command(name="help")(help_command)
app.command(name="trigger", context_settings=TRIGGER_CONTEXT)(trigger_command)
app.command(name="t", hidden=True, context_settings=TRIGGER_CONTEXT)(trigger_command)


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
    verbose: Annotated[bool, typer.Option("--verbose", help="Say more about what happens.")] = False,
    color: Annotated[str | None, typer.Option(metavar="WHEN", help="auto, always or never.")] = None,
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


def main() -> NoReturn:
    """Run the program; every way out is here."""
    reserve_descriptors()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    _leave(_status(sys.argv[1:]))


def _status(arguments: list[str]) -> int:
    """Run one command line and say how the process ends."""
    click_error, abort = _typer_errors()
    try:
        command = typer.main.get_command(app)
        outcome: Any = command.main(hoist(command, arguments), prog_name=_program(), standalone_mode=False)
        sys.stdout.flush()
        return outcome if isinstance(outcome, int) else ExitStatus.DONE
    except Failure as failure:
        return _report(failure)
    except click_error as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            return _help_for_nothing(error, bare=not arguments)
        return _report(UsageProblem(_usage_text(error)))
    except (KeyboardInterrupt, abort):
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return ExitStatus.PIPE_CLOSED
    except SystemExit as leaving:
        # typer's own word for a write into a closed stdout is 1, which says nothing to a script.
        return ExitStatus.PIPE_CLOSED if leaving.code == 1 else int(leaving.code or 0)
    except Exception as error:
        return _internal(error)


def _typer_errors() -> tuple[type[Exception], type[BaseException]]:
    """typer carries its own click since 0.26; its exceptions are not importable from anywhere public."""
    return typer.BadParameter.__mro__[2], typer.Abort


def _help_for_nothing(error: Any, *, bare: bool) -> int:
    """`iii` alone asks for help; `iii channel` is a command that lacks its second word."""
    (sys.stdout if bare else sys.stderr).write(f"{error.ctx.get_help()}\n")
    return ExitStatus.DONE if bare else ExitStatus.USAGE


def _program() -> str:
    name = os.path.basename(sys.argv[0])
    return name if name == "iii-cli" else "iii"


def _usage_text(error: Any) -> str:
    text = " ".join(str(error.format_message()).split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{text}; see `{context.command_path} --help`" if context is not None else text


def _report(failure: Failure) -> int:
    if isinstance(failure, Interrupted):
        return failure.exit_status
    if isinstance(failure, FunctionFailed):
        from iii_cli.commands.outcome import print_function_failure

        print_function_failure(failure)
    else:
        from iii_cli.terminal.text import clean

        tell(clean(str(failure)))
    return failure.exit_status


def _internal(error: Exception) -> int:
    """A bug of ours: one line, without the message of the exception, which may hold a secret."""
    if os.environ.get("III_TRACEBACK"):
        import traceback

        traceback.print_exc()
        return ExitStatus.FAILED
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
    tell(f"this is a bug in iii: {type(error).__name__}{place}; III_TRACEBACK=1 shows where")
    return ExitStatus.FAILED


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    """Without an event loop a signal ends the command as soon as Python hears of it."""
    raise Interrupted(signum)


def _leave(status: int) -> NoReturn:
    """Exit without the interpreter's noise about a stdout that nobody reads."""
    try:
        sys.stdout.flush()
    except (OSError, AttributeError, ValueError):
        status = status or ExitStatus.PIPE_CLOSED
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(int(status))

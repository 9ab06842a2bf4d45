"""The front door, and the one place that prints an error and exits.

Light: the command tree and typer are imported when there is something to parse.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from iii_cli import __version__
from iii_cli.errors import ExitStatus, Failure, FunctionFailed, Interrupted, UsageProblem
from iii_cli.terminal.descriptors import reserve_descriptors

if TYPE_CHECKING:
    from types import FrameType

__all__ = ("main",)


def main() -> NoReturn:
    """Run the program; every way out is here."""
    reserve_descriptors()
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGHUP, _stop)
    _leave(_status(sys.argv[1:]))


def _status(arguments: list[str]) -> int:
    """Run one command line and say how the process ends."""
    try:
        return _run(arguments)
    except Failure as failure:
        return _report(failure)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        return ExitStatus.PIPE_CLOSED
    except SystemExit as leaving:
        # typer's own word for a write into a closed stdout is 1, which says nothing to a script.
        return ExitStatus.PIPE_CLOSED if leaving.code == 1 else int(leaving.code or 0)
    except Exception as error:
        return _internal(error)


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        sys.stdout.write(f"iii {__version__}\n")
        return ExitStatus.DONE
    import typer

    from iii_cli.commands.global_options import hoist
    from iii_cli.commands.root import app

    # typer carries its own click since 0.26; its exceptions are not importable from anywhere public.
    click_error: Any = typer.BadParameter.__mro__[2]
    command = typer.main.get_command(app)
    try:
        outcome: Any = command.main(hoist(command, arguments), prog_name=_program(), standalone_mode=False)
        sys.stdout.flush()
    except click_error as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            return _help_for_nothing(error, bare=not arguments)
        raise UsageProblem(_usage_text(error)) from None
    except typer.Abort:
        raise KeyboardInterrupt from None
    return outcome if isinstance(outcome, int) else ExitStatus.DONE


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
        from iii_cli.commands.running import tell
        from iii_cli.terminal.text import clean

        tell(clean(str(failure)))
    return failure.exit_status


def _internal(error: Exception) -> int:
    """A bug of ours: one line, without the message of the exception, which may hold a secret."""
    from iii_cli.commands.running import tell

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

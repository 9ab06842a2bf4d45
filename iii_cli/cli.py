"""The front door: parse, run, and the one place that prints an error and exits.

Light: the command tree and typer are imported when there is something to parse.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NoReturn

from iii_cli.commands.handover import hand_over
from iii_cli.errors import ExitStatus, Failure, Interrupted, LocalProblem, UsageProblem, cannot_write
from iii_cli.io.descriptors import reserve_descriptors
from iii_cli.io.signals import came, end_by_signal, ends_by_itself, note, take_over
from iii_cli.version import __version__

if TYPE_CHECKING:
    from types import FrameType

__all__ = ("main", "status_of")

# What a print of help or of a version can run into; every other system call is translated where it is made.
OUTPUT_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EAGAIN)
# Imports create no garbage: the default of 700 would collect 60 times at start-up, 20,000 twice (13 ms).
COLLECT_AFTER = 50_000


def main() -> NoReturn:
    """Run the program; every way out is here."""
    try:
        take_over()
        _prepare()
        status = status_of(sys.argv[1:])
        note(0)
    except (KeyboardInterrupt, SystemExit):  # amid the first words or the last
        status = _interrupted()
    _leave(status)


def _prepare() -> None:
    # SIGUSR1 asks for a line of progress, and its default would kill a command that has none to show. A
    # handler and not SIG_IGN, which a COMMAND would inherit.
    usr1 = getattr(signal, "SIGUSR1", None)
    if usr1 is not None and signal.getsignal(usr1) is signal.SIG_DFL:
        signal.signal(usr1, _no_progress)
    gc.set_threshold(COLLECT_AFTER)
    reserve_descriptors()


def _no_progress(signum: int, frame: FrameType | None) -> None:
    """No progress yet, or no more."""


def status_of(arguments: list[str]) -> int:
    """Run one command line and say how the process ends; below 0: by that signal, as Popen has it."""
    try:
        return _run(arguments)
    except Failure as failure:
        return _report(failure)
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:
        return ExitStatus.PIPE_CLOSED
    except SystemExit as leaving:
        if came():
            return _interrupted()
        # typer's own word for a write into a closed stdout is 1, which says nothing to a script.
        return ExitStatus.PIPE_CLOSED if leaving.code == 1 else int(leaving.code or 0)
    except OSError as error:
        if error.errno in OUTPUT_FAULTS:
            return _report(cannot_write("standard output", error))
        if error.errno == errno.ENOENT and not _has_folder():
            return _report(LocalProblem("the working directory was deleted", hint="cd to another one"))
        return _internal(error)
    except UnicodeEncodeError as error:
        # An argument that is not UTF-8 is good for the name of a file, and for nothing that is sent.
        given = [*arguments, *(value for name, value in os.environ.items() if name.startswith("III_"))]
        if any("\ud800" <= character <= "\udfff" for text in given for character in text):
            return _report(UsageProblem("an argument or a variable is not UTF-8, which JSON cannot carry"))
        return _internal(error)
    except Exception as error:
        return _internal(error)


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        sys.stdout.write(f"iii {__version__}\n")
        sys.stdout.flush()
        return ExitStatus.DONE
    if arguments[:1] == ["_complete"]:
        from iii_cli.commands.completion import answer

        answer(arguments[1:])
        return ExitStatus.DONE
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "--progress=json" in ours or ("--progress", "json") in pairwise(ours):
        from iii_cli.io.console import console

        console.configure(as_json=True)  # before anything can be wrong with the rest of the line
    hand_over(arguments)
    import typer

    from iii_cli.commands.root import app

    # typer carries its own click since 0.26; its exceptions are not importable from anywhere public.
    click_error: Any = typer.BadParameter.__mro__[2]
    command = typer.main.get_command(app)
    name = os.path.basename(sys.argv[0])
    program = name if name == "iii-cli" else "iii"
    try:
        outcome: Any = command.main(arguments, prog_name=program, standalone_mode=False)
        sys.stdout.flush()
    except click_error as error:
        if type(error).__name__ != "NoArgsIsHelpError":
            raise UsageProblem(_usage_text(error)) from None
        # `iii` alone asks for help; `iii channel` is a command that lacks its second word.
        (sys.stderr if arguments else sys.stdout).write(f"{error.ctx.get_help()}\n")
        return ExitStatus.USAGE if arguments else ExitStatus.DONE
    except typer.Abort:
        raise KeyboardInterrupt from None
    return outcome if isinstance(outcome, int) else ExitStatus.DONE


def _usage_text(error: Any) -> str:
    text = " ".join(str(error.format_message()).split()).rstrip(".")
    context = getattr(error, "ctx", None)
    if context is None:
        return text
    if type(error).__name__ == "NoSuchOption":
        from iii_cli.config.store import nearest
        from iii_cli.io.console import clean

        # The nearest option that the command takes, the global ones among them.
        takers = (context.command, context.find_root().command)
        known = [name for taker in takers for parameter in taker.params for name in parameter.opts]
        match = nearest(error.option_name.lstrip("-"), [name[2:] for name in known if name.startswith("--")])
        text = f"no such option {clean(error.option_name)}" + (f"; did you mean --{match}?" if match else "")
    return f"{text}; see `{context.command_path} --help`"


def _has_folder() -> bool:
    """Is the working directory there, from which names of files are read?"""
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def _report(failure: Failure) -> int:
    """Say what failed. The exit status; below 0: to end by that signal."""
    if isinstance(failure, Interrupted):
        return -failure.signum if ends_by_itself(failure.signum) else failure.exit_status
    from iii_cli.io.console import console

    console.problem(failure)
    return failure.exit_status


def _interrupted() -> int:
    return _report(Interrupted(came() or signal.SIGINT))


def _internal(error: Exception) -> int:
    """A bug of ours: one line, without the message of the exception, which may hold a secret.

    Unless a signal came: its exception, raised amid the making of a class, is another one when it comes out.
    """
    if came():
        return _interrupted()
    from iii_cli.io.console import console

    if os.environ.get("III_TRACEBACK"):
        import traceback

        traceback.print_exc()
        return ExitStatus.FAILED
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
    console.tell(f"this is a bug in iii: {type(error).__name__}{place}; III_TRACEBACK=1 shows where")
    return ExitStatus.FAILED


def _leave(status: int) -> NoReturn:
    """Say what is still to be said, remove what is not finished, and end.

    At once: the interpreter would complain of a stdout that nobody reads, and would take everything apart, a
    tenth of the time of a one-line command.
    """
    code = 128 - status if status < 0 else int(status)
    if files := sys.modules.get("iii_cli.io.outfile"):
        files.discard_unfinished()
    if trails := sys.modules.get("iii_cli.net.trail"):
        trails.close_all()
    if told := sys.modules.get("iii_cli.io.console"):
        told.console.done(code)
    with suppress(OSError):  # which the status says already
        sys.stdout.flush()
    if status < 0:
        end_by_signal(-status)
    os._exit(code)

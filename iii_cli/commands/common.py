"""What commands share: values of options, settings, refs, the event loop, a COMMAND behind `--`."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from msgspec.structs import replace
from typer.core import TyperCommand

from iii_cli.config.settings import GlobalFlags, Settings, resolve
from iii_cli.errors import (
    EngineUnreachable,
    Failure,
    Interrupted,
    LocalProblem,
    PeerMisbehaved,
    UsageProblem,
    sole_cause,
)
from iii_cli.io.console import console
from iii_cli.io.signals import heard, held, note, pass_token_on, receiving, stop_at_once, withhold

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from iii_cli.config.refspec import ResolvedRef
    from iii_cli.protocol.refs import Direction

__all__ = (
    "AsJson",
    "KeepPartial",
    "Messages",
    "NeedsCommand",
    "NoClobber",
    "PassToken",
    "PassthroughCommand",
    "PlainCommand",
    "check_buffer",
    "choice",
    "find_ref",
    "flags_of",
    "hand_over_token",
    "mark_used",
    "meant_name",
    "opening",
    "passthrough_of",
    "rows_of",
    "run",
    "run_listening",
    "settings_of",
    "span_of",
    "tell",
    "within",
)

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
PassToken = Annotated[
    bool, typer.Option("--pass-token", help="Let COMMAND inherit the engine's token and full URL.")
]
NoClobber = Annotated[bool, typer.Option("--no-clobber", help="Refuse a FILE that exists.")]
KeepPartial = Annotated[bool, typer.Option("--keep-partial", help="Keep FILE.part on failure.")]
Messages = Annotated[
    str | None,
    typer.Option(metavar="stderr|drop|FILE", help="Where to put text messages beside the bytes. [stderr]"),
]


# Values of options.


def within(number: int, lowest: int, highest: int, what: str) -> int:
    """The number. Raises UsageProblem: `--port is a number from 0 to 65535`."""
    if not lowest <= number <= highest:
        raise UsageProblem(f"{what} from {lowest} to {highest}")
    return number


def choice(word: str | None, option: str, allowed: tuple[str, ...]) -> Any:
    """The word, or None where it was not given. Raises UsageProblem: `--stdout is ref or result`."""
    if word is not None and word not in allowed:
        raise UsageProblem(f"{option} is {', '.join(allowed[:-1])} or {allowed[-1]}")
    return word


def check_buffer(count: int | None) -> None:
    """`--buffer`. Raises UsageProblem."""
    if count is not None:
        within(count, 1, 1024, "--buffer is a number of messages")


def span_of(text: str | None, option: str, default: float | None) -> float | None:
    """A time limit in seconds, the `default` where none was given; None: no limit. Raises UsageProblem."""
    from iii_cli.quantities import seconds

    return default if text is None else seconds(text, option)


# Settings and notices.


def flags_of(ctx: typer.Context) -> GlobalFlags:
    """The global options of this command line."""
    return ctx.obj if isinstance(ctx.obj, GlobalFlags) else GlobalFlags()


def settings_of(ctx: typer.Context, ref: ResolvedRef | None = None) -> Settings:
    """Settle all settings, once a command, and say what is worth a warning.

    A saved `ref` remembers its engine. Raises UsageProblem and LocalProblem.
    """
    from iii_cli.config.store import ContextStore

    settings = resolve(flags_of(ctx), os.environ, ContextStore(), ref)
    if settings.token_variable is not None:
        withhold(settings.token_variable)
    for notice in settings.notices:
        tell(notice)
    return settings


def tell(text: str) -> None:
    """One line for a person, on stderr, unless `-q` was given."""
    console.notice(text)


# The event loop.


def run(body: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run an async command body on a fresh event loop.

    The signals that end us cancel the body, whose cleanup runs, and end as Interrupted; a second one ends the
    process at once. Of several failures the gravest is raised (docs: design, "Exit codes"); BrokenPipeError
    stays itself.
    """
    result: T = run_listening(_until_signalled, body, args)
    return result


def run_listening(body: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run an async body that hears the signals itself, and calls its last argument once it does.

    Raises the gravest of several failures.
    """
    with held() as let_go:
        import anyio

        # A line there and back takes a fifth less time than with asyncio's loop.
        options: dict[str, Any] = {}
        with suppress(ImportError):  # not CPython on Linux or macOS
            from uvloop import new_event_loop

            options["loop_factory"] = new_event_loop
        try:
            return anyio.run(lambda: body(*args, let_go), backend_options=options)
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None


async def _until_signalled(
    body: Callable[..., Awaitable[T]], args: tuple[Any, ...], listening: Callable[[], None]
) -> T:
    import anyio

    stopped: list[int] = []
    result: list[T] = []

    async def listen(scope: anyio.CancelScope, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        with receiving(heard()) as signals:
            listening()
            task_status.started()
            async for signum in signals:
                if stopped:
                    stop_at_once(signum)
                stopped.append(signum)
                note(signum)
                if signum == signal.SIGINT:  # said at once, because the cleanup may take its two seconds
                    tell("interrupted; ending (once more to stop at once)")
                else:
                    tell(f"{signal.Signals(signum).name} received; ending")
                scope.cancel()

    try:
        async with anyio.create_task_group() as listeners:
            with anyio.CancelScope() as scope:
                await listeners.start(listen, scope)
                result.append(await body(*args))
            listeners.cancel_scope.cancel()
    except BaseException as error:
        if stopped and isinstance(sole_cause(error), Failure):  # what failed beside a signal is its effect
            raise Interrupted(stopped[0]) from None
        raise
    if not result:
        raise Interrupted(stopped[0])
    return result[0]


# The REF of a command.


def find_ref(
    ctx: typer.Context, text: str | None, needed: Direction, *, stdin_free: bool
) -> tuple[ResolvedRef, Settings]:
    """The ref that `text` (or III_WRITER, III_READER) names, and the settings of its engine.

    Raises UsageProblem, UnknownTarget, RefSpent, LocalProblem; no end is opened.
    """
    from iii_cli.config.refspec import DEFAULT_VARIABLE, resolve_ref
    from iii_cli.config.store import SavedRefs

    given = resolve_ref(text, needed, environ=os.environ, store=SavedRefs(), stdin_free=stdin_free)
    variable = DEFAULT_VARIABLE[needed] if text is None else text.removeprefix("env:")
    if text is None or text.startswith("env:"):
        os.environ.pop(variable, None)  # no COMMAND of ours needs a ref that we use up
    settings = settings_of(ctx, given)
    if settings.stdin_taken and not stdin_free:
        raise UsageProblem("--token-file - and the data cannot both be read from standard input")
    for notice in given.notices:
        tell(notice)
    if given.in_argv and sys.stderr.isatty():
        tell("this ref is visible in `ps`; pass it as @NAME, env: or file:")
    return given, settings


@contextmanager
def opening(given: ResolvedRef) -> Iterator[None]:
    """Around the opening of the end: a saved ref is spent by it, and tied to the engine that made it."""
    try:
        yield
    except EngineUnreachable as error:
        if given.saved_name is None or error.has_cause:
            raise
        raise error.with_hint(
            f"@{given.saved_name} is of that engine, whatever III_URL says; "
            f"`iii channel create --save {given.saved_name} --force` makes a new one"
        ) from None
    mark_used(given)


def mark_used(given: ResolvedRef) -> None:
    """Note that the end was opened: a saved ref is spent by use."""
    from iii_cli.config.store import SavedRefs

    if given.saved_name is not None:
        SavedRefs().mark_used(given.saved_name, given.ref)


# A COMMAND behind `--`.

_PASSTHROUGH = "iii.command"
_MARKS = frozenset("@:{/")  # of a REF, or of a path
# typer carries its own click since 0.26; its exceptions are not importable from anywhere public.
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]


class PlainCommand(TyperCommand):
    """A command as man pages write it: `NAME`, not `{NAME}`."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class PassthroughCommand(PlainCommand):
    """Keeps what stands behind `--` away from the parser, which would take it for more arguments."""

    usage_of_command = "[-- COMMAND...]"

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), self.usage_of_command]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_PASSTHROUGH] = args[at + 1 :]
            return super().parse_args(ctx, args[:at])
        # Without `--`: say so where a word looks like a COMMAND.
        at = self._stray(args)
        meant = f"{ctx.command_path} … -- {args[at] if at < len(args) else 'COMMAND'} …"
        try:
            rest = super().parse_args(ctx, list(args))
        except _USAGE_ERROR as error:
            option = getattr(error, "option_name", None)
            if at < len(args) and (option is None or any(word.startswith(option) for word in args[at:])):
                raise UsageProblem("write COMMAND behind `--`", hint=meant) from None
            if option is not None and not option.startswith("--"):
                raise UsageProblem(
                    f"no such option {option}; a COMMAND stands behind `--`", hint=meant
                ) from None
            raise
        if at < len(args) and self._open_ended is not None:
            if "FILE" not in self._open_ended:
                raise UsageProblem("write COMMAND behind `--`", hint=meant)
            raise LocalProblem(f"no file {args[at]}", hint=f"is it a COMMAND? {meant}")
        return rest

    def _stray(self, args: list[str]) -> int:
        """Where the first word is that was meant as a COMMAND, for want of a `--` before it; else the end."""
        valued = {name for part in self.params if not getattr(part, "is_flag", True) for name in part.opts}
        single = sum(part.param_type_name == "argument" and part.nargs == 1 for part in self.params)
        before = ""
        for at, word in enumerate(args):
            plain = word == "-" or not (word.startswith("-") or before in valued)
            before = word
            if not plain:
                continue
            single -= 1
            if single < 0 and self._open_ended is None:
                return at
            if not _MARKS.intersection(word) and shutil.which(word) and not os.path.exists(word):
                return at
        return len(args)

    @property
    def _open_ended(self) -> str | None:
        """What any number of can be given, in the words of the usage line."""
        return next((part.metavar for part in self.params if part.nargs == -1), None)


class NeedsCommand(PassthroughCommand):
    """Makes no sense without a COMMAND."""

    usage_of_command = "-- COMMAND..."


def passthrough_of(ctx: typer.Context) -> list[str] | None:
    """The COMMAND behind `--`; None where there is no `--`. It may be empty, which is a mistake."""
    words: list[str] | None = ctx.meta.get(_PASSTHROUGH)
    return words


def hand_over_token(wanted: bool, *, to_command: bool) -> None:
    """Do what `--pass-token` asks for. Raises UsageProblem without a COMMAND."""
    if wanted and not to_command:
        raise UsageProblem("--pass-token needs a COMMAND")
    if wanted:
        pass_token_on()


# What the engine was probably meant to be asked for.

ASK_SECONDS = 1.0  # an error that is late is worse than one without a suggestion


def rows_of(answer: Any, key: str) -> list[dict[str, Any]]:
    """The rows that an `engine::…::list` answered. Raises PeerMisbehaved."""
    rows = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise PeerMisbehaved(f"the engine's answer holds no list of {key}")
    return rows


def meant_name(settings: Settings, name: str, noun: str = "functions") -> str | None:
    """Which of the engine's functions, or `workers`, was probably meant. None, too, where it does not say."""
    from iii_cli.client.call import call
    from iii_cli.config.store import nearest

    key = {"functions": "function_id", "workers": "name"}[noun]
    data = {"include_internal": True} if noun == "functions" and name.startswith("engine") else {}
    endpoint = replace(settings.endpoint, connect_timeout=ASK_SECONDS, wait_engine=None)
    try:
        answer = call(endpoint, f"engine::{noun}::list", data, timeout=ASK_SECONDS, whole=True)
        known = [str(row[key]) for row in rows_of(answer, noun) if row.get(key) and row[key] != name]
    except Failure:
        return None
    # `text::uper` is near `text::upper`; so is `upper` alone, if only one function ends so.
    ends = [each for each in known if each.rpartition("::")[2] == name]
    return ends[0] if len(ends) == 1 else nearest(name, known)

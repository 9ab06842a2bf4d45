"""What a command of ours is: one that may take FILEs before `--` and a COMMAND behind it."""

from __future__ import annotations

import os
import shutil
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from iii_cli.errors import LocalProblem, UsageProblem
from iii_cli.io.signals import pass_token_on

__all__ = ("NeedsTail", "PassToken", "PlainCommand", "TailCommand", "hand_over_token", "tail_of")

_KEY = "iii.command"
# typer carries its own click since 0.26; its exceptions are not importable from anywhere public.
_MARKS = frozenset("@:{/")  # of a REF, or of a path
_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]

PassToken = Annotated[
    bool, typer.Option("--pass-token", help="Let COMMAND inherit the engine's token and full URL.")
]


class PlainCommand(TyperCommand):
    """A command as man pages write it: `NAME`, not `{NAME}`."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class TailCommand(PlainCommand):
    """Keeps what stands behind `--` away from the parser, which would take it for more arguments."""

    tail = "[-- COMMAND...]"

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [*super().collect_usage_pieces(ctx), self.tail]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_KEY] = args[at + 1 :]
            return super().parse_args(ctx, args[:at])
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


class NeedsTail(TailCommand):
    """Makes no sense without a COMMAND."""

    tail = "-- COMMAND..."


def tail_of(ctx: typer.Context) -> list[str] | None:
    """The COMMAND behind `--`; None where there is no `--`. It may be empty, which is a mistake."""
    tail: list[str] | None = ctx.meta.get(_KEY)
    return tail


def hand_over_token(wanted: bool, *, to_command: bool) -> None:
    """Do what `--pass-token` asks for. Raises UsageProblem without a COMMAND."""
    if wanted and not to_command:
        raise UsageProblem("--pass-token needs a COMMAND")
    if wanted:
        pass_token_on()

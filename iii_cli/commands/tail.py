"""What a command of ours is: one that may take FILEs before `--` and a COMMAND behind it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from iii_cli.errors import UsageProblem
from iii_cli.terminal.inheritance import pass_token_on

__all__ = ("NeedsTail", "PassToken", "PlainCommand", "TailCommand", "hand_over_token", "tail_of")

_KEY = "iii.command"

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
            args = args[:at]
        return super().parse_args(ctx, args)


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

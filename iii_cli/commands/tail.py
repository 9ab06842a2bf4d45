"""What a command of ours is: one that may take FILEs before `--` and a COMMAND behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    import typer

__all__ = ("NeedsTail", "PlainCommand", "TailCommand", "tail_of")

_KEY = "iii.command"


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

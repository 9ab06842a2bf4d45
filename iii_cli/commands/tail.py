"""Commands that take FILEs before `--` and a COMMAND behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

if TYPE_CHECKING:
    import typer

__all__ = ("TailCommand", "tail_of")

_KEY = "iii.command"


class TailCommand(TyperCommand):
    """Keeps what stands behind `--` away from the parser, which would take it for more arguments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta[_KEY] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


def tail_of(ctx: typer.Context) -> list[str] | None:
    """The COMMAND behind `--`; None where there is no `--`. It may be empty, which is a mistake."""
    tail: list[str] | None = ctx.meta.get(_KEY)
    return tail

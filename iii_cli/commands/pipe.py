"""`iii pipe STAGE [STAGE ...]`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace

from iii_cli.commands.common import PlainCommand, settings_of
from iii_cli.errors import FunctionFailed, StageFailed, UnknownTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.config.settings import Settings
    from iii_cli.protocol.pipeline import Stage

__all__ = ("pipe_app",)

pipe_app = typer.Typer()


class _PipeCommand(PlainCommand):
    """Takes a STAGE that begins with `-n` for a STAGE, and not for an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [re.sub(r"^(-n|--namespace)(?=\s)", r" \1", word) for word in args])


@pipe_app.command(name="pipe", cls=_PipeCommand)
def pipe_command(
    ctx: typer.Context,
    stages: Annotated[
        list[str],
        typer.Argument(
            metavar="STAGE...", help="`[-n NS] FUNCTION [KEY=VALUE]...`, quoted as one word of the shell."
        ),
    ],
    no_in: Annotated[
        bool, typer.Option("--no-in", help="The first stage reads nothing: it is a source.")
    ] = False,
    no_out: Annotated[
        bool, typer.Option("--no-out", help="The last stage writes nothing: it is a sink.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Draw the stages, keys and channels, and make no call.")
    ] = False,
) -> None:
    """Pipe data through functions of several workers, as `|` does for programs.

    \b
    Examples:
      iii pipe text::sort 'text::gzip level=9' --dry-run
      iii pipe text::sort 'bulk-importer::import_csv reader=<' --dry-run
    """
    from iii_cli.io.console import clean, emit
    from iii_cli.protocol.pipeline import draw, parse_stages, plan

    settings = settings_of(ctx)
    parsed = parse_stages(stages, settings.namespace)
    places = plan(parsed, _look_up(settings, parsed), no_in=no_in, no_out=no_out)
    if dry_run:
        emit(clean(draw(places, "standard input", "standard output"), keep_newlines=True))


def _look_up(settings: Settings, stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """What the engine knows of each function. Raises StageFailed, with the nearest name."""
    from iii_cli.commands.listing import find_function

    infos = []
    for number, stage in enumerate(stages, 1):
        try:
            infos.append(find_function(replace(settings, namespace=stage.home), stage.function_id))
        except (UnknownTarget, FunctionFailed) as failure:
            raise StageFailed(number, stage.function_id, failure) from None
    return infos

"""`iii trigger FUNCTION --help`: what the engine knows of the function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii_cli.commands.common import parameter_lines, parameters_of, tell
from iii_cli.commands.listing import find_function, schema_of
from iii_cli.commands.trigger.order import target_settings
from iii_cli.errors import EngineUnreachable
from iii_cli.io.console import clean, emit

if TYPE_CHECKING:
    import typer

    from iii_cli.commands.trigger.order import TriggerOptions

__all__ = ("show_function_help",)

HELP_SECONDS = 10.0


def show_function_help(ctx: typer.Context, options: TriggerOptions) -> None:
    """Print the function's description and parameters. Without an engine: the help of `trigger` itself.

    Raises UnknownTarget.
    """
    settings, function = target_settings(ctx, options), str(options.function)
    try:
        found = find_function(settings, function, timeout=HELP_SECONDS)
    except EngineUnreachable as error:
        tell(f"{error.message}, so this is the help of `trigger` itself")
        emit(ctx.get_help() + "\n")
        return
    emit("\n".join(_lines(found, function)) + "\n")


def _lines(found: dict[str, Any], function: str) -> list[str]:
    schema, answer = schema_of(found, "request"), schema_of(found, "response")
    lines = [clean(f"Usage: iii trigger {function} [KEY=VALUE]...")]
    if found.get("description"):
        lines += ["", clean(str(found["description"]), keep_newlines=True)]
    lines += ["", clean(f"Worker {found.get('worker_name')}, namespace {found.get('namespace')}.")]
    if schema is None:
        lines += ["", "It does not say what it takes."]
    else:
        lines += ["", "Parameters:" if parameters_of(schema) else "Takes:", *parameter_lines(schema)]
    if answer is not None:
        lines += ["", "Gives:", *parameter_lines(answer)]
    return lines

"""`iii trigger FUNCTION --help`: what the engine knows of the function."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from iii_cli.client.call import call
from iii_cli.commands.outcome import write_text
from iii_cli.commands.running import tell
from iii_cli.commands.trigger_order import target_settings
from iii_cli.errors import EngineUnreachable, FunctionFailed, UnknownTarget
from iii_cli.terminal.text import clean, width_of

if TYPE_CHECKING:
    import typer

    from iii_cli.commands.trigger_order import TriggerOptions

__all__ = ("parameters_of", "show_function_help")

HELP_SECONDS = 10.0
Row = tuple[str, str, str, str]


def show_function_help(ctx: typer.Context, options: TriggerOptions) -> None:
    """Print the function's description and parameters. Without an engine: the help of `trigger` itself.

    Raises UnknownTarget.
    """
    settings = target_settings(ctx, options)
    data: dict[str, Any] = {"function_id": options.function}
    if settings.namespace is not None:
        data["namespace"] = settings.namespace
    try:
        found = call(settings.endpoint, "engine::functions::info", data, timeout=HELP_SECONDS)
    except EngineUnreachable as error:
        tell(f"{error.message}, so this is the help of `trigger` itself")
        write_text(ctx.get_help() + "\n", sys.stdout)
        return
    except FunctionFailed as failure:
        if failure.code != "NOT_FOUND":
            raise
        raise UnknownTarget(
            failure.remote_message.rstrip("."), hint="`iii functions ls` lists what there is"
        ) from None
    _print(found, str(options.function))


def parameters_of(schema: Any) -> list[Row]:
    """Name, type, need and description of each parameter of a JSON Schema. Tolerates any value."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return []
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    return [
        (str(name), _type_of(part), "required" if name in needed else _default_of(part), _about(part))
        for name, part in properties.items()
    ]


def _print(found: dict[str, Any], function: str) -> None:
    schema = found.get("request_schema") or found.get("request_format")
    lines = [f"Usage: iii trigger {function} [KEY=VALUE]..."]
    if found.get("description"):
        lines += ["", str(found["description"])]
    lines += ["", f"Worker {found.get('worker_name')}, namespace {found.get('namespace')}."]
    rows = parameters_of(schema)
    if schema is None:
        lines += ["", "It does not say what it takes."]
    elif rows:
        lines += ["", "Parameters:", *_aligned(rows)]
    else:
        lines += ["", "Takes:", json.dumps(schema, indent=2, ensure_ascii=False)]
    if found.get("response_schema") is not None:
        lines += ["", "Gives:", json.dumps(found["response_schema"], indent=2, ensure_ascii=False)]
    write_text(clean("\n".join(lines), keep_newlines=True) + "\n", sys.stdout)


def _aligned(rows: list[Row]) -> list[str]:
    table = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(width_of, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join(cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return [f"  {line.rstrip()}" for line in lines]


def _type_of(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(kind, list):
        return " or ".join(map(str, kind))
    if kind is None and isinstance(part, dict) and isinstance(part.get("enum"), list):
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in part["enum"])
    return "any" if kind is None else str(kind)


def _default_of(part: Any) -> str:
    if isinstance(part, dict) and "default" in part:
        return f"[{json.dumps(part['default'], ensure_ascii=False)}]"
    return ""


def _about(part: Any) -> str:
    return str(part.get("description") or "") if isinstance(part, dict) else ""

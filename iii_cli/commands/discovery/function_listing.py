"""What `iii functions ls` and `info` do."""

from __future__ import annotations

import json as json_text
from typing import TYPE_CHECKING, Any

from iii_cli.client.call import CALL_SECONDS
from iii_cli.commands.common import meant_function, parameter_lines
from iii_cli.commands.discovery.asking import info_of, rows_in_namespace
from iii_cli.io.console import clean, emit, print_json, print_table
from iii_cli.protocol.payload import skeleton

if TYPE_CHECKING:
    from iii_cli.config.settings import Settings

__all__ = ("describe_function", "find_function", "function_table", "list_functions", "schema_of")

HEADER = ("FUNCTION", "NAMESPACE", "WORKER", "DESCRIPTION")
KEYS = ("function_id", "namespace", "worker_name", "description")


def list_functions(settings: Settings, filters: dict[str, Any], *, json: bool, ids: bool) -> None:
    """Print the engine's rows."""
    rows = rows_in_namespace(settings, "functions", filters)
    if json:
        print_json(rows)
    elif ids:
        emit("".join(clean(str(row.get("function_id", ""))) + "\n" for row in rows))
    else:
        function_table(rows)


def function_table(rows: list[dict[str, Any]]) -> None:
    """Print functions as the engine lists them."""
    print_table(HEADER, [[str(row.get(key) or "") for key in KEYS] for row in rows])


def describe_function(settings: Settings, function: str, *, json: bool, template: bool) -> None:
    """Print what the engine knows of one function. Raises UnknownTarget."""
    found = find_function(settings, function)
    if template:
        print_json(skeleton(schema_of(found, "request")))
    elif json:
        print_json(found)
    else:
        emit("\n".join(_details(found)) + "\n")


def find_function(settings: Settings, function: str, *, timeout: float = CALL_SECONDS) -> dict[str, Any]:
    """The engine's answer to `engine::functions::info`. Raises UnknownTarget, with what was probably
    meant.
    """
    named = {"function_id": function}
    return info_of(settings, "functions", named, lambda: meant_function(settings, function), timeout)


def schema_of(found: dict[str, Any], which: str) -> Any:
    """The `request` or `response` schema; older engines call it a format."""
    schema = found.get(f"{which}_schema")
    return found.get(f"{which}_format") if schema is None else schema


def _details(found: dict[str, Any]) -> list[str]:
    where = f"worker {found.get('worker_name')}, namespace {found.get('namespace')}"
    lines = [clean(f"{found.get('function_id')}  ({where})")]
    if found.get("description"):
        lines.append(clean(str(found["description"]), keep_newlines=True))
    for title, which in (("Takes", "request"), ("Gives", "response")):
        schema = schema_of(found, which)
        if schema is not None:
            lines += ["", f"{title}:", *parameter_lines(schema)]
    for row in found.get("registered_triggers") or ():
        config = json_text.dumps(row.get("config"), ensure_ascii=False)
        lines += ["", clean(f"Triggered by {row.get('trigger_type')}: {config}")]
    return lines

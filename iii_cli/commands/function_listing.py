"""What `iii functions ls` and `info` do."""

from __future__ import annotations

import json as json_text
import sys
from typing import TYPE_CHECKING, Any

from iii_cli.client.call import call
from iii_cli.commands.rows import print_rows
from iii_cli.errors import FunctionFailed, UnknownTarget
from iii_cli.terminal.text import clean, escape_json

if TYPE_CHECKING:
    from iii_cli.config.settings import Settings

__all__ = ("describe_function", "list_functions", "print_json", "skeleton")


def list_functions(settings: Settings, filters: dict[str, Any], *, json: bool, ids: bool) -> None:
    """Print the engine's rows."""
    data = {name: value for name, value in filters.items() if value is not None}
    rows = call(settings.endpoint, "engine::functions::list", data)["functions"]
    if settings.namespace is not None:
        rows = [row for row in rows if row.get("namespace") == settings.namespace]
    if json:
        print_json(rows)
    elif ids:
        sys.stdout.writelines(clean(row["function_id"]) + "\n" for row in rows)
    else:
        header = ("FUNCTION", "NAMESPACE", "WORKER", "DESCRIPTION")
        keys = ("function_id", "namespace", "worker_name", "description")
        print_rows(header, [[str(row.get(key) or "") for key in keys] for row in rows])


def describe_function(settings: Settings, function: str, *, json: bool, template: bool) -> None:
    """Print what the engine knows of one function. Raises UnknownTarget."""
    data = {"function_id": function}
    if settings.namespace is not None:
        data["namespace"] = settings.namespace
    try:
        found = call(settings.endpoint, "engine::functions::info", data)
    except FunctionFailed as failure:
        if failure.code != "NOT_FOUND":
            raise
        raise UnknownTarget(
            failure.remote_message.rstrip("."), hint="`iii functions ls` lists them"
        ) from None
    if template:
        print_json(skeleton(found.get("request_schema")))
    elif json:
        print_json(found)
    else:
        _print_details(found)


def print_json(value: Any) -> None:
    """One document; on a terminal nothing in it moves the cursor."""
    text = json_text.dumps(value, indent=2, ensure_ascii=False)
    sys.stdout.write((escape_json(text) if sys.stdout.isatty() else text) + "\n")


def skeleton(schema: Any) -> Any:
    """A payload of the schema's shape, to fill in: defaults where there are some, else empty values."""
    if not isinstance(schema, dict):
        return {}
    if "default" in schema:
        return schema["default"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), None)
    if kind == "object" or "properties" in schema:
        return {name: skeleton(part) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [skeleton(schema["items"])] if "items" in schema else []
    return {"string": "", "integer": 0, "number": 0, "boolean": False}.get(str(kind))


def _print_details(found: dict[str, Any]) -> None:
    lines = [f"{found['function_id']}  ({found.get('namespace')}, of worker {found.get('worker_name')})"]
    if found.get("description"):
        lines.append(found["description"])
    for title, key in (("Takes", "request_schema"), ("Gives", "response_schema")):
        if found.get(key) is not None:
            lines += ["", f"{title}:", json_text.dumps(found[key], indent=2, ensure_ascii=False)]
    triggers = found.get("registered_triggers") or []
    lines += [
        f"Triggered by {row.get('trigger_type')}: {json_text.dumps(row.get('config'))}" for row in triggers
    ]
    sys.stdout.write(clean("\n".join(lines), keep_newlines=True) + "\n")

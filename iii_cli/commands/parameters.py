"""A JSON Schema as people read it: one line a parameter."""

from __future__ import annotations

import json
from typing import Any

from iii_cli.io.console import clean, width_of

__all__ = ("parameter_lines", "parameters_of")

Row = tuple[str, str, str, str]


def parameter_lines(schema: Any) -> list[str]:
    """Indented lines, cleaned: the parameters, or the schema itself where it names none."""
    rows = parameters_of(schema)
    if rows:
        return _aligned(rows)
    text = clean(json.dumps(schema, indent=2, ensure_ascii=False), keep_newlines=True)
    return [f"  {line}" for line in text.splitlines()]


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


def _aligned(rows: list[Row]) -> list[str]:
    table = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(width_of, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join(
            cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=True) if width
        )
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

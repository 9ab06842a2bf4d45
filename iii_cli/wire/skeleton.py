"""A payload of the shape that a JSON Schema describes, to fill in."""

from __future__ import annotations

from typing import Any

__all__ = ("skeleton",)

DEPTH_MAX = 12  # a schema may refer to itself, and a person fills in no deeper payload by hand
_EMPTY: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False}


def skeleton(schema: Any) -> Any:
    """Defaults, constants and examples where the schema has them, else empty values; `{}` for no schema.

    Follows `$ref` within the schema, merges `allOf`, takes the first of `anyOf` and `oneOf` that is not null.
    Tolerates any value: a schema is whatever a worker sent.
    """
    return _filled(schema, schema, 0) if isinstance(schema, dict) else {}


def _filled(schema: Any, root: dict[str, Any], depth: int) -> Any:
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return None
    for key, pick in (("default", _itself), ("const", _itself), ("examples", _first), ("enum", _first)):
        if key in schema and pick(schema[key]) is not None:
            return pick(schema[key])
    if isinstance(schema.get("$ref"), str):
        return _filled(_target(schema["$ref"], root), root, depth + 1)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            return _filled(_first_but_null(schema[key]), root, depth + 1)
    if isinstance(schema.get("allOf"), list):
        return _merged(schema, root, depth)
    return _of_type(schema, root, depth)


def _of_type(schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), None)
    properties = schema.get("properties")
    if kind == "object" or isinstance(properties, dict):
        parts = properties if isinstance(properties, dict) else {}
        return {name: _filled(part, root, depth + 1) for name, part in parts.items()}
    if kind == "array":
        return [_filled(schema["items"], root, depth + 1)] if "items" in schema else []
    return _EMPTY.get(str(kind))


def _merged(schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:
    own = {key: value for key, value in schema.items() if key != "allOf"}
    parts = [_filled(part, root, depth + 1) for part in [*schema["allOf"], own]]
    objects = [part for part in parts if isinstance(part, dict)]
    if objects:
        return {name: value for part in objects for name, value in part.items()}
    return next((part for part in parts if part is not None), None)


def _target(ref: str, root: dict[str, Any]) -> Any:
    """What `#/a/b` points at; nothing of another document."""
    found: Any = root if ref.startswith("#") else None
    for step in ref[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _first_but_null(choices: list[Any]) -> Any:
    real = [choice for choice in choices if not (isinstance(choice, dict) and choice.get("type") == "null")]
    return real[0] if real else None


def _itself(value: Any) -> Any:
    return value


def _first(values: Any) -> Any:
    return values[0] if isinstance(values, list) and values else None

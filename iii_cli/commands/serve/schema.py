"""What the engine is told of a served filter, so that `trigger NAME --help` and completion know it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iii_cli.client.filter import FilterOptions

__all__ = ("described", "request_schema", "response_schema")


def described(word: str, options: FilterOptions) -> str:
    """For a function without a description. `word` is COMMAND's first; the others may be secrets."""
    source = {"ref": "the channel at `stdin`", "json": "the payload as JSON", "none": "nothing"}
    target = {"ref": "the channel at `stdout`", "result": "the result"}
    return f"Runs {word}: reads {source[options.stdin]}, writes to {target[options.stdout]}."


def request_schema(options: FilterOptions) -> dict[str, Any]:
    """JSON Schema of the payload."""
    properties = {}
    if options.stdin == "ref":
        properties["stdin"] = _ref("The reader ref of the channel to read from.", "read")
    if options.stdout == "ref":
        properties["stdout"] = _ref("The writer ref of the channel to write to.", "write")
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": list(properties)}
    return schema if properties or options.stdin != "json" else {}


def response_schema(options: FilterOptions) -> dict[str, Any]:
    """JSON Schema of the result."""
    properties: dict[str, Any] = {
        "exit_code": {"type": "integer"},
        "stdin_bytes": {"type": "integer"},
        "stdout_bytes": {"type": "integer"},
        "digest": {"type": "string", "description": "xxh3_128 of the output, hex."},
        "stderr_tail": {"type": "string"},
        "duration_ms": {"type": "integer"},
    }
    if options.stdout == "result":
        properties |= {
            "stdout": {"type": "string", "description": "The output, if it is UTF-8."},
            "stdout_base64": {"type": "string", "description": "The output, if it is not."},
            "json": {"description": "The output's value, if it is JSON."},
        }
    return {"type": "object", "properties": properties}


def _ref(description: str, direction: str) -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": description,
        "properties": {
            "channel_id": text,
            "access_key": text,
            "direction": {"type": "string", "enum": [direction]},
        },
        "required": ["channel_id", "access_key", "direction"],
    }

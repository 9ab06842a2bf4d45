"""The JSON payload of a call: arguments, keys that name a place in it, and an example from a schema."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeAlias

from iii_cli.errors import FunctionFailed, UsageProblem
from iii_cli.protocol.json_text import MalformedJson, parse
from iii_cli.protocol.refs import is_ref

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = (
    "KeyPath",
    "MalformedPath",
    "build_payload",
    "check_keys",
    "find",
    "keys_in",
    "masked",
    "parse_document",
    "parse_path",
    "place",
    "redacted",
    "show",
    "skeleton",
    "split_key",
    "split_pair",
    "target",
    "value_of",
)


KeyPath: TypeAlias = "tuple[str | int, ...]"

_WORD = r"[^\s.\[\]=:/\"'@{}]+"
_QUOTED = r'\["(?:[^"\\]|\\.)*"\]'
_INDEX = r"\[[0-9]{1,6}\]"
_SEGMENT = re.compile(rf"(?P<dot>\.)?(?P<word>{_WORD})|(?P<index>{_INDEX})|(?P<quoted>{_QUOTED})")
_PATH = rf"(?:{_WORD}|{_INDEX}|{_QUOTED})(?:\.{_WORD}|{_INDEX}|{_QUOTED})*"
_KEYED = re.compile(rf"({_PATH})=(.*)", re.DOTALL)


class MalformedPath(ValueError):
    """The text is no KEY, or the document has no such place. Holds no value of the document."""


def parse_path(text: str) -> KeyPath:
    """Read `a.b[0].reader`. Raises MalformedPath."""
    if not re.fullmatch(_PATH, text):
        raise MalformedPath('a KEY is written like a.b[0].reader, or ["a.b"] where a word holds a dot')
    segments: list[str | int] = []
    for match in _SEGMENT.finditer(text):
        if match["word"] is not None:
            segments.append(match["word"])
        elif match["index"] is not None:
            segments.append(int(match["index"][1:-1]))
        else:
            segments.append(_unquoted(match["quoted"]))
    return tuple(segments)


def split_key(text: str) -> tuple[str, str] | None:
    """`KEY=REST` as (KEY, REST); None where what stands before the first `=` is no KEY."""
    match = _KEYED.fullmatch(text)
    return (match[1], match[2]) if match else None


def show(path: KeyPath) -> str:
    """As people type it."""
    text = ""
    for segment in path:
        if isinstance(segment, int):
            text += f"[{segment}]"
        elif re.fullmatch(_WORD, segment):
            text += f".{segment}" if text else segment
        else:
            text += f"[{json.dumps(segment, ensure_ascii=False)}]"
    return text


def find(document: Any, path: KeyPath) -> Any:
    """The value at that place. Raises MalformedPath where there is none."""
    for depth, segment in enumerate(path):
        if isinstance(segment, int):
            if isinstance(document, list) and segment < len(document):
                document = document[segment]
                continue
        elif isinstance(document, dict) and segment in document:
            document = document[segment]
            continue
        raise MalformedPath(f"there is no {show(path[: depth + 1])}")
    return document


def place(document: Any, path: KeyPath, value: Any, depth: int = 0) -> Any:
    """The document with `value` at that place; objects and lists on the way are made where they lack.

    A list grows by one at most. The document itself is changed where it can be. Raises MalformedPath where
    something else stands in the way. `depth`: how much of the path leads to this part of the document.
    """
    if depth == len(path):
        return value
    segment = path[depth]
    if document is None:
        document = [] if isinstance(segment, int) else {}
    if isinstance(segment, int):
        if not isinstance(document, list) or segment > len(document):
            raise MalformedPath(_in_the_way(path, depth, document))
        if segment == len(document):
            document.append(None)
        document[segment] = place(document[segment], path, value, depth + 1)
    else:
        if not isinstance(document, dict):
            raise MalformedPath(_in_the_way(path, depth, document))
        document[segment] = place(document.get(segment), path, value, depth + 1)
    return document


def _in_the_way(path: KeyPath, depth: int, document: Any) -> str:
    holder = show(path[:depth]) or "the payload"
    if isinstance(path[depth], int) and isinstance(document, list):
        return f"{holder} has {len(document)} items, so {show(path)} would leave a hole"
    return f"{holder} is not {'a list' if isinstance(path[depth], int) else 'an object'}"


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text[1:-1]))
    except ValueError:
        raise MalformedPath("a quoted part of a KEY is a JSON string") from None


_NOTHING: Any = object()


def value_of(text: str) -> Any:
    """JSON where the engine's decoder takes it for JSON, else the string: NaN and Infinity stay strings."""
    try:
        return parse(text)
    except MalformedJson:
        return text


def split_pair(pair: str) -> tuple[str, str]:
    """`key=value`, cut at the first `=`. Raises UsageProblem."""
    key, equals, value = pair.partition("=")
    if not equals:
        raise UsageProblem(f"expected key=value, got {_shown(pair)}")
    if not key:
        raise UsageProblem(f"the key is empty in {_shown(pair)}", hint="write key=value")
    return key, value


def parse_document(text: str | bytes, source: str) -> Any:
    """The JSON that `source` gave, such as `--json`. Raises UsageProblem, which does not repeat the text."""
    try:
        return parse(text)
    except MalformedJson as error:
        raise UsageProblem(f"{source}: {error}") from None


def build_payload(pairs: Sequence[str], strings: Sequence[str], document: Any = _NOTHING) -> Any:
    """The payload: `document` (the JSON of `--json`) with every pair merged over it, the last of equal keys.

    The values of `strings` are not decoded. `document` itself stays as it is. Raises UsageProblem.
    """
    typed = [(key, value_of(value)) for key, value in map(split_pair, pairs)]
    typed += map(split_pair, strings)
    for key, value in typed:
        _check_text(key)
        if isinstance(value, str):
            _check_text(value)
    if document is _NOTHING:
        document = {}
    elif typed and not isinstance(document, dict):
        raise UsageProblem("--json must be an object when combined with key=value")
    return {**document, **dict(typed)} if typed else document


def check_keys(keys: Iterable[tuple[str, KeyPath]]) -> None:
    """No two refs may stand at the same place, or one inside another. Raises UsageProblem."""
    seen: list[tuple[str, KeyPath]] = []
    for option, key in keys:
        for other_option, other in seen:
            shorter = min(len(key), len(other))
            if key[:shorter] == other[:shorter]:
                raise UsageProblem(
                    f"{option} {show(key)} and {other_option} {show(other)} need the same place"
                )
        seen.append((option, key))


def masked(document: Any) -> Any:
    """The document with the access key of every ref in it hidden."""
    if isinstance(document, dict):
        hidden = {"access_key": "***"} if is_ref(document) else {}
        return {key: masked(value) for key, value in (document | hidden).items()}
    if isinstance(document, list):
        return [masked(item) for item in document]
    return document


def keys_in(document: Any) -> list[str]:
    """The access keys of all refs in it: secrets."""
    if isinstance(document, dict):
        found = [document["access_key"]] if is_ref(document) else []
        return found + [key for value in document.values() for key in keys_in(value)]
    return [key for item in document for key in keys_in(item)] if isinstance(document, list) else []


def redacted(failure: FunctionFailed, payload: Any) -> FunctionFailed:
    """The failure without the keys of the payload: handlers like to quote what they got."""
    body = failure.body()
    for key in filter(None, keys_in(payload)):
        body = {
            name: text.replace(key, "***") if isinstance(text, str) else text for name, text in body.items()
        }
    return FunctionFailed.from_body(body)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageProblem("an argument is not UTF-8, which JSON cannot carry") from None


def _shown(text: str) -> str:
    """What was typed, unless it may hold a key."""
    if "access_key" in text or "iii:" in text or len(text) > 60:
        return "something else"
    return repr(text)


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
    lists = [schema[key] for key in ("examples", "enum") if isinstance(schema.get(key), list)]
    for value in (schema.get("default"), schema.get("const"), *(values[0] for values in lists if values)):
        if value is not None:
            return value
    if isinstance(schema.get("$ref"), str):
        return _filled(target(schema["$ref"], root), root, depth + 1)
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            some = (part for part in schema[key] if not isinstance(part, dict) or part.get("type") != "null")
            return _filled(next(some, None), root, depth + 1)
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


def target(ref: str, root: Any) -> Any:
    """What `#/a/b` points at in a schema; nothing of another document."""
    found: Any = root if ref.startswith("#") else None
    for step in ref[1:].split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found

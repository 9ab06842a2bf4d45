"""JSON that every peer can read (docs: protocol, "Messages").

What passes through the engine (payload, result, metadata) stays the bytes that it came as: `Raw`. `parse`
reads it, `to_raw` makes it. Apart from the messages, because the ends of a stream start faster without them.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from msgspec import MsgspecError, Raw, ValidationError
from msgspec.json import Decoder, Encoder

__all__ = (
    "NESTING_MAX",
    "UNREADABLE",
    "MalformedJson",
    "Raw",
    "check_depth",
    "compact",
    "parse",
    "parse_once",
    "render",
    "to_raw",
    "why_unreadable",
    "with_key",
)

NESTING_MAX = 127  # the engine's decoder gives up beyond this, and the call stack of ours is not endless
_LONG_INTEGER = re.compile(rb"[0-9]{309}")  # perhaps beyond a double
UNREADABLE = (MsgspecError, UnicodeError, RecursionError)  # all that msgspec's decoders raise


class MalformedJson(ValueError):
    """The text is not JSON, or not JSON that every peer can read. The message does not repeat the text."""


def parse(text: str | bytes | Raw) -> Any:
    """The value of one JSON text. Integers are exact. Of a key that comes twice the last one counts.

    Raises MalformedJson, also for NaN and infinities, numbers beyond a double, lone surrogates, nesting
    beyond NESTING_MAX, and bytes that are not UTF-8.
    """
    try:
        data = text.encode() if isinstance(text, str) else bytes(text)
        value = _ANY.decode(data)
        check_depth(data, value)
        if not isinstance(text, Raw) and _LONG_INTEGER.search(data):
            json.loads(data, parse_int=_within_a_double)  # the engine would drop the message without a word
    except UNREADABLE as error:
        raise MalformedJson(f"not JSON: {why_unreadable(error)}") from None
    return value


def parse_once(text: str | bytes) -> Any:
    """The value of one JSON text in which no key comes twice: two readers of it may see two different things.

    For seals, receipts and refs, whose fields are looked at one by one. Raises MalformedJson.
    """
    try:
        return json.loads(
            text.decode() if isinstance(text, bytes) else text,
            object_pairs_hook=_without_twins,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError):
        raise MalformedJson("not JSON, or a key comes twice") from None


def render(value: Any) -> str:
    """Compact JSON with UTF-8 text as it is.

    Raises ValueError for NaN and infinities, and TypeError for what is not a JSON value: msgspec would write
    null for the ones and text for many of the others.
    """
    return _ENCODER.encode(value)


def compact(text: bytes | Raw) -> bytes:
    """One JSON text as it is written by us: on one line, without spaces, each key once. Raises as `parse`."""
    return _encode(parse(text))


def to_raw(value: Any) -> Raw:
    """The JSON of a value, to be passed on. Raises as `render`, and ValueError for lone surrogates."""
    return Raw(render(value).encode())


def with_key(raw: Raw, key: str, value: str) -> Raw:
    """The object with `key` set, however often and however escaped it was there. No object: as it is.

    Raises MalformedJson for one that is nested without end.
    """
    try:
        fields = _ONE_LEVEL.decode(raw)
    except ValidationError:
        return raw
    except RecursionError as error:
        raise MalformedJson(f"not JSON: {why_unreadable(error)}") from None
    fields[key] = value
    return Raw(_encode(fields))


def check_depth(data: bytes, value: Any = None) -> None:
    """Raises RecursionError for JSON nested more than NESTING_MAX deep. `value`: what it was read as."""
    if data.count(b"[") + data.count(b"{") <= NESTING_MAX:
        return
    value = value or _ANY.decode(data)
    level = [value] if isinstance(value, dict | list) else []
    for _ in range(NESTING_MAX):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise RecursionError


def _within_a_double(digits: str) -> None:
    if math.isinf(float(digits)):
        raise MsgspecError("Number out of range")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key comes twice")
    return value


def why_unreadable(error: Exception) -> str:
    """What is said of one of UNREADABLE: never the text itself."""
    if isinstance(error, RecursionError):
        return f"nested more than {NESTING_MAX} deep"
    if isinstance(error, UnicodeEncodeError):
        return "a lone surrogate"
    if isinstance(error, UnicodeDecodeError):
        return "invalid UTF-8"
    return str(error).removeprefix("JSON is malformed: ")[:80]


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_encode = Encoder().encode
_ANY: Decoder[Any] = Decoder()
_ONE_LEVEL: Decoder[dict[str, Any]] = Decoder(dict[str, Raw])

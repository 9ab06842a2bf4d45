"""JSON as the engine reads and writes it: what its decoder refuses is refused here too."""

from __future__ import annotations

import json
import json.encoder
import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("NESTING_MAX", "MalformedJson", "parse", "render", "render_sorted")

NESTING_MAX = 127  # the engine's decoder gives up beyond this; ours must not run out of stack either
_INTEGERS = range(-(2**63), 2**64)  # of the engine: signed or unsigned, in 64 bits
_SHORT = 18  # characters: integers of no more are among them
_LONG_INTEGER = re.compile(r"[0-9]{19}")
_SMALL = 1024  # characters of a text: it is cheaper to look at each integer than to look for long ones
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class MalformedJson(ValueError):
    """The text is not JSON, or not JSON that every peer can read."""


def parse(text: str | bytes, *, rounding: bool = False) -> Any:
    """The value of one JSON text.

    `rounding`: integers of more than 64 bits become floats, as they do in the engine. Raises MalformedJson
    for what its decoder refuses: NaN and infinities, numbers beyond a double, lone surrogates, nesting beyond
    NESTING_MAX, bytes that are not UTF-8.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        decoder = _ROUNDING if rounding else _EXACT
        if len(text) > _SMALL and not _LONG_INTEGER.search(text):
            decoder = _DECODER
        value, end = decoder.raw_decode(text) if text[:1] in ("{", "[") else (None, -1)
        if end != len(text):  # white space around it, a bare value, or something behind it
            value = decoder.decode(text)
        if _SURROGATE_ESCAPE.search(text):
            render(value).encode()
    except (ValueError, RecursionError) as error:
        raise MalformedJson(f"not JSON: {_brief(error)}") from None
    if text.count("[") + text.count("{") > NESTING_MAX and _is_too_deep(value):
        raise MalformedJson(f"not JSON: nested more than {NESTING_MAX} deep")
    return value


def render(value: Any) -> str:
    """Compact JSON with UTF-8 text as it is.

    Raises ValueError for NaN and infinities, and TypeError for what is not a JSON value.
    """
    return _render(value)


def render_sorted(value: Any) -> str:
    """`render` with the keys of every object in order, as the engine writes what passes through it."""
    return _render_sorted(value)


def _brief(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    if isinstance(error, RecursionError):
        return "nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "invalid UTF-8"
    if isinstance(error, UnicodeEncodeError):
        return "a lone surrogate"
    return str(error)[:80]


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(NESTING_MAX):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number beyond a double")
    return number


def _integer(digits: str) -> int:
    if len(digits) > _SHORT:
        _finite(digits)
    return int(digits)


def _rounded(digits: str) -> int | float:
    number = _integer(digits)
    return number if len(digits) <= _SHORT or number in _INTEGERS else float(digits)


def _decoder(parse_int: Callable[[str], Any] | None) -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, parse_int=parse_int)


_DECODER, _EXACT, _ROUNDING = _decoder(None), _decoder(_integer), _decoder(_rounded)


def _renderer(sort: bool) -> Callable[[Any], str]:
    """JSONEncoder builds its C encoder anew for every text, which takes longer than a small message does."""
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=sort)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    chunks = make(None, encoder.default, json.encoder.encode_basestring, None, ":", ",", sort, False, False)
    return lambda value: "".join(chunks(value, 0))


_render, _render_sorted = _renderer(sort=False), _renderer(sort=True)

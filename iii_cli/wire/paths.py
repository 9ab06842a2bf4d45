"""Dotted KEYs: a place in a JSON document, as people type it (`a.b[0].reader`).

A segment is a word, `[N]`, or `["any text"]` for a word that holds dots, spaces or an equals sign.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeAlias

__all__ = ("KeyPath", "MalformedPath", "find", "parse_path", "place", "show", "split_key")

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


def place(document: Any, path: KeyPath, value: Any) -> Any:
    """The document with `value` at that place; objects and lists on the way are made where they lack.

    A list grows by one at most. The document itself is changed where it can be. Raises MalformedPath where
    something else stands in the way.
    """
    if not path:
        return value
    return _place(document, path, 0, value)


def _place(document: Any, path: KeyPath, depth: int, value: Any) -> Any:
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
        document[segment] = _place(document[segment], path, depth + 1, value)
    else:
        if not isinstance(document, dict):
            raise MalformedPath(_in_the_way(path, depth, document))
        document[segment] = _place(document.get(segment), path, depth + 1, value)
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

"""What is typed as `key=value` and `--json`, as the payload of a call (protocol.md 8.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii_cli.errors import FunctionFailed, UsageProblem
from iii_cli.wire.ref import is_ref
from iii_cli.wire.strict_json import MalformedJson, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("build_payload", "keys_in", "masked", "parse_document", "redacted", "split_pair", "value_of")

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

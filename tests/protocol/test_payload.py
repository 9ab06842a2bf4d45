"""A payload: `key=value` and `--json`, places in it by their KEYs, and one to fill in from a schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_cli.protocol.payload import (
    KeyPath,
    MalformedPath,
    find,
    masked,
    parse_path,
    place,
    show,
    skeleton,
)


def test_masking_reaches_every_ref() -> None:
    ref = {"channel_id": "c", "access_key": "SECRET", "direction": "read", "extra": 1}
    document = {"a": [{"b": ref}, ref], "access_key": "not a ref's", "n": 1}
    assert "SECRET" not in repr(masked(document))
    assert masked(document)["access_key"] == "not a ref's"
    assert ref["access_key"] == "SECRET"


# KEYs


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("reader", ("reader",)),
        ("a.b[0].reader", ("a", "b", 0, "reader")),
        ("[2].x", (2, "x")),
        ("my-key_1", ("my-key_1",)),
        ('["a.b"].c', ("a.b", "c")),
        ('a["say \\"hi\\"="]', ("a", 'say "hi"=')),
        ("größe", ("größe",)),
    ],
)
def test_keys(text: str, path: KeyPath) -> None:
    assert parse_path(text) == path
    assert parse_path(show(path)) == path


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "a[", "a[x]", "a[-1]", "a b", "a=b", "a[0]b", '["a]']
)
def test_what_is_no_key(text: str) -> None:
    with pytest.raises(MalformedPath):
        parse_path(text)


@pytest.mark.parametrize(
    ("document", "key", "result"),
    [
        ({}, "reader", {"reader": "R"}),
        ({"a": 1}, "a", {"a": "R"}),
        ({"a": {"x": 1}}, "a.b[0].c", {"a": {"x": 1, "b": [{"c": "R"}]}}),
        ({"a": None}, "a.b", {"a": {"b": "R"}}),
        ({"a": [1]}, "a[1]", {"a": [1, "R"]}),
        ([{}], "[0].x", [{"x": "R"}]),
        (None, "[0]", ["R"]),
    ],
)
def test_placing(document: Any, key: str, result: Any) -> None:
    assert place(document, parse_path(key), "R") == result


@pytest.mark.parametrize(
    ("document", "key", "words"),
    [
        ({"a": 1}, "a.b", "a is not an object"),
        ({"a": {}}, "a[0]", "a is not a list"),
        ({}, "[0]", "the payload is not a list"),
        ([], "x", "the payload is not an object"),
        ({"a": []}, "a[1]", "a has 0 items, so a[1] would leave a hole"),
    ],
)
def test_something_in_the_way(document: Any, key: str, words: str) -> None:
    with pytest.raises(MalformedPath) as caught:
        place(document, parse_path(key), "R")
    assert str(caught.value) == words


segments = st.one_of(st.text(min_size=1).filter(lambda s: s.isprintable()), st.just(0))


@given(st.lists(segments, min_size=1, max_size=6), st.integers())
def test_what_is_placed_is_found(path: list[str | int], value: int) -> None:
    key = parse_path(show(tuple(path)))
    assert key == tuple(path)
    assert find(place(None, key, value), key) == value


# From a schema

TREE = {
    "$ref": "#/$defs/node",
    "$defs": {"node": {"type": "object", "properties": {"name": {"type": "string"}, "up": {"$ref": "#"}}}},
}


@pytest.mark.parametrize(
    ("schema", "payload"),
    [
        (None, {}),
        (True, {}),
        ({}, None),
        ({"type": "object"}, {}),
        ({"properties": {"w": {"type": "integer"}, "s": {"type": "string"}}}, {"w": 0, "s": ""}),
        ({"type": "array", "items": {"type": "boolean"}}, [False]),
        ({"type": "array"}, []),
        ({"type": ["null", "number"]}, 0),
        ({"type": "integer", "default": 7}, 7),
        ({"enum": ["a", "b"]}, "a"),
        ({"const": "read"}, "read"),
        ({"type": "string", "examples": ["Ada"]}, "Ada"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, ""),
        ({"oneOf": [{"type": "object", "properties": {"a": {"const": 1}}}]}, {"a": 1}),
        (
            {"allOf": [{"properties": {"a": {}}}], "properties": {"b": {"type": "string"}}},
            {"a": None, "b": ""},
        ),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}}, ""),
        ({"$ref": "http://elsewhere/schema"}, None),
        ({"$ref": "#/nowhere"}, None),
    ],
)
def test_payload_of(schema: Any, payload: Any) -> None:
    assert skeleton(schema) == payload


def test_a_schema_that_holds_itself_ends() -> None:
    payload, depth = skeleton(TREE), 0
    while payload is not None:
        payload, depth = payload["up"], depth + 1
    assert 1 < depth < 20

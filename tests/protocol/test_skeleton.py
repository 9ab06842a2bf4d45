"""A payload to fill in, from any schema that a worker may send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_cli.protocol.payload import skeleton

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


KEYS = st.sampled_from(
    ["type", "properties", "items", "anyOf", "allOf", "oneOf", "$ref", "default", "enum", "const", "#"]
)
SCHEMAS = st.recursive(
    st.none() | st.booleans() | st.sampled_from(["object", "array", "#", "#/properties"]) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(SCHEMAS)
def test_no_schema_breaks_it(schema: Any) -> None:
    skeleton(schema)

"""`key=value` and `--json` as a payload (protocol.md 8.2)."""

from __future__ import annotations

from typing import Any

import pytest

from iii_cli.errors import UsageProblem
from iii_cli.protocol.payload import build_payload, masked, parse_document, value_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1.5", -1.5),
        ("1e3", 1000.0),
        ("hi", "hi"),
        ("", ""),
        ('"hi"', "hi"),
        ("null", None),
        ("true", True),
        ("True", "True"),
        ('{"x":[1]}', {"x": [1]}),
        (" 7 ", 7),
        ("007", "007"),
        ("+1", "+1"),
        ("1.", "1."),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("[NaN]", "[NaN]"),
        ("1e999", "1e999"),
        ('"\\ud800"', '"\\ud800"'),
        ("[" * 200, "[" * 200),
        ("[" * 200 + "]" * 200, "[" * 200 + "]" * 200),
        ("18446744073709551616", 18446744073709551616),
        ("9" * 401, "9" * 401),
        ("grün", "grün"),
        ("a=b", "a=b"),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


def test_the_last_of_equal_keys_wins_over_the_document() -> None:
    document = {"a": 0, "b": {"c": 1}}
    assert build_payload(["a=1", "a=2", "b.c=3"], ["b=x=y"], document) == {"a": 2, "b.c": 3, "b": "x=y"}
    assert document == {"a": 0, "b": {"c": 1}}


@pytest.mark.parametrize("document", [None, [1], "text", 3, False])
def test_a_document_alone_may_be_any_json(document: Any) -> None:
    assert build_payload([], [], document) == document
    with pytest.raises(UsageProblem, match="must be an object"):
        build_payload(["a=1"], [], document)


def test_nothing_typed_is_an_empty_object() -> None:
    assert build_payload([], []) == {}


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("bad", "expected key=value, got 'bad'"),
        ("=x", "the key is empty in '=x'; write key=value"),
        ("", "expected key=value, got ''"),
        ("iii:read:abc:SECRET", "expected key=value, got something else"),
        ("k=\udcff", "an argument is not UTF-8, which JSON cannot carry"),
    ],
)
@pytest.mark.parametrize("as_string", [False, True])
def test_what_is_no_pair(pair: str, words: str, as_string: bool) -> None:
    with pytest.raises(UsageProblem) as caught:
        build_payload([] if as_string else [pair], [pair] if as_string else [])
    assert str(caught.value) == words


def test_a_bad_document_is_not_repeated() -> None:
    with pytest.raises(UsageProblem) as caught:
        parse_document('{"access_key":"SECRET"', "--json")
    assert "SECRET" not in str(caught.value)
    assert str(caught.value).startswith("--json: not JSON")


def test_masking_reaches_every_ref() -> None:
    ref = {"channel_id": "c", "access_key": "SECRET", "direction": "read", "extra": 1}
    document = {"a": [{"b": ref}, ref], "access_key": "not a ref's", "n": 1}
    assert "SECRET" not in repr(masked(document))
    assert masked(document)["access_key"] == "not a ref's"
    assert ref["access_key"] == "SECRET"

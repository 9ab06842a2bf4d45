"""Nothing that a worker says reaches a terminal as a command to it."""

from __future__ import annotations

import json
import time
import unicodedata

import pytest

from iii_cli.io.console import clean, ellipsis, escape_json, mask_refs, width_of

SPECIAL = "".join(
    c for c in map(chr, range(0x110000)) if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
)


@pytest.mark.parametrize(
    ("dirty", "cleaned"),
    [
        ("plain: ünïcode 漢字 👩‍💻", "plain: ünïcode 漢字 👩‍💻"),
        ("\x1b[31mred\x1b[0m \x1b[2J\x1b[1;1Hhome", "red home"),
        ("\x1b]0;title\x07a\x1b]52;c;ZXZpbA==\x1b\\b", "ab"),
        ("\x9b31mred \x9d0;t\x9cx", "red x"),
        ("\x1b]unterminated", "unterminated"),
        ("\x1b(0lqk\x1bc", "lqk"),
        ("one\r\ntwo\tthree\u2028four\n", "one two three four "),
        ("rm \u202egnp.tsil\u202c \u2066x\u2069", "rm gnp.tsil x"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("a\x08\x7f\x00b", "ab"),
        ("flag\U000e0067\U000e0062", "flag"),
        ("z\u200be\u2060r\ufeffo-\u00adwidth\u3164", "zero-width"),
        ("join\u200d\u200cer \u200dx\u200c", "joiner x"),
        ("क्\u200dष", "क्\u200dष"),
    ],
)
def test_clean(dirty: str, cleaned: str) -> None:
    assert clean(dirty) == cleaned


@pytest.mark.parametrize("keep", [False, True])
def test_no_character_that_a_terminal_obeys_passes(keep: bool) -> None:
    left = set(clean(SPECIAL, keep_newlines=keep))
    assert {char for char in left if unicodedata.category(char) in {"Cc", "Zl", "Zp", "Cs"}} == (
        {"\n", "\t"} if keep else set()
    )
    bidi = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}
    assert not {char for char in left if unicodedata.bidirectional(char) in bidi}


def test_clean_text_is_stable() -> None:
    assert clean(clean(SPECIAL)) == clean(SPECIAL)
    assert "\x1b" not in clean("\x1b\x1b[31m[31m")


@pytest.mark.parametrize(
    "hostile", ["\x1b]" * 200_000, "\x1b[" + "1" * 400_000, "\x9d" * 300_000, "é" + "\u200d" * 400_000 + "é"]
)
def test_hostile_text_costs_no_more_than_its_length(hostile: str) -> None:
    before = time.process_time()
    clean(hostile)
    assert time.process_time() - before < 2


def test_escaped_json_has_the_same_value_and_nothing_unsafe() -> None:
    value = {"text": "a\u202eb\x9bc\x7f\x1b[31m \U000e0041 \ud83d 👍 漢"}
    text = escape_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert clean(text) == text
    assert "👍 漢" in text


def test_width_and_ellipsis() -> None:
    assert (width_of("abc"), width_of("漢字"), width_of("e\u0301")) == (3, 4, 1)
    assert ellipsis("short", 5) == "short"
    assert ellipsis("a bit longer", 6) == "a bit…"
    assert ellipsis("漢字漢字", 6) == "漢字…"
    assert ellipsis("anything", 1) == "…"
    assert ellipsis("anything", 0) == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("iii: no command iii:read:a:k on PATH", "iii: no command iii:read:a:*** on PATH"),
        ("'iii:write:a:k', @x", "'iii:write:a:***', @x"),
        (
            '{"channel_id":"a","access_key":"k","direction":"read"}',
            '{"channel_id":"a","access_key":"***","direction":"read"}',
        ),
        (r'"{\"access_key\": \"k\"}"', r'"{\"access_key\": \"***\"}"'),
        ("iii: not a ref: a:b:c", "iii: not a ref: a:b:c"),
    ],
)
def test_no_line_shows_the_key_of_a_ref(text: str, shown: str) -> None:
    assert mask_refs(text) == shown

"""`--in KEY=SOURCE` and `--out KEY=TARGET`, as typed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from iii_cli.commands.trigger_streams import command_word, parse_spec
from iii_cli.errors import UsageProblem
from iii_cli.protocol.payload import check_keys

if TYPE_CHECKING:
    from iii_cli.protocol.payload import KeyPath

KEY = "SECRETKEY"


@pytest.mark.parametrize(
    ("text", "option", "key", "place"),
    [
        ("links.csv", "--in", ("stdin",), "links.csv"),
        ("links.csv", "--out", ("stdout",), "links.csv"),
        ("-", "--in", ("stdin",), "-"),
        ("reader=links.csv", "--in", ("reader",), "links.csv"),
        ("a.b[0].reader=x=y", "--in", ("a", "b", 0, "reader"), "x=y"),
        ("./a=b", "--in", ("stdin",), "./a=b"),
        ("cmd:A=1 make", "--in", ("stdin",), "cmd:A=1 make"),
        ("k=cmd:gzip > x", "--out", ("k",), "cmd:gzip > x"),
        ("k=./@x", "--in", ("k",), "./@x"),
    ],
)
def test_specs(text: str, option: str, key: KeyPath, place: str) -> None:
    spec = parse_spec(text, option)
    assert (spec.key, spec.place) == (key, place)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names nothing"),
        ("k=", "names nothing"),
        ("k=cmd:", "names nothing"),
        ("=x", "the KEY before `=` is empty"),
        ("@x", "--ref stdin=@x"),
        ("reader=@links.csv", "did you mean the file? --in reader=links.csv"),
        (f"k=iii:read:a:{KEY}", "--ref k=REF"),
        (f"iii:read:a:{KEY}", "--ref stdin=REF"),
        (f'k={{"channel_id":"a","access_key":"{KEY}"}}', "--ref k=REF"),
        (f"k=@iii:read:a:{KEY}", "--ref k=REF"),
        ("k=env:NAME", "a file of that name is ./NAME"),
    ],
)
def test_what_is_no_source(text: str, words: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        parse_spec(text, "--in")
    assert words in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        (("a",), ("a",), True),
        (("a",), ("a", "b"), True),
        (("a", 0), ("a",), True),
        (("a",), ("b",), False),
        (("a", "b"), ("a", "c"), False),
    ],
)
def test_two_refs_need_two_places(one: KeyPath, other: KeyPath, clash: bool) -> None:
    keys = [("--in", one), ("--ref", other)]
    if not clash:
        return check_keys(keys)
    with pytest.raises(UsageProblem, match="need the same place"):
        check_keys(keys)
    return None


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("pg_dump db", "pg_dump"),
        ("/usr/bin/gzip -9", "gzip"),
        ("PASSWORD=x curl u", "curl"),
        ("(cd x && make)", "cd"),
        ("A=1", "the command"),
    ],
)
def test_a_command_is_known_by_its_first_word(command: str, word: str) -> None:
    assert command_word(command) == word

"""The forms in which a ref is given, and that no error shows one."""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest

from iii_cli.config.refspec import ResolvedRef, resolve_ref
from iii_cli.config.store import EXPIRY, PrivateFolder, SavedRef, SavedRefs
from iii_cli.errors import RefSpent, UnknownTarget, UsageProblem
from iii_cli.protocol.refs import ChannelRef, Direction, Secret

if TYPE_CHECKING:
    from pathlib import Path

READ, WRITE = Direction.READ, Direction.WRITE
NOW = 1_800_000_000.0
KEY = "k3y"
READER = ChannelRef("c1", Secret(KEY), READ)
WRITER = READER.facing(WRITE)
TOKEN = READER.to_token()
JSON = json.dumps(READER.to_json())


class Forms:
    """A store with one saved ref `x`, and the call with what a test does not care about filled in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = NOW
        self.store = SavedRefs(PrivateFolder(lambda: folder / "refs"), lambda: self.now)
        self.store.save(SavedRef("x", "c1", Secret(KEY), "ws://saved:1", NOW))

    def find(self, text: str | None, needed: Direction | None = READ, **more: Any) -> ResolvedRef:
        more.setdefault("environ", {})
        return resolve_ref(text, needed, store=self.store, **more)


@pytest.fixture
def forms(tmp_path: Path) -> Forms:
    return Forms(tmp_path)


@pytest.mark.parametrize(
    ("text", "needed", "wanted"),
    [
        ("@x", READ, READER),
        ("@x", WRITE, WRITER),
        ("@x/reader", READ, READER),
        ("@x/writer", None, WRITER),
        ("@x/reader", None, READER),
    ],
)
def test_a_saved_ref_takes_the_end_that_is_named_or_needed(
    forms: Forms, text: str, needed: Direction | None, wanted: ChannelRef
) -> None:
    assert forms.find(text, needed) == ResolvedRef(wanted, "ws://saved:1", "x")


@pytest.mark.parametrize(
    "text", [TOKEN, f" {TOKEN}\n", JSON, json.dumps(READER.to_json() | {"more": 1}, indent=1)]
)
@pytest.mark.parametrize("needed", [READ, None])
def test_a_token_or_its_json(forms: Forms, text: str, needed: Direction | None) -> None:
    assert forms.find(text, needed) == ResolvedRef(READER, in_argv=True)


@pytest.mark.parametrize("content", [TOKEN, f"{TOKEN}\n", f"{JSON}\r\n", f"\n{JSON}"])
def test_a_place_where_it_is(
    forms: Forms, tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(content))
    (tmp_path / "ref").write_text(content)
    assert forms.find("env:R", environ={"R": content}) == ResolvedRef(READER)
    assert forms.find(f"file:{tmp_path}/ref") == ResolvedRef(READER)
    from_stdin = forms.find("-", stdin_free=True)
    assert from_stdin == ResolvedRef(READER, from_stdin=True)


def test_the_environment_names_the_default(forms: Forms, tmp_path: Path) -> None:
    (tmp_path / "ref").write_text(TOKEN)
    for value in (TOKEN, JSON, "env:R", f"file:{tmp_path}/ref"):
        found = forms.find(None, environ={"III_READER": value, "R": TOKEN, "III_WRITER": "nonsense"})
        assert found == ResolvedRef(READER)
    assert forms.find(None, WRITE, environ={"III_WRITER": "@x"}).saved_name == "x"
    for environ in ({}, {"III_READER": ""}, {"III_READER": " "}, {"III_WRITER": TOKEN}):
        with pytest.raises(UsageProblem, match="set III_READER"):
            forms.find(None, environ=environ)
    with pytest.raises(UsageProblem, match="III_READER cannot be `-`"):
        forms.find(None, environ={"III_READER": "-"}, stdin_free=True)
    with pytest.raises(UsageProblem, match="a ref is missing"):
        forms.find(None, None, environ={"III_READER": TOKEN})


WRONG = [
    ("@x/writer", READ, "is a writer, and a reader is needed"),
    ("@x/reader", WRITE, "is a reader, and a writer is needed"),
    (TOKEN, WRITE, "is a reader, and a writer is needed"),
    ("env:R", WRITE, "is a reader, and a writer is needed"),
    ("@x", None, "which end of @x"),
    ("@x/", READ, "two ends: @x/reader and @x/writer"),
    ("@x/Reader", READ, "two ends: @x/reader and @x/writer"),
    ("@y/Reader", READ, "no saved ref 'y/Reader'"),
    ("@", READ, "needs the name"),
    ("@/reader", READ, "needs the name"),
    (f"@{TOKEN}", READ, "without the @"),
    (f"@{JSON}", READ, "without the @"),
    ("", READ, "is empty"),
    (KEY, READ, "not a channel ref"),
    (f"c1:{KEY}", READ, "not a channel ref"),
    (f"iii:read:c1:{KEY}:x", READ, "is malformed"),
    (f"iii:peek:c1:{KEY}", READ, "is malformed"),
    (f"iii:read::{KEY}", READ, "is malformed"),
    (f"iii:read:c1\udcff:{KEY}", READ, "is malformed"),
    (f'{{"channel_id": "c1", "access_key": "{KEY}"}}', READ, "is malformed"),
    (f'{{"channel_id": "c1", "access_key": "{KEY}"', READ, "not valid JSON"),
    ('{"a":' * 5000, READ, "not valid JSON"),
    ("env:", READ, "needs the name of a variable"),
    (f"env:{TOKEN}", READ, "needs the name of a variable"),
    ("env:NOT_SET", READ, "'NOT_SET': it is not set"),
    ("file:", READ, "needs a path"),
    (f"file:{TOKEN}", READ, "needs a path"),
    ("-", READ, "stdin carries data"),
]


@pytest.mark.parametrize(("text", "needed", "message"), WRONG)
def test_what_cannot_be_meant_is_refused_without_a_key(
    forms: Forms, text: str, needed: Direction | None, message: str
) -> None:
    with pytest.raises((UsageProblem, UnknownTarget), match=message) as caught:
        forms.find(text, needed, environ={"R": TOKEN})
    assert KEY not in str(caught.value)


def test_errors_know_the_habit_of_curl(forms: Forms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownTarget) as caught:
        forms.find("@links.csv", option="--in reader=")
    assert str(caught.value) == "no saved ref 'links.csv'; did you mean the file? --in reader=links.csv"
    with pytest.raises(UnknownTarget, match="did you mean the file"):
        forms.find("@data/links")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "xx").write_text("a file whose name is near that of a saved ref")
    with pytest.raises(UnknownTarget, match="did you mean the file"):
        forms.find("@xx")
    with pytest.raises(UnknownTarget, match="`iii ref ls`"):
        forms.find("@somebody")


def test_a_spent_one_says_so_and_how_to_get_another(forms: Forms) -> None:
    forms.store.mark_used("x", READER)
    with pytest.raises(
        RefSpent, match="reader of saved ref 'x' was used already; `iii channel create --save x`"
    ):
        forms.find("@x")
    assert forms.find("@x", WRITE).ref == WRITER
    forms.now += EXPIRY
    with pytest.raises(
        UnknownTarget, match=r"writer of saved ref 'x' expired.*`iii channel create --save x`"
    ):
        forms.find("@x", WRITE)


def test_of_a_channel_with_one_end_saved_only_that_one_is_had(forms: Forms) -> None:
    forms.store.save(SavedRef("given", "c2", Secret(KEY), "ws://saved:1", NOW, ends=(READ,)))
    assert forms.find("@given", None).ref.direction is READ
    for text in ("@given", "@given/writer"):
        with pytest.raises(UsageProblem, match="'given' is a reader, and a writer is needed"):
            forms.find(text, WRITE)

"""Contexts and saved refs: what is kept, what is refused, and that nobody's file is lost."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iii_cli.config.store import (
    EXPIRY,
    KEPT,
    Context,
    ContextStore,
    PrivateFolder,
    SavedRef,
    SavedRefs,
    checked_name,
)
from iii_cli.errors import LocalProblem, UsageProblem
from iii_cli.protocol.refs import Direction, EngineAddress, Secret

if TYPE_CHECKING:
    from pathlib import Path

READ, WRITE = Direction.READ, Direction.WRITE
URL = EngineAddress.parse("wss://engine.example/path?key=1")
NOW = 1_800_000_000.0


class Clock:
    """Tells the time that the test sets."""

    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def contexts(tmp_path: Path) -> ContextStore:
    return ContextStore(PrivateFolder(lambda: tmp_path / "contexts"))


@pytest.fixture
def refs(tmp_path: Path, clock: Clock) -> SavedRefs:
    return SavedRefs(PrivateFolder(lambda: tmp_path / "refs"), clock)


def made(name: str = "x", at: float = NOW, **more: Any) -> SavedRef:
    return SavedRef(name, "c1", Secret("k3y"), "ws://engine:1/p?token=t", at, **more)


# The folder.


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = PrivateFolder(lambda: tmp_path)
    with folder.changing():
        folder.write("x", "first")
        (tmp_path / ".x.new").write_text("left behind by a killed process")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with folder.changing(), pytest.raises(LocalProblem, match="No space left"):
        folder.write("x", "second")
    assert folder.read("x") == "first"
    assert sorted(os.listdir(tmp_path)) == [".lock", "x"]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a\0b", b"x" * (256 << 10) + b"x"])
def test_what_cannot_be_ours_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(LocalProblem, match="damaged or not ours"):
        PrivateFolder(lambda: tmp_path).read("x")


def test_names() -> None:
    for name in ("backup", "links.csv", "a", "A-1_b+c", "7", "x" * 100):
        assert checked_name(name, "context") == name
    for name in ("", ".", "..", "../x", "a/b", "a\\b", "-f", ".x", "a b", "a\n", "a\0", "é", "x" * 101, "a."):
        with pytest.raises(UsageProblem, match="cannot be the name of a context"):
            checked_name(name, "context")


# Contexts.


@settings(max_examples=40, deadline=None)  # fsync on a busy disk
@given(namespace=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_namespace_survives_toml(tmp_path_factory: pytest.TempPathFactory, namespace: str) -> None:
    store = ContextStore(PrivateFolder(lambda: tmp_path_factory.getbasetemp() / "toml"))
    store.save(Context("x", URL, namespace), force=True)
    assert store.load("x").namespace == namespace


def test_a_token_that_is_kept_is_for_the_user_alone(contexts: ContextStore, tmp_path: Path) -> None:
    contexts.save(Context("prod", URL), token=Secret("t0p"))
    file = tmp_path / "contexts" / "prod.token"
    assert contexts.load("prod").token_source == f"file:{file}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert contexts.load("prod").token({}, []) == Secret("t0p")
    contexts.save(Context("prod", URL, token_source="env:T"), force=True)
    assert not file.exists()
    contexts.save(Context("prod", URL), token=Secret("t0p"), force=True)
    contexts.remove(["prod"])
    assert not file.exists()


def test_of_two_contexts_of_an_engine_the_one_in_use_is_meant(contexts: ContextStore) -> None:
    for name in ("prod", "test"):
        contexts.save(Context(name, URL))
    assert contexts.for_url(URL) == Context("prod", URL)
    contexts.use("test")
    assert contexts.for_url(URL) == Context("test", URL)
    contexts.remove(["test"])
    assert contexts.in_use() is None


@pytest.mark.parametrize("content", ["../x", "two words", "\n"])
def test_a_foreign_word_in_use_is_told(contexts: ContextStore, tmp_path: Path, content: str) -> None:
    contexts.save(Context("prod", URL))
    (tmp_path / "contexts" / "in-use").write_text(content)
    with pytest.raises(LocalProblem, match="damaged or not ours"):
        contexts.in_use()


@pytest.mark.parametrize(
    "content",
    [
        *("=", "t0p", "url = 1", 'namespace = "n"', 'url = "http://t0p"', 'url = "ws://a"\ntoken = "t0p"'),
        *('url = "ws://a"\ncolour = "red"', '[tool.t0p]\nname = "x"', "a = " + "[" * 5000),
    ],
)
def test_a_foreign_context_is_told_and_left_alone(
    contexts: ContextStore, tmp_path: Path, content: str
) -> None:
    contexts.save(Context("good", URL))
    (tmp_path / "contexts" / "x.toml").write_text(content)
    for attempt in (
        lambda: contexts.load("x"),
        lambda: contexts.save(Context("x", URL)),
        lambda: contexts.save(Context("x", URL), token=Secret("new"), force=True),
        lambda: contexts.use("x"),
        lambda: contexts.remove(["good", "x"]),
    ):
        with pytest.raises(LocalProblem, match="damaged or not ours") as caught:
            attempt()
        assert "t0p" not in str(caught.value)
    assert (tmp_path / "contexts" / "x.toml").read_text() == content
    assert [context.name for context in contexts.ls()[0]] == ["good"]
    assert len(contexts.ls()[1]) == 1


# Saved refs.


def test_states_by_use_and_by_age(refs: SavedRefs, clock: Clock) -> None:
    saved = made()
    assert saved.state(NOW - 1000) == "unused"  # the clock was set back
    assert saved.state(NOW + EXPIRY - 1) == "unused"
    assert saved.state(NOW + EXPIRY) == "expired"
    refs.save(saved)
    refs.mark_used("x", saved.ref(WRITE))
    clock.now += 5
    refs.mark_used("x", saved.ref(WRITE))
    half = refs.load("x")
    assert half.used == {WRITE: NOW}, "the first use counts"
    assert (half.state(NOW), half.state(NOW, WRITE), half.state(NOW, READ)) == ("used", "used", "unused")
    assert half.state(NOW + EXPIRY, READ) == "expired"


def test_day_old_ones_are_forgotten(refs: SavedRefs, clock: Clock) -> None:
    refs.save(made("old"))
    clock.now += KEPT / 2
    refs.save(made("young", at=clock.now))
    clock.now += KEPT / 2
    assert [saved.name for saved in refs.ls()[0]] == ["young"]
    clock.now += KEPT
    refs.save(made("new", at=clock.now))
    assert refs.names() == ["new"]


GOOD: dict[str, Any] = {
    "saved_ref": 1,
    "channel_id": "c1",
    "access_key": "k3y",
    "engine_url": "ws://h",
    "created_at": 1.0,
    "ends": ["read"],
    "buffer": None,
    "used": {},
}
CHANGES: tuple[dict[str, Any], ...] = (
    *({"saved_ref": 2}, {"channel_id": ""}, {"channel_id": 1}, {"access_key": None}, {"access_key": ""}),
    *({"engine_url": "http://k3y"}, {"created_at": "now"}, {"created_at": True}, {"created_at": -1}),
    *({"created_at": 1e300}, {"created_at": float("nan")}, {"ends": []}, {"ends": ["k3y"]}, {"ends": "read"}),
    *({"buffer": "64"}, {"used": []}, {"used": {"k3y": 1}}, {"used": {"read": None}}, {"tls": {"key": 5}}),
)
DAMAGED = [
    *("k3y", "[]", "{}", '{"saved_ref": 1, "channel_id": "k3y', "[" * 5000),
    *(json.dumps(GOOD | change) for change in CHANGES),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_foreign_saved_ref_is_told_and_left_alone(refs: SavedRefs, tmp_path: Path, content: str) -> None:
    refs.save(made("y"))
    path = tmp_path / "refs" / "x.json"
    path.write_text(json.dumps(GOOD))
    assert refs.load("x").ends == (READ,)
    path.write_text(content)
    for attempt in (
        lambda: refs.load("x"),
        lambda: refs.save(made("x"), force=True),
        lambda: refs.remove(["y", "x"]),
    ):
        with pytest.raises(LocalProblem, match="not a saved ref") as caught:
            attempt()
        assert "k3y" not in str(caught.value)
    refs.mark_used("x", made().ref(READ))
    found, problems = refs.ls()
    assert ([saved.name for saved in found], len(problems)) == (["y"], 1)
    assert path.read_text() == content


# What `iii doctor` sees.


def test_looking_changes_nothing_and_names_what_is_wrong(contexts: ContextStore, tmp_path: Path) -> None:
    state = contexts.look()
    assert (state.names, state.problems, state.exposed) == ([], [], [])
    assert os.listdir(tmp_path) == []
    contexts.save(Context("prod", URL))
    contexts.use("prod")
    assert (contexts.look().names, contexts.look().problems, contexts.look().exposed) == (["prod"], [], [])
    folder = tmp_path / "contexts"
    (folder / "bad.toml").write_text("\x01{[")
    (folder / "in-use").write_text("gone\n")
    bad, gone = map(str, contexts.look().problems)
    assert "bad.toml" in bad
    assert "'gone'" in gone
    folder.chmod(0o755)
    for path in folder.iterdir():
        path.chmod(0o644 if path.name == "prod.toml" else 0o600)
    assert contexts.look().exposed == [str(folder), str(folder / "prod.toml")]
    assert ContextStore(PrivateFolder(lambda: None)).look().path is None

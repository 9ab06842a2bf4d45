"""Contexts: what is kept, what is refused, and that nobody's file is lost."""

from __future__ import annotations

import os
import stat
import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iii_cli.config.store import Context, ContextStore, PrivateFolder, checked_token_source
from iii_cli.errors import LocalProblem, UsageProblem
from iii_cli.protocol.refs import EngineAddress, Secret, TlsFiles
from tests.config.processes import run_together

if TYPE_CHECKING:
    from pathlib import Path

URL = EngineAddress.parse("wss://engine.example/path?key=1")


@pytest.fixture
def store(tmp_path: Path) -> ContextStore:
    return ContextStore(PrivateFolder(lambda: tmp_path))


def test_everything_comes_back(store: ContextStore, tmp_path: Path) -> None:
    context = Context("prod", URL, 'or"d\\e\nrs\x7fé', "env:T", TlsFiles("/ca", "/cert", "/key", "name"))
    assert store.save(context) == context
    assert store.load("prod") == context
    assert stat.S_IMODE((tmp_path / "prod.toml").stat().st_mode) == 0o600
    assert tomllib.loads((tmp_path / "prod.toml").read_text())["url"] == URL.full_url


@settings(max_examples=40, deadline=None)  # fsync on a busy disk
@given(namespace=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_namespace_survives_toml(tmp_path_factory: pytest.TempPathFactory, namespace: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "toml"
    store = ContextStore(PrivateFolder(lambda: folder))
    context = Context("x", URL, namespace)
    store.save(context, force=True)
    assert store.load("x") == context


def test_a_token_that_is_kept_is_for_the_user_alone(store: ContextStore, tmp_path: Path) -> None:
    context = store.save(Context("prod", URL), token=Secret("t0p"))
    file = tmp_path / "prod.token"
    assert context.token_source == f"file:{file}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "t0p" not in (tmp_path / "prod.toml").read_text()
    assert store.load("prod").token({}, []) == Secret("t0p")
    store.save(Context("prod", URL, token_source="env:T"), force=True)
    assert not file.exists()
    store.save(Context("prod", URL), token=Secret("t0p"), force=True)
    store.remove("prod")
    assert not file.exists()


def test_token_sources(tmp_path: Path) -> None:
    assert Context("x", URL).token({"T": "t0p"}, []) is None
    assert Context("x", URL, token_source="env:T").token({"T": "t0p\n"}, []) == Secret("t0p")
    for environ in ({}, {"T": ""}):
        with pytest.raises(UsageProblem, match=r"\$T, which is not set"):
            Context("x", URL, token_source="env:T").token(environ, [])
    with pytest.raises(LocalProblem, match="the token of context 'x'"):
        Context("x", URL, token_source=f"file:{tmp_path}/no").token({}, [])


@pytest.mark.parametrize("source", ["t0p", "", "env:", "file:", "literal:t0p", "env", "file:a\nb"])
def test_a_token_source_that_is_none_is_refused_unseen(source: str) -> None:
    with pytest.raises(UsageProblem, match="never the token itself") as caught:
        checked_token_source(source)
    assert "t0p" not in str(caught.value)


def test_a_name_is_replaced_only_with_force(store: ContextStore) -> None:
    store.save(Context("prod", URL))
    with pytest.raises(UsageProblem, match="--force replaces it"):
        store.save(Context("prod", URL, "n"))
    store.save(Context("prod", URL, "n"), force=True)
    assert store.load("prod").namespace == "n"


def test_the_context_in_use(store: ContextStore, tmp_path: Path) -> None:
    assert store.in_use() is None
    with pytest.raises(UsageProblem, match="no context 'prod'"):
        store.use("prod")
    assert os.listdir(tmp_path) == []
    store.save(Context("prod", URL))
    store.save(Context("test", URL))
    store.use("prod")
    assert store.in_use() == "prod"
    assert store.names() == ["prod", "test"]
    store.remove("test")
    assert store.in_use() == "prod"
    store.remove("prod")
    assert store.in_use() is None
    store.use(None)


def test_an_unknown_name_brings_the_nearest(store: ContextStore) -> None:
    store.save(Context("production", URL))
    with pytest.raises(UsageProblem, match="did you mean 'production'"):
        store.load("prodution")
    with pytest.raises(UsageProblem, match="`iii context ls`"):
        store.remove("zzz")
    with pytest.raises(UsageProblem, match="cannot be the name"):
        store.load("../production")


def test_the_engine_of_a_url_is_found_the_one_in_use_first(store: ContextStore, tmp_path: Path) -> None:
    assert store.for_url(URL) is None
    for name in ("a", "b"):
        store.save(Context(name, URL))
    (tmp_path / "broken.toml").write_text("=")
    assert store.for_url(URL) == Context("a", URL)
    store.use("b")
    assert store.for_url(URL) == Context("b", URL)
    assert store.for_url(EngineAddress.parse("wss://engine.example")) is None


@pytest.mark.parametrize(
    "content",
    [
        "=",
        "t0p",
        "url = 1",
        'namespace = "n"',
        'url = "http://t0p"',
        'url = "ws://a"\ntoken = "t0p"',
        'url = "ws://a"\ncolour = "red"',
        '[tool.t0p]\nname = "x"',
        "a = " + "[" * 5000,
    ],
)
def test_a_damaged_or_foreign_file_is_told_and_left_alone(
    store: ContextStore, tmp_path: Path, content: str
) -> None:
    (tmp_path / "x.toml").write_text(content)
    for attempt in (
        lambda: store.load("x"),
        lambda: store.save(Context("x", URL)),
        lambda: store.save(Context("x", URL), token=Secret("new"), force=True),
        lambda: store.use("x"),
        lambda: store.remove("x"),
    ):
        with pytest.raises(LocalProblem, match="damaged or not ours") as caught:
            attempt()
        assert "t0p" not in str(caught.value)
    assert (tmp_path / "x.toml").read_text() == content
    assert not (tmp_path / "x.token").exists()


@pytest.mark.parametrize("content", ["../x", "two words", "\n"])
def test_a_damaged_choice_is_told(store: ContextStore, tmp_path: Path, content: str) -> None:
    (tmp_path / "in-use").write_text(content)
    with pytest.raises(LocalProblem, match="damaged or not ours"):
        store.in_use()
    store.use(None)
    assert store.in_use() is None


def test_concurrent_writers_lose_nothing(store: ContextStore) -> None:
    def add(mark: str) -> None:
        for i in range(8):
            store.save(Context(f"{mark}{i}", URL))
            store.use(f"{mark}{i}")

    run_together(lambda: add("a"), lambda: add("b"))
    assert store.names() == [f"{mark}{i}" for mark in "ab" for i in range(8)]
    assert store.in_use() in {"a7", "b7"}
    assert all(store.load(name).address == URL for name in store.names())


def test_a_missing_home_only_fails_what_must_write() -> None:
    store = ContextStore(PrivateFolder(lambda: None))
    assert store.in_use() is None
    assert store.names() == []
    assert store.for_url(URL) is None
    with pytest.raises(UsageProblem, match="no context 'prod'"):
        store.load("prod")
    with pytest.raises(LocalProblem, match="home"):
        store.save(Context("prod", URL))

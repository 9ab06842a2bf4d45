"""A private folder: who may read it, and what happens where it cannot be."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from iii_cli.config import store as folder_module
from iii_cli.config.store import PrivateFolder, checked_name, user_folder
from iii_cli.errors import LocalProblem, UsageProblem
from tests.config.processes import run_together

if TYPE_CHECKING:
    from pathlib import Path


def at(path: Path) -> PrivateFolder:
    return PrivateFolder(lambda: path)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_what_we_write_is_for_the_user_alone(tmp_path: Path, umask: int) -> None:
    folder = at(tmp_path / "a" / "b")
    before = os.umask(umask)
    try:
        with folder.changing():
            folder.write("x.json", "one")
            folder.write("x.json", "two")
    finally:
        os.umask(before)
    assert folder.read("x.json") == "two"
    assert [mode(tmp_path / "a"), mode(tmp_path / "a" / "b")] == [0o700, 0o700]
    assert {mode(path) for path in (tmp_path / "a" / "b").iterdir()} == {0o600}
    assert folder.names(".json") == ["x"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = at(tmp_path)
    with folder.changing():
        folder.write("x", "first")
        with pytest.raises(LocalProblem, match="UTF-8"):
            folder.write("x", "half \ud800")
        (tmp_path / ".x.new").write_text("left behind by a killed process")
    assert folder.read("x") == "first"
    with folder.changing():
        folder.write("x", "second")
    assert folder.read("x") == "second"
    assert not (tmp_path / ".x.new").exists()


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = at(tmp_path)
    with folder.changing():
        folder.write("x", "first")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with folder.changing(), pytest.raises(LocalProblem, match="No space left"):
        folder.write("x", "second")
    assert folder.read("x") == "first"
    assert sorted(os.listdir(tmp_path)) == [".lock", "x"]


def test_without_a_home_only_writing_fails() -> None:
    folder = PrivateFolder(lambda: None)
    assert folder.read("x") is None
    assert folder.names("") == []
    with pytest.raises(LocalProblem, match="home"), folder.changing():
        pass


@pytest.mark.parametrize("place", ["file/refs", "/proc/self/refs", "/dev/null/refs"])
def test_where_no_folder_can_be_only_writing_fails(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = at(tmp_path / place)
    assert folder.read("x") is None
    assert folder.names("") == []
    with pytest.raises(LocalProblem, match="cannot write"), folder.changing():
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root may")
def test_the_home_of_somebody_else_is_no_home(tmp_path: Path) -> None:
    inner = tmp_path / "home"
    inner.mkdir(mode=0o700)
    (inner / "x").write_text("not yours")
    os.chmod(tmp_path, 0o755)

    def look() -> None:
        os.setuid(65534)
        folder = PrivateFolder(lambda: inner)
        assert folder.read("x") is None
        assert folder.names("") == []
        with pytest.raises(LocalProblem, match="cannot write"), folder.changing():
            pass

    run_together(look)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which only root may")
def test_a_file_that_we_may_not_read_is_told(tmp_path: Path) -> None:
    for parent in (tmp_path, *list(tmp_path.parents)[:2]):
        os.chmod(parent, 0o755)
    (tmp_path / "x").write_text("not yours")
    os.chmod(tmp_path / "x", 0o600)

    def look() -> None:
        os.setuid(65534)
        with pytest.raises(LocalProblem, match="Permission denied"):
            at(tmp_path).read("x")

    run_together(look)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a\0b", b"x" * (256 << 10) + b"x"])
def test_what_cannot_be_ours_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(LocalProblem, match="damaged or not ours"):
        at(tmp_path).read("x")


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x")
    with pytest.raises(LocalProblem, match="damaged or not ours"):
        at(tmp_path).read("x")
    (tmp_path / "y").mkdir()
    with pytest.raises(LocalProblem, match="cannot read"):
        at(tmp_path).read("y")


def test_only_one_process_changes_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "LOCK_PATIENCE", 0.0)

    def refused() -> None:
        with pytest.raises(LocalProblem, match="locked"), at(tmp_path).changing():
            pass

    with at(tmp_path).changing():
        run_together(refused)
    with at(tmp_path).changing():
        pass


def test_concurrent_changes_lose_nothing(tmp_path: Path) -> None:
    folder = at(tmp_path / "new")

    def count() -> None:
        for _ in range(20):
            with folder.changing():
                folder.write("n", str(int(folder.read("n") or "0") + 1))

    run_together(count, count, count)
    assert folder.read("n") == "60"


@pytest.mark.parametrize("name", ["backup", "links.csv", "a", "A-1_b+c", "7", "x" * 100])
def test_names(name: str) -> None:
    assert checked_name(name, "context") == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", "/x", "-f", ".hidden", "a b", "a\n", "a\0", "é", "x" * 101, "a."],
)
def test_names_that_no_file_should_have(name: str) -> None:
    with pytest.raises(UsageProblem, match="cannot be the name of a context"):
        checked_name(name, "context")


def test_the_folder_is_the_platforms(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert user_folder("state", "refs") == tmp_path / "state" / "iii-cli" / "refs"
    assert user_folder("config", "contexts") == tmp_path / "config" / "iii-cli" / "contexts"

"""What `iii doctor` sees of the files that we keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from iii_cli.config.store import Context, ContextStore, look_at_contexts, look_at_refs
from iii_cli.errors import LocalProblem
from iii_cli.protocol.refs import EngineAddress

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "iii-cli"


def test_a_new_user_has_nothing_and_may_write(home: Path) -> None:
    for state in (look_at_contexts(), look_at_refs()):
        assert (state.exists, state.writable, state.names, state.problems) == (False, True, [], [])
        assert state.path is not None
        assert not home.exists()  # looking makes nothing


@pytest.mark.usefixtures("home")
def test_good_files_are_counted() -> None:
    store = ContextStore()
    store.save(Context("prod", EngineAddress.parse("ws://h:1")))
    store.use("prod")
    state = look_at_contexts()
    assert (state.names, state.problems, state.exposed) == (["prod"], [], [])


def test_damaged_files_are_named(home: Path) -> None:
    for folder, name in (("contexts", "bad.toml"), ("refs", "bad.json")):
        (home / folder).mkdir(parents=True, mode=0o700)
        (home / folder / name).write_text("\x01{[")
    for state, name in ((look_at_contexts(), "bad.toml"), (look_at_refs(), "bad.json")):
        (problem,) = state.problems
        assert isinstance(problem, LocalProblem)
        assert name in problem.message


def test_a_context_in_use_that_is_gone_is_a_problem(home: Path) -> None:
    (home / "contexts").mkdir(parents=True, mode=0o700)
    (home / "contexts" / "in-use").write_text("gone\n")
    (problem,) = look_at_contexts().problems
    assert "'gone'" in problem.message


def test_what_others_may_read_is_named(home: Path) -> None:
    (home / "refs").mkdir(parents=True)
    (home / "refs").chmod(0o755)
    (home / "refs" / "mine.json").write_text("{")
    (home / "refs" / "mine.json").chmod(0o644)
    assert look_at_refs().exposed == [str(home / "refs"), str(home / "refs" / "mine.json")]
    (home / "refs").chmod(0o700)  # nobody gets to the file any more
    assert look_at_refs().exposed == []


def test_a_file_in_the_place_of_the_folder_cannot_be_written_into(home: Path) -> None:
    home.write_text("")
    assert look_at_contexts().writable is False


def test_without_a_home_there_is_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iii_cli.config.store.user_folder", lambda *parts: None)
    monkeypatch.setattr("iii_cli.config.store.user_folder", lambda *parts: None)
    assert look_at_contexts().path is None

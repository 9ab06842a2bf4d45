"""The state of what we keep for the user: folders and files, their permissions, and what is damaged."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iii_cli.config.contexts import ContextStore
from iii_cli.config.folder import user_folder
from iii_cli.config.saved_refs import SavedRefs
from iii_cli.errors import Failure, LocalProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ("FolderState", "look_at_contexts", "look_at_refs")

FILES_MAX = 1000  # that are looked at; nobody has more
OTHERS = 0o077  # permission bits of everybody but the user


@dataclass(slots=True)
class FolderState:
    """`path` None: a user without a home. `problems` are failures as our commands would meet them."""

    path: str | None = None
    exists: bool = False
    writable: bool = False  # or could be made
    names: list[str] = field(default_factory=list)
    problems: list[Failure] = field(default_factory=list)
    exposed: list[str] = field(default_factory=list)  # paths that other users may read or change


def look_at_contexts() -> FolderState:
    """The contexts, each read as a command would. Changes nothing, raises nothing."""
    store = ContextStore()

    def load(name: str) -> None:
        store.load(name)

    state = _look(user_folder("config", "contexts"), store.names, load)
    try:
        chosen = store.in_use()
        if chosen is not None and chosen not in state.names:
            state.problems.append(
                LocalProblem(f"the context in use, {chosen!r}, is not there", hint="`iii context use --none`")
            )
    except Failure as failure:
        state.problems.append(failure)
    return state


def look_at_refs() -> FolderState:
    """The saved refs, likewise."""
    saved = SavedRefs()

    def load(name: str) -> None:
        saved.load(name)

    return _look(user_folder("state", "refs"), saved.names, load)


def _look(folder: Path | None, names: Callable[[], list[str]], load: Callable[[str], None]) -> FolderState:
    state = FolderState()
    if folder is None:
        return state
    state.path = str(folder)
    state.exists = os.path.lexists(folder)
    state.writable = _writable(folder)
    try:
        state.names = names()[:FILES_MAX]
    except Failure as failure:
        state.problems.append(failure)
    for name in state.names:
        try:
            load(name)
        except Failure as failure:
            state.problems.append(failure)
    state.exposed = sorted(_exposed(folder))
    return state


def _exposed(folder: Path) -> Iterable[str]:
    """The folder, where others may look into it, and the files in it that they may read."""
    with suppress(OSError):
        if not stat.S_IMODE(folder.stat().st_mode) & OTHERS:
            return  # whatever the files allow, nobody gets there
        yield str(folder)
        for entry in list(os.scandir(folder))[:FILES_MAX]:
            with suppress(OSError):
                if entry.is_file() and stat.S_IMODE(entry.stat().st_mode) & OTHERS:
                    yield entry.path


def _writable(folder: Path) -> bool:
    """Could a file be made there? Asks the nearest folder above that exists."""
    for place in (folder, *folder.parents):
        if os.path.lexists(place):
            return os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)
    return False

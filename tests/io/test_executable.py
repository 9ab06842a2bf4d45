"""A COMMAND is looked for before anything is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from iii_cli.errors import CommandNotFound, CommandNotRunnable, UsageProblem
from iii_cli.io.process import find_command, shell_command

if TYPE_CHECKING:
    from pathlib import Path


def test_path_is_searched_as_a_shell_does(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "tool").write_text("#!/bin/sh\n")
    (second / "tool").chmod(0o755)
    env = {"PATH": f"{first}:{second}"}
    assert find_command(["tool", "-x"], env=env) == str(second / "tool")
    (first / "tool").chmod(0o755)
    assert find_command(["tool"], env=env) == str(first / "tool")
    with pytest.raises(CommandNotFound, match="no command missing on PATH"):
        find_command(["missing"], env=env)


def test_found_but_not_runnable(tmp_path: Path) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "folder").mkdir()
    for word in (str(tmp_path / "tool"), "tool"):
        with pytest.raises(CommandNotRunnable, match="not executable"):
            find_command([word], env={"PATH": str(tmp_path)})
    with pytest.raises(CommandNotRunnable, match="is a folder"):
        find_command([str(tmp_path / "folder")])
    with pytest.raises(CommandNotFound):
        find_command([str(tmp_path / "missing")])


def test_no_command_is_a_matter_of_usage() -> None:
    for argv in ([], [""], ["a\0b"]):
        with pytest.raises(UsageProblem):
            find_command(argv)
    with pytest.raises(UsageProblem):
        shell_command("  ")
    assert shell_command("a | b")[-1] == "a | b"

"""Two programs are called iii: the words of the engine's own go to it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.program import III

if TYPE_CHECKING:
    from collections.abc import Callable

ENGINE = """#!/bin/sh
for word; do printf '<%s>' "$word"; done
kill -PIPE $$
exit 42
"""
WRAPPER = f"""#!/bin/sh
exec {III} "$@"
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str, str], str]:
    """Write an executable called iii into a folder of its own; returns the folder."""

    def write(folder: str, text: str) -> str:
        path = tmp_path / folder / "iii"
        path.parent.mkdir()
        path.write_text(text)
        path.chmod(0o755)
        return str(path.parent)

    return write


def run(folders: list[str], *words: str) -> subprocess.CompletedProcess[bytes]:
    path = os.pathsep.join([str(Path(III).parent), *folders, "/usr/bin", "/bin"])
    environ = {"PATH": path, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}
    return subprocess.run(
        [III, *words], capture_output=True, env=environ, timeout=20, stdin=subprocess.DEVNULL
    )


@pytest.mark.parametrize(
    "words",
    [
        ("cloud",),
        ("compose", "up", "-f", "a b.yaml", "--", "--help"),
        ("console", "--port", "3113"),
        ("project", "init", "x*", ""),
        ("update", "--list-targets"),
        ("worker", "list", "--url", "ws://x"),
        ("-c", "config.yaml"),
        ("--config=config.yaml",),
    ],
    ids=lambda words: words[0],
)
def test_its_words_reach_it_unchanged(program: Callable[[str, str], str], words: tuple[str, ...]) -> None:
    engine = program("engine", ENGINE.replace("kill -PIPE $$\n", ""))
    done = run([engine], *words)
    assert (done.returncode, done.stderr) == (42, b"")
    assert done.stdout.decode() == "".join(f"<{word}>" for word in words)


def test_it_dies_of_a_closed_pipe_like_any_program(program: Callable[[str, str], str]) -> None:
    """Python ignores SIGPIPE, and what we become must not."""
    assert run([program("engine", ENGINE)], "cloud").returncode == -13


def test_without_one_a_line_says_how_to_get_it() -> None:
    done = run([], "compose", "up")
    assert done.returncode == 127
    assert done.stdout == b""
    assert done.stderr.decode().count("\n") == 1
    assert "https://github.com/iii-hq/iii" in done.stderr.decode()


def test_another_installation_of_ours_is_passed_over(program: Callable[[str, str], str]) -> None:
    ours = program("pipx", Path(III).read_text())
    engine = program("engine", ENGINE.replace("kill -PIPE $$\n", ""))
    assert run([ours], "update").returncode == 127
    assert run([ours, engine], "update").returncode == 42


def test_a_wrapper_that_comes_back_to_us_ends(program: Callable[[str, str], str]) -> None:
    done = run([program("wrapper", WRAPPER)], "worker", "list")
    assert done.returncode == 1
    assert b"comes back to us" in done.stderr


def test_one_that_cannot_be_run_is_named(program: Callable[[str, str], str]) -> None:
    done = run([program("broken", "\x7fELF nonsense")], "cloud")
    assert done.returncode == 126
    assert b"broken/iii" in done.stderr


def test_alone_it_prints_help_and_starts_nothing(program: Callable[[str, str], str]) -> None:
    done = run([program("engine", ENGINE)])
    assert done.returncode == 0
    assert done.stdout.decode().startswith("Usage: iii ")
    assert "cloud, compose, console, project, update" in done.stdout.decode()

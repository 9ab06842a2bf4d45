"""Transcripts of two hosts become scripts."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.examples.transcript import script_of

if TYPE_CHECKING:
    from pathlib import Path


def run(transcript: str, folder: Path) -> subprocess.CompletedProcess[str]:
    for host in "AB":
        (folder / host).mkdir()
    command = ["bash", "-euo", "pipefail", "-c", script_of(transcript)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=10)


def test_a_token_goes_from_host_to_host(tmp_path: Path) -> None:
    done = run("A$ echo iii:read:1:2  # prints it\nB$ echo iii:read:… > $HOME/got    # meanwhile", tmp_path)
    assert (done.returncode, done.stdout) == (0, "iii:read:1:2\n")
    assert (tmp_path / "B" / "got").read_text() == "iii:read:1:2\n"


@pytest.mark.parametrize("line", ["A$ exit 3", "B$ exit 3  # meanwhile"])
def test_a_step_that_fails_is_a_failure(line: str, tmp_path: Path) -> None:
    assert run(f"{line}\nA$ true", tmp_path).returncode == 3


def test_what_stays_is_not_waited_for(tmp_path: Path) -> None:
    assert run("B$ exit 3  # stays\nA$ true", tmp_path).returncode == 0


def test_a_line_belongs_to_a_host() -> None:
    with pytest.raises(ValueError, match="neither"):
        script_of("$ ls")

"""TAB in real shells, on a real terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.shells.interactive import after_tab, needs
from tests.shells.world import world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.program import Program

pytestmark = pytest.mark.ci
SHELLS = [pytest.param(name, marks=needs(name)) for name in ("bash", "zsh", "fish")]


@pytest.fixture(scope="module")
def iii(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    with world(tmp_path_factory.mktemp("home")) as program:
        yield program


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("iii chan", "iii channel"),
        ("iii-cli work", "iii-cli workers"),
        ("iii functions info img::re", "iii functions info img::resize"),
        ("iii functions info te", "iii functions info text::upper"),
        ("iii functions wait text::upper img::ro", "iii functions wait text::upper img::rotate"),
        ("iii trigger img::resize wi", "iii trigger img::resize width="),
        ("iii channel write --digest sh", "iii channel write --digest sha256"),
        ("iii --color=al", "iii --color=always"),
        ("iii functions ls --js", "iii functions ls --json"),
        ("iii channel read @ba", "iii channel read @backup"),
        ("iii --context pr", "iii --context prod"),
        ("iii context show pr", "iii context show prod"),
        ("iii channel read -o /etc/pass", "iii channel read -o /etc/passwd"),
        ("iii trigger img::resize --in name=/etc/pass", "iii trigger img::resize --in name=/etc/passwd"),
        ("iii engine exec -- cat /etc/pass", "iii engine exec -- cat /etc/passwd"),
        ("iii pipe img::re", "iii pipe img::resize"),
        ('iii pipe "img::re', 'iii pipe "img::resize'),
        ('iii pipe text::upper "img::resize a=1 wi', 'iii pipe text::upper "img::resize a=1 width='),
        ('iii pipe "-n default img::resize na', 'iii pipe "-n default img::resize name='),
        ("iii nonsense chan", "iii nonsense chan"),
        ("iii functions info no::such", "iii functions info no::such"),
        ("iii help sea", "iii help seals"),
    ],
)
def test_tab(iii: Program, shell: str, line: str, completed: str) -> None:
    shown = after_tab(shell, line, iii.env)
    if completed.endswith("passwd"):  # there may be a passwd- beside it
        assert shown.startswith(completed)
    else:
        assert shown.rstrip(' "') == completed  # some shells close a quote


@pytest.mark.parametrize("shell", SHELLS)
def test_a_tab_does_not_start_the_engine_that_is_called_iii_too(
    iii: Program, shell: str, tmp_path: Path
) -> None:
    """pipx leaves the engine's program alone: then `iii-cli` alone is ours."""
    other = tmp_path / "iii"
    other.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    other.chmod(0o755)
    for program in ("iii", "iii-cli"):
        line = f"{program} functions info img::re"
        assert after_tab(shell, line, iii.env, ahead=tmp_path).rstrip() == f"{line}size"
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_without_an_engine_the_commands_are_still_there(iii: Program, shell: str) -> None:
    alone = iii.env | {"III_URL": "ws://127.0.0.1:9"}
    assert after_tab(shell, "iii channel cr", alone).rstrip() == "iii channel create"
    assert after_tab(shell, "iii functions info img::re", alone).rstrip() == "iii functions info img::re"

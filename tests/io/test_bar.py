"""A bar has its width, with and without colours, and characters that the terminal has."""

from __future__ import annotations

import pytest

from iii_cli.io.console import clean, width_of
from iii_cli.io.progress import Bar

UTF8 = {"LANG": "en_US.UTF-8", "TERM": "xterm-256color"}


@pytest.mark.parametrize("color", [True, False, None])
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.999, 1.0])
def test_the_width_is_always_the_same(
    color: bool | None, fraction: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "7")
    bar = Bar(color=color, env=UTF8)
    for _ in range(2):
        drawn = bar.draw(fraction, 20)
        assert width_of(clean(drawn)) == 20
        assert ("\x1b" in drawn) == (color is True)


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"LANG": "C"},
        UTF8 | {"LC_ALL": "POSIX"},
        UTF8 | {"LC_CTYPE": "de_DE.ISO-8859-1"},
        UTF8 | {"TERM": "linux"},
    ],
)
def test_a_terminal_without_the_characters(env: dict[str, str]) -> None:
    bar = Bar(color=True, env=env)
    assert [bar.draw(fraction, 8) for fraction in (0, 0.5, 0.99, 1)] == [
        "--------", "####----", "#######-", "########",
    ]  # fmt: skip


def test_a_terminal_with_them() -> None:
    for env in ({"LC_ALL": "C.utf8"}, {"LC_ALL": "", "LC_CTYPE": "UTF-8"}, UTF8):
        assert "━" in Bar(color=False, env=env).draw(0.5, 8)

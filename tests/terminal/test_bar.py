"""A bar has its width, with and without colours."""

from __future__ import annotations

import pytest

from iii_cli.terminal.bar import Bar
from iii_cli.terminal.text import clean, width_of


@pytest.mark.parametrize("color", [True, False, None])
@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.5, 0.999, 1.0])
def test_the_width_is_always_the_same(
    color: bool | None, fraction: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    bar = Bar(color=color)
    for _ in range(2):
        drawn = bar.draw(fraction, 20)
        assert width_of(clean(drawn)) == 20
        assert ("\x1b" in drawn) == (color is True)

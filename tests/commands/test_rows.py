"""Rows, as a terminal and as a program get them."""

from __future__ import annotations

import io

import pytest

from iii_cli.commands.rows import print_rows


class Screen(io.StringIO):
    """A stream that says whether it is a terminal."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


ROWS = [("a", "x\x1b[31my\n\N{RIGHT-TO-LEFT OVERRIDE}z"), ("日本", "short"), ("", "")]


@pytest.mark.parametrize(
    ("is_terminal", "rows", "shown"),
    [
        (True, ROWS, "NAME  WHAT\na     xy z\n日本  short\n\n"),
        (False, ROWS, "a\txy z\n日本\tshort\n\t\n"),
        (True, [], ""),
        (False, [], ""),
    ],
)
def test_rows(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, rows: list[tuple[str, str]], shown: str
) -> None:
    screen = Screen(is_terminal)
    monkeypatch.setattr("sys.stdout", screen)
    print_rows(("NAME", "WHAT"), rows)
    assert screen.getvalue() == shown

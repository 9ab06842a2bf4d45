"""Findings as people and programs get them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.io import console as checklist
from iii_cli.io.console import Finding, print_checklist

if TYPE_CHECKING:
    import pytest

FOUND = [
    Finding("engine", "ok", "embedded"),
    Finding("open files", "warning", "64 at once, which is not many", "ulimit -n 1024"),
]


def test_a_program_gets_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_checklist(FOUND)
    assert capsys.readouterr().out == (
        "ok\tengine\tembedded\t\nwarning\topen files\t64 at once, which is not many\tulimit -n 1024\n"
    )


def test_a_person_gets_columns_and_advice_beneath(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checklist, "stdout_is_terminal", lambda: True)
    monkeypatch.setattr(checklist, "stdout_columns", lambda: 45)
    print_checklist(FOUND)
    assert capsys.readouterr().out.splitlines() == [
        "ok       engine      embedded",
        "warning  open files  64 at once, which is not",
        "                     many",
        "                     -> ulimit -n 1024",
    ]


def test_a_stranger_moves_no_cursor_and_adds_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_checklist([Finding("engine", "ok", "a\x1b[2Jb\nc\td\u202e")])
    assert capsys.readouterr().out == "ok\tengine\tab c d\t\n"

"""The picture in the README is of a session that goes as it shows."""

from __future__ import annotations

import pytest

from tests.pictures.screen import shown
from tests.pictures.session import COMMANDS, PICTURE, draw, lines_of, masked, recorded


@pytest.mark.parametrize(
    ("written", "left"),
    [
        ("one\r\ntwo", "one\ntwo"),
        ("half\rwhole", "whole"),
        ("much longer\r\x1b[Kshort", "short"),
        ("a\r\nb\r\x1b[1A\x1b[Jc", "c"),
        ("a\r\nb\r\nc\x1b[2A\rx", "x\nb\nc"),
        ("\x1b[1mbold\x1b[0m", "\x1b[1mbold\x1b[0m"),
        ("\x1b[?25lhidden\x1b[?25h", "hidden"),
    ],
)
def test_a_terminal_shows_what_is_left(written: str, left: str) -> None:
    assert shown(written) == left


def test_the_picture_shows_the_commands_of_the_session() -> None:
    lines = lines_of(PICTURE.read_text())
    assert [line[2:] for line in lines if line.startswith("$ ")] == list(COMMANDS)


def test_drawing_is_the_same_each_time_and_needs_no_network() -> None:
    session = "$ iii one & <two>\niii: \x1b[31mred\x1b[0m\n"
    picture = draw(session)
    assert picture == draw(session)
    assert lines_of(picture) == ["$ iii one & <two>", "iii: red"]
    assert "url(http" not in picture.replace('"', "")


@pytest.mark.ci
def test_the_session_still_goes_so() -> None:
    now = draw(recorded())
    assert masked(lines_of(now)) == masked(lines_of(PICTURE.read_text())), "run: python -m tests.pictures"

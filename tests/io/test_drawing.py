"""What is drawn on a terminal comes away whole, whoever has the terminal and however wide it becomes."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from typing import TYPE_CHECKING

import pytest

from iii_cli.io.console import Drawing, Stderr

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH = ("one  " + "x" * 55, "two")


@pytest.fixture
def terminal() -> Iterator[int]:
    ours, theirs = os.openpty()
    resize(theirs, 80)
    yield theirs
    os.close(ours)
    os.close(theirs)


def resize(fd: int, columns: int, rows: int = 24) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def test_lines_take_the_place_of_those_before(terminal: int) -> None:
    drawing = Drawing(Stderr(terminal))
    assert drawing.replace(()) == ""
    assert drawing.replace(["one"]) == "\r\x1b[Kone"
    assert drawing.replace(BOTH) == "\r\x1b[K" + "\n".join(BOTH)
    assert drawing.replace(["one"]) == "\r\x1b[1A\x1b[Jone"
    assert drawing.around("said\n") == "\r\x1b[Ksaid\none"
    assert drawing.replace(()) == "\r\x1b[K"
    assert drawing.around("said\n") == "said\n"


def test_a_terminal_of_few_rows_shows_few(terminal: int) -> None:
    resize(terminal, 80, rows=2)
    assert Drawing(Stderr(terminal)).replace(BOTH) == "\r\x1b[K" + BOTH[0]


@pytest.mark.parametrize(
    ("columns", "environ", "rows"),
    [(30, {}, 3), (10, {}, 7), (1, {}, 63), (120, {}, 2), (30, {"XTERM_VERSION": "XTerm(390)"}, 2)],
)
def test_a_narrower_terminal_has_folded_them(
    terminal: int, monkeypatch: pytest.MonkeyPatch, columns: int, environ: dict[str, str], rows: int
) -> None:
    for name in ("XTERM_VERSION", "STY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    drawing = Drawing(Stderr(terminal))
    drawing.replace([f"\x1b[31m{BOTH[0]}\x1b[0m", BOTH[1]])
    resize(terminal, columns)
    assert drawing.replace(()) == f"\r\x1b[{rows - 1}A\x1b[J"


@pytest.mark.parametrize("cleared", [termios.ICANON, termios.ECHO], ids=["pager", "password"])
def test_a_terminal_that_somebody_else_has_is_left_alone(terminal: int, cleared: int) -> None:
    drawing = Drawing(Stderr(terminal))
    drawing.replace(["one"])
    modes = termios.tcgetattr(terminal)
    modes[3] &= ~cleared
    termios.tcsetattr(terminal, termios.TCSANOW, modes)
    assert drawing.around("said\n") == "said\n"
    assert drawing.replace(["two"]) == ""
    modes[3] |= cleared
    termios.tcsetattr(terminal, termios.TCSANOW, modes)
    assert drawing.replace(["three"]) == "\r\x1b[Kthree"

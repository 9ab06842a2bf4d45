"""Whatever is on the other side of stderr, the data goes on."""

from __future__ import annotations

import itertools
import os
import time
from typing import TYPE_CHECKING

import pytest

from iii_cli.io.console import BACKLOG_BYTES, Stderr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINE = "iii: " + "x" * 250 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            continue


def read_everything(fd: int) -> bytes:
    os.set_blocking(fd, False)
    got = b""
    try:
        while chunk := os.read(fd, 1 << 20):
            got += chunk
    except BlockingIOError:
        pass
    return got


def test_a_stalled_reader_holds_us_up_once_and_hears_what_it_missed(pipe: tuple[int, int]) -> None:
    stderr = Stderr(pipe[1], clock=itertools.count().__next__)  # patience ends at the second look
    lines = 3 * (1 << 20) // len(LINE)
    before = time.monotonic()
    for _ in range(lines):
        stderr.write(LINE)
    assert time.monotonic() - before < 5
    assert not stderr.is_idle
    got = read_everything(pipe[0])
    stderr.drain()
    got += read_everything(pipe[0])
    *kept, last = got.decode().splitlines(keepends=True)
    assert set(kept) == {LINE}, "only whole lines, and none of them torn"
    assert last == f"iii: {lines - len(kept)} lines are missing here, nobody read them\n"
    assert len(got) <= (1 << 20) + BACKLOG_BYTES + len(last)
    stderr.write("back\n")
    assert read_everything(pipe[0]) == b"back\n"


def test_nothing_raises(pipe: tuple[int, int]) -> None:
    for fd in (pipe[0], 987654, os.open("/dev/full", os.O_WRONLY)):
        stderr = Stderr(fd)
        stderr.write("lost\n")
        stderr.write("lost\n")
        assert stderr.is_idle
        stderr.drain()
    os.close(fd)
    left = Stderr(pipe[1])
    left.write("read\n")
    os.close(pipe[0])
    left.write("lost \ud83d\n")
    assert left.is_idle
    assert not left.is_terminal


def test_a_file_gets_everything_at_once(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    stderr = Stderr(fd)
    for _ in range(1000):
        stderr.write(LINE)
    assert (tmp_path / "log").read_text() == LINE * 1000
    os.close(fd)


def test_a_terminal_is_known_by_its_width() -> None:
    controller, terminal = os.openpty()
    stderr = Stderr(terminal)
    assert stderr.is_terminal
    assert stderr.columns == 80
    stderr.write("ünïcode\n")
    shown = b""
    while not shown.endswith(b"\n"):
        shown += os.read(controller, 100)
    assert shown.decode() == "ünïcode\r\n"
    os.close(terminal)
    os.close(controller)


def test_what_takes_the_place_of_stderr_gets_it(capsys: pytest.CaptureFixture[str]) -> None:
    Stderr().write("for the test\n")
    assert capsys.readouterr().err == "for the test\n"

"""What is told on stderr, and what is printed to stdout: the same for programs, safe for terminals."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from iii_cli.io.console import Stderr


def test_a_pipe_that_nobody_reads_holds_us_up_once_and_hears_what_it_missed() -> None:
    reading, writing = os.pipe()
    stderr, before = Stderr(writing), time.monotonic()
    for _ in range(300):
        stderr.write("x" * 999 + "\n")
    assert time.monotonic() - before < 5
    got = os.read(reading, 1 << 20)
    assert set(got.splitlines(keepends=True)) == {b"x" * 999 + b"\n"}, "whole lines only"
    stderr.write("back\n")
    missing = 300 - got.count(b"\n")
    assert os.read(reading, 200) == b"iii: %d lines are missing here, nobody read them\nback\n" % missing
    os.close(reading)
    os.close(writing)


EVIL = "evil\x1b]0;title\x07\x9b31m \u202etxt\nsecond"
ROWS = [["text::gzip", "Compress, and say so at great length indeed"], ["漢字::λ", EVIL]]

TABLE = f"from iii_cli.io.console import *; print_table(['FUNCTION', 'DESCRIPTION'], {ROWS!r})"


def on_a_terminal(code: str, *, columns: int = 80) -> str:
    import fcntl
    import struct
    import termios

    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    subprocess.run([sys.executable, "-c", code], stdout=terminal, check=True)
    os.close(terminal)
    shown = b""
    try:
        while chunk := os.read(controller, 65536):
            shown += chunk
    except OSError:  # a terminal whose last user has gone
        pass
    os.close(controller)
    return shown.decode().replace("\r\n", "\n")


def test_a_table_for_people_fits_their_terminal() -> None:
    assert on_a_terminal(TABLE) == (
        "FUNCTION    DESCRIPTION\n"
        "text::gzip  Compress, and say so at great length indeed\n"
        "漢字::λ     evil txt second\n"
    )
    assert on_a_terminal(TABLE, columns=24) == (
        "FUNCTION    DESCRIPTION\ntext::gzip  Compress, a…\n漢字::λ     evil txt se…\n"
    )
    assert "text::gzip  Compres…\n" in on_a_terminal(TABLE, columns=5), "what people copy is never cut"


WIDE = """
from iii_cli.io.console import print_table
rows = [["a", "python", "0.23.0", "connected"], ["b" * %d] + ["x"] * 3]
print_table(["ID", "RUNTIME", "VERSION", "STATUS"], rows)
"""


def test_columns_that_do_not_fit_are_left_out_from_the_end() -> None:
    whole = "ID  RUNTIME  VERSION  STATUS\na   python   0.23.0   connected\nb   x        x        x\n"
    assert on_a_terminal(WIDE % 1, columns=31) == whole
    assert on_a_terminal(WIDE % 1, columns=30) == (
        "ID  RUNTIME  VERSION\na   python   0.23.0\nb   x        x\n"
    )  # fmt: skip

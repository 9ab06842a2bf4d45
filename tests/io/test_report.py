"""Data on stdout: the same for programs, safe for terminals."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from iii_cli.io.console import emit, print_json, print_table

HOSTILE = "evil\x1b]0;title\x07\x9b31m \u202etxt\nsecond"
ROWS = [["text::gzip", "Compress, and say so at great length indeed"], ["漢字::λ", HOSTILE]]

TABLE = f"from iii_cli.io.console import *; print_table(['FUNCTION', 'DESCRIPTION'], {ROWS!r})"
VALUE = f"{{'b': {HOSTILE!r}, 'a': '漢 \\ud83d'}}"
JSON = f"from iii_cli.io.console import *; print_json({VALUE}, sort_keys=True)"


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


def piped(code: str) -> bytes:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout


def test_a_table_for_programs_has_one_line_a_row_and_no_header() -> None:
    assert piped(TABLE).decode() == (
        "text::gzip\tCompress, and say so at great length indeed\n漢字::λ\tevil txt second\n"
    )


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


def test_one_long_cell_does_not_push_the_others_out() -> None:
    assert on_a_terminal(WIDE % 300, columns=40) == (
        "ID                    RUNTIME  VERSION\n"
        "a                     python   0.23.0\n"
        f"{'b' * 300}  x        x\n"
    )  # fmt: skip


def test_no_rows_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A"], [])
    assert capsys.readouterr().out == ""


def test_json_keeps_its_value_everywhere() -> None:
    value = {"a": "漢 \ud83d", "b": HOSTILE}
    for text in (piped(JSON).decode(), on_a_terminal(JSON)):
        assert json.loads(text) == value
        assert text.index('"a"') < text.index('"b"')
    assert not {"\u202e", "\x9b", "\x1b"} & set(on_a_terminal(JSON))


def test_programs_get_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    emit(HOSTILE)
    print_json({"a": "漢"})
    assert capsys.readouterr().out == HOSTILE + '{\n  "a": "漢"\n}\n'


RAISING = """
import sys
from iii_cli.io.descriptors import reserve_descriptors
reserve_descriptors()
from iii_cli.io.console import emit
try:
    emit("x" * 200000)
except BaseException as error:
    print(type(error).__name__, error, file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("redirection", "said"),
    [
        ("| true", "BrokenPipeError [Errno 32] Broken pipe"),
        ("> /dev/full", "LocalProblem cannot write to standard output: No space left on device"),
        (">&-", "LocalProblem cannot write to standard output: Bad file descriptor"),
    ],
)
def test_a_stdout_that_does_not_work(redirection: str, said: str) -> None:
    command = f'"$0" -c "$1" {redirection}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable, RAISING], stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.stderr.strip() == said

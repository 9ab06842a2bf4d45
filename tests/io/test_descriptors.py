"""Closed descriptors at the start, and names of descriptors."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from iii_cli.io.descriptors import descriptor_named

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import os, socket, sys
from iii_cli.io.descriptors import reserve_descriptors
reserve_descriptors()
taken = socket.socket().fileno()
def attempt(action):
    try:
        return repr(action())
    except OSError as error:
        return error.strerror
print(taken > 2, attempt(lambda: os.read(0, 1)), attempt(lambda: os.write(1, b"")),
      attempt(lambda: os.write(2, b"")), file=open(sys.argv[1], "w"))
"""


@pytest.mark.parametrize(
    ("closing", "expected"),
    [
        ("<&-", "True Bad file descriptor 0 0"),
        (">&-", "True b'' Bad file descriptor 0"),
        ("2>&-", "True b'' 0 0"),
        ("<&- >&- 2>&-", "True Bad file descriptor Bad file descriptor 0"),
        ("", "True b'' 0 0"),
    ],
)
def test_closed_descriptors_are_not_taken_by_the_next_socket(
    tmp_path: Path, closing: str, expected: str
) -> None:
    command = f'exec "$0" -c "$1" "$2" {closing}'
    subprocess.run(
        ["sh", "-c", command, sys.executable, SCRIPT, str(tmp_path / "said")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    assert (tmp_path / "said").read_text().strip() == expected


def test_names_of_descriptors(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to("/dev/stdout")
    (tmp_path / "loop").symlink_to("loop")
    assert descriptor_named("/dev/stdin") == 0
    assert descriptor_named(str(tmp_path / "log")) == 1
    assert descriptor_named("/dev/fd/63") == 63
    assert descriptor_named("/proc/self/fd/7") == 7
    for path in ("/dev/null", "/dev/fd/", "/dev/fd/x", "stdout", str(tmp_path / "loop"), ""):
        assert descriptor_named(path) is None

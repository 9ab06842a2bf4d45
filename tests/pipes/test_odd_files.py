"""Files that are no files: what is a FIFO, a device or a full disk to `-o` and to FILE."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.program import refused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program


@pytest.fixture
def fifo(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "fifo")
    return str(tmp_path / "fifo")


def test_nobody_reads_the_fifo_that_is_the_output(iii: Program, fifo: str) -> None:
    """The time limit holds, and the end is still there for a reader who comes later."""
    iii.ok("channel", "create", "--save", "x")
    refused(iii.run("channel", "read", "@x", "-o", fifo, "--timeout", "300ms"), 124, "--timeout")
    reading = iii.start("channel", "read", "@x")
    iii.ok("channel", "write", "@x", stdin=b"later")
    assert reading.communicate(timeout=20)[0] == b"later"


def test_nobody_writes_the_fifo_that_is_the_input(iii: Program, fifo: str) -> None:
    iii.ok("channel", "create", "--save", "x")
    refused(iii.run("channel", "write", "@x", fifo, "--timeout", "300ms"), 124, "--timeout")

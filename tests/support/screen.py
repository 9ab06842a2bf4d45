"""A terminal for the installed `iii`: what it writes there, byte by byte."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from typing import TYPE_CHECKING

from tests.support.program import III, LIMIT

if TYPE_CHECKING:
    from tests.support.program import Program

__all__ = ("on_screen",)


def on_screen(
    program: Program, *words: str, columns: int = 80, env: dict[str, str] | None = None
) -> tuple[int, str]:
    """Run with stdin, stdout and stderr on a terminal. The exit status, and all that the terminal got."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = program.env | {"TERM": "xterm-256color"} | (env or {})
    process = subprocess.Popen([III, *words], stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    shown = bytearray()
    try:
        while chunk := _read(ours):
            shown += chunk
        return process.wait(LIMIT), shown.decode().replace("\r\n", "\n")
    finally:
        os.close(ours)
        process.kill()
        process.wait()


def _read(fd: int) -> bytes:
    """The next bytes; none once the last process has closed the terminal."""
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""

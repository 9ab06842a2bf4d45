"""A session of the installed `iii` on a terminal, and its picture: `python -m tests.pictures` draws it
anew.
"""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import shlex
import struct
import subprocess
import tempfile
import termios
from html import unescape
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tests.pictures.screen import shown
from tests.support.program import III

__all__ = ("COMMANDS", "PICTURE", "draw", "lines_of", "masked", "recorded")

PICTURE = Path(__file__).parent / "session.svg"
COLUMNS = 92
LIMIT = 60.0
COMMANDS = (
    "iii channel create --save backup",
    "iii channel read @backup -o numbers.txt &",
    "iii channel write @backup --receipt -- seq 3000000",
    "iii channel create --save broken",
    "iii channel read @broken -o half.txt &",
    "iii channel write @broken -- sh -c 'seq 1000000; exit 3'",
    "test -e half.txt || echo no file",
    "iii serve text::gzip -- gzip -1 &",
    "iii functions wait text::gzip",
    "iii trigger text::gzip --in numbers.txt --out numbers.gz --result /dev/null",
    "gunzip < numbers.gz | cmp - numbers.txt && echo the same",
    "iii functions ls --prefix text::",
)
END = "the end"
OF_BASH = re.compile(r"\[\d+\][+-] ")  # its notices of jobs that ended, which come when they like
MOVING = re.compile(
    r"^[^$].*?\d:\d\d  average.*?(?=iii: |$)"
)  # a line of progress that another process wrote into
FIGURE = re.compile(r"\d[\d.,]*( [KMG]?i?B\b)?")
WORKER = re.compile(r"\S+:\d+:[0-9a-f]{4}\b.*")  # its name, and what width that leaves behind it
FONT_FACE = re.compile(r"\s*@font-face \{.*?\}\n", re.S)


def recorded() -> str:
    """What a terminal shows after the session, on an engine of its own."""
    with tempfile.TemporaryDirectory(prefix="iii-picture-") as home:
        written = _on_a_terminal([III, "engine", "exec", "--", "bash", "-c", _script()], home)
    lines = [MOVING.sub("", line) for line in shown(written).partition(f"{END}\n")[0].splitlines()]
    return "\n".join(line for line in lines if line and not OF_BASH.search(line)) + "\n"


def draw(session: str) -> str:
    """The session as SVG, without a font from the network."""
    console = Console(
        record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    for line in session.splitlines():
        text = Text.from_ansi(line)
        if line.startswith("$ "):
            text.stylize("bold")
            text.stylize("green", 0, 1)
        console.print(text, soft_wrap=True)
    return FONT_FACE.sub("", console.export_svg(title="iii", unique_id="iii"))


def lines_of(picture: str) -> list[str]:
    """The lines of text in an SVG of ours, top to bottom."""
    rows: dict[float, str] = {}
    for y, text in re.findall(r'<text class="iii-r\d+" x="[\d.]+" y="([\d.]+)"[^>]*>(.*?)</text>', picture):
        rows[float(y)] = rows.get(float(y), "") + unescape(text)
    return [rows[y].replace("\xa0", " ").rstrip() for y in sorted(rows)]


def masked(lines: list[str]) -> list[str]:
    """The lines in any order, figures left out: two processes that end together say so in either order."""
    without_worker = (WORKER.sub("a worker", line) for line in lines if line)
    return sorted(re.sub(r" +", " ", FIGURE.sub("#", line)) for line in without_worker)


def _script() -> str:
    """Each command as typed and what it says; those in the background are waited for before the next
    channel.
    """
    steps = ["set -m", 'PATH="$(dirname "$III"):$PATH"']
    for command in COMMANDS:
        steps.append(f"printf '%s\\n' {shlex.quote('$ ' + command)}\n{command}")
        if "channel write" in command:
            steps.append("wait $!")
    return "\n".join([*steps, f"echo {END}", "kill $(jobs -p)", "wait"])


def _on_a_terminal(command: list[str], home: str) -> str:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environ = {
        "HOME": home,
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "TERM": "xterm-256color",
        "III": III,
    }
    process = subprocess.Popen(
        ["timeout", str(LIMIT), *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environ,
        cwd=home,
        start_new_session=True,
    )
    os.close(theirs)
    written = bytearray()
    try:
        while chunk := _read(ours):
            written += chunk
        if process.wait(LIMIT) != 0:
            raise RuntimeError(f"the session ended with {process.returncode}:\n{written.decode()}")
    finally:
        os.close(ours)
        process.kill()
        process.wait()
    return written.decode()


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:
        return b""

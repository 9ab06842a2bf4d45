"""A person at a terminal: tmux holds the screen, a bash without any settings runs what is typed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, final

import pytest

from tests.support.program import III

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ("NEEDS_TMUX", "Screen", "recorded", "terminal")

NEEDS_TMUX = pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed")
LIMIT = 15.0  # seconds until what is waited for has come
PROMPT = "ready> "
LOOKS_PER_SECOND = 20


@final
class Screen:
    """What is on it now, and the keys."""

    def __init__(self, socket: str) -> None:
        self._tmux = ("tmux", "-S", socket, "-f", "/dev/null")

    def lines(self) -> list[str]:
        """The rows that are not empty, folded as the terminal folded them."""
        return [line for line in self.ask("capture-pane", "-p").splitlines() if line]

    def colours(self) -> str:
        """The screen with its colours, as escape sequences."""
        return self.ask("capture-pane", "-p", "-e")

    def run(self, command: str) -> None:
        """Type a command line; its exit status follows it on the screen."""
        self.type(f"{command}; echo status $?")
        self.until(lambda lines: lines and lines[-1].endswith("$?"))
        self.press("Enter")

    def type(self, text: str) -> None:
        self.ask("send-keys", "-l", text)

    def press(self, key: str) -> None:
        self.ask("send-keys", key)

    def resize(self, columns: int) -> None:
        self.ask("resize-window", "-x", str(columns))

    def until(self, condition: Callable[[list[str]], object]) -> list[str]:
        """Look until the condition holds of the lines, and return them."""
        deadline = time.monotonic() + LIMIT
        while True:
            lines = self.lines()
            if condition(lines):
                return lines
            assert time.monotonic() < deadline, "\n".join(["never seen; this is the screen:", *lines])
            time.sleep(1 / LOOKS_PER_SECOND)

    def shows(self, pattern: str) -> list[str]:
        """Look until a line matches."""
        return self.until(lambda lines: any(re.search(pattern, line) for line in lines))

    def ended(self) -> list[str]:
        """Look until the command is over and the shell is ready; without the line that started it."""
        lines = self.until(lambda lines: lines[-1:] == [PROMPT.strip()] and "status" in "".join(lines[-2:-1]))
        start = max(at for at, line in enumerate(lines[:-1]) if line.startswith(PROMPT))
        while not lines[start].endswith("$?"):
            start += 1  # the command line was folded
        return lines[start + 1 : -1]

    @property
    def cursor_is_visible(self) -> bool:
        return self.ask("display-message", "-p", "#{cursor_flag}").strip() == "1"

    def ask(self, *words: str) -> str:
        done = subprocess.run([*self._tmux, *words], capture_output=True, text=True, timeout=10)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout


@contextmanager
def terminal(env: Mapping[str, str], home: Path, *, columns: int = 80) -> Iterator[Screen]:
    """A terminal of 20 rows with a shell in `home`, in which `iii` is ours. Gone at the end."""
    folder = tempfile.mkdtemp(prefix="iii-")  # short: the path of a socket has 100 characters at most
    screen = Screen(f"{folder}/tmux")
    environ = {name: value for name, value in env.items() if name not in ("NO_COLOR", "FORCE_COLOR", "TMUX")}
    environ |= {"PATH": f"{Path(III).parent}{os.pathsep}{env['PATH']}", "TERM": "screen"}
    Path(folder, "rc").write_text(f"PS1='{PROMPT}'\n")
    command = f"exec bash --rcfile {folder}/rc -i"
    start = (*screen._tmux, "new-session", "-d", "-x", str(columns), "-y", "20", command)
    try:
        subprocess.run(start, env=environ, cwd=home, check=True, timeout=10)
        screen.until(lambda lines: lines == [PROMPT.strip()] or columns < len(PROMPT))
        yield screen
    finally:
        subprocess.run([*screen._tmux, "kill-server"], capture_output=True, timeout=10, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def recorded(lines: list[str]) -> str:
    """The screen with times and rates, which are never the same twice, as `N`."""
    text = "\n".join(lines)
    text = re.sub(r" +[\d.,]+ [KMG]?i?B/s", " N/s", text)
    text = re.sub(r"\bin [\d.]+ s", "in N s", text)
    text = re.sub(r"\bfor \d+ s", "for N s", text)
    return re.sub(r"\b\d+:\d\d\b", "N:NN", text)

"""A person at a real shell: types a line, presses TAB, and sees what became of it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import subprocess
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.program import III

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("COMPLETIONS", "after_tab", "needs")

COMPLETIONS = Path(__file__).parents[2] / "iii_cli" / "completions"
LIMIT = 20.0
PROMPT = "ready: "  # shown when the shell edits a line, and not before
INSERT_NO_TAB = "zstyle ':completion:*' insert-tab false"
START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f"source {COMPLETIONS}/iii.bash"),
    "zsh": (
        ["zsh", "-f", "-i"],
        # TAB completes even if more was typed behind it
        f"fpath=({COMPLETIONS} $fpath); autoload -Uz compinit; compinit -u -D; {INSERT_NO_TAB}",
    ),
    "fish": (
        ["fish", "--no-config", "-i", "-C", f"function fish_prompt; echo -n '{PROMPT}'; end"],
        f"source {COMPLETIONS}/iii.fish",
    ),
}
# To the beginning of the line, then to its end: the line becomes the argument of an echo.
SHOW = "\x01echo 'LINE<\x05>'\n"
ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[=>()][0-9A-Z]?|\x1b\][^\x07]*\x07")


def needs(shell: str) -> pytest.MarkDecorator:
    """Skip, by name, where the shell is not installed."""
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


def after_tab(shell: str, line: str, env: Mapping[str, str], ahead: Path | None = None) -> str:
    """What `line` has become after a TAB at its end. Programs in `ahead` come before ours."""
    return Session(shell, env, ahead).completed(line)


class Session:
    """One shell on a terminal of its own."""

    def __init__(self, shell: str, env: Mapping[str, str], ahead: Path | None) -> None:
        command, self.setup = START[shell]
        ours, theirs = pty.openpty()
        environ = dict(env) | {
            "PATH": os.pathsep.join([*([str(ahead)] if ahead else []), str(Path(III).parent), env["PATH"]]),
            "TERM": "xterm",
            "PS1": PROMPT,
        }
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environ,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # fish insists on a terminal of its own
        )
        os.close(theirs)
        self.fd = ours
        self.seen = ""

    def completed(self, line: str) -> str:
        """Type the line, press TAB, let the shell print the line."""
        try:
            self.wait_for(PROMPT)
            self.type(self.setup + "\n")
            self.wait_for(PROMPT)
            self.type(line + "\t" + SHOW)
            return self.wait_for(r"[\r\n]LINE<(.*?)>\r?\n").group(1)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.fd)

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the screen shows it."""
        deadline = time.monotonic() + LIMIT
        while True:
            match = re.search(pattern, ESCAPES.sub("", self.seen))
            if match:
                self.seen = ""
                return match
            assert time.monotonic() < deadline, self.seen
            if not select.select([self.fd], [], [], 1.0)[0]:
                continue
            self.seen += os.read(self.fd, 65536).decode(errors="replace")

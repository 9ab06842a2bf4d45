"""Our program as a user without rights, as in most containers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ("IS_ROOT", "NOBODY", "Nobody", "python_for_nobody")

NOBODY = 65534
IS_ROOT = os.geteuid() == 0
DROP = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if IS_ROOT else []
PYTHONS = [sys.executable, "/usr/bin/python3"]  # root's own Python may be out of others' sight
PATHS = os.pathsep.join([str(Path(__file__).parents[2]), *(path for path in sys.path if path)])


def python_for_nobody() -> str | None:
    """A Python that such a user can run our program with."""
    if IS_ROOT and shutil.which("setpriv") is None:
        return None
    for python in PYTHONS:
        words = [*DROP, python, "-c", "import sys; print(sys.version_info[:2])"]
        try:
            done = subprocess.run(words, env={"PYTHONPATH": PATHS}, cwd="/", capture_output=True, text=True)
        except OSError:
            continue
        if done.stdout.strip() == str(tuple(sys.version_info[:2])) and _runs_ours(python):
            return python
    return None


def _runs_ours(python: str) -> bool:
    words = [*DROP, python, "-m", "iii_cli", "--version"]
    return not subprocess.run(words, env={"PYTHONPATH": PATHS}, cwd="/", capture_output=True).returncode


class Nobody:
    """Runs `iii` as that user, in a folder of its own."""

    def __init__(self, python: str, folder: Path, url: str) -> None:
        self.words = [*DROP, python, "-m", "iii_cli"]
        self.folder = folder
        home = str(folder)
        self.env = {"HOME": home, "PATH": os.environ["PATH"], "III_URL": url, "PYTHONPATH": PATHS}

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*self.words, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            cwd=self.folder,
        )

    def run(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        process = self.start(*words)
        out, err = process.communicate(timeout=25)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

"""As a user without rights, as in most containers: what may not be read or written is said in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pipes.test_refusals import refused

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = 65534
IS_ROOT = os.geteuid() == 0
DROP = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if IS_ROOT else []
PYTHONS = [sys.executable, "/usr/bin/python3"]  # root's own Python may be out of others' sight
PATHS = os.pathsep.join([str(Path(__file__).parents[2]), *(path for path in sys.path if path)])


def _python() -> str | None:
    """A Python that such a user can run our program with."""
    if IS_ROOT and shutil.which("setpriv") is None:
        return None
    script = "import sys, anyio, typer, xxhash, iii_cli.app; print(sys.version_info[:2])"
    for python in PYTHONS:
        words = [*DROP, python, "-c", script]
        try:
            done = subprocess.run(words, env={"PYTHONPATH": PATHS}, cwd="/", capture_output=True, text=True)
        except OSError:
            continue
        if done.stdout.strip() == str(tuple(sys.version_info[:2])):
            return python
    return None


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


@pytest.fixture(scope="module")
def python() -> str:
    found = _python()
    if found is None:
        pytest.skip("no Python here that a user without rights can run")
    return found


@pytest.fixture
def nobody(python: str, engine_url: str) -> Iterator[Nobody]:
    folder = Path(tempfile.mkdtemp(prefix="iii-nobody-", dir="/tmp"))  # pytest's are for one user alone
    try:
        if IS_ROOT:
            os.chown(folder, NOBODY, NOBODY)
        yield Nobody(python, folder, engine_url)
    finally:
        subprocess.run(["chmod", "-R", "u+rwx", str(folder)], check=True)
        shutil.rmtree(folder)


@pytest.mark.ci
def test_a_stream_into_a_file(nobody: Nobody) -> None:
    assert nobody.run("channel", "create", "--save", "x").returncode == 0
    reading = nobody.start("channel", "read", "@x", "-o", "out")
    done = nobody.run("channel", "write", "@x", "--receipt", "--", "echo", "hello")
    assert done.returncode == 0, done.stderr
    reading.communicate(timeout=25)
    assert (nobody.folder / "out").read_text() == "hello\n"


@pytest.mark.ci
def test_what_may_not_be_read_written_or_run(nobody: Nobody) -> None:
    """Each is refused before an end is opened: the same ref serves for the good stream in the end."""
    secret, closed, script = (nobody.folder / name for name in ("secret", "closed", "script"))
    for file in (secret, script):
        file.write_text("#!/bin/sh\necho no\n")
        file.chmod(0o000 if file is secret else 0o644)
    closed.mkdir(mode=0o555)
    if IS_ROOT:
        for path in (secret, script):
            os.chown(path, 0, 0)
    assert nobody.run("channel", "create", "--save", "x").returncode == 0
    refused(nobody.run("channel", "write", "@x", "secret"), 10, "secret")
    refused(nobody.run("channel", "read", "@x", "-o", "closed/out"), 10, "closed")
    refused(nobody.run("channel", "read", "@x", "-o", "/etc/iii-nobody"), 10, "/etc")
    refused(nobody.run("channel", "write", "@x", "--", "./script"), 126, "script")
    refused(nobody.run("functions", "ls", "--token-file", "secret"), 10, "secret")
    refused(nobody.run("serve", "f", "--cwd", "secret", "--", "cat"), 10, "secret")
    reading = nobody.start("channel", "read", "@x")
    assert nobody.run("channel", "write", "@x", "--", "echo", "still good").returncode == 0
    assert reading.communicate(timeout=25)[0] == b"still good\n"


@pytest.mark.ci
def test_a_home_that_may_not_be_written(nobody: Nobody) -> None:
    home = nobody.folder / "home"
    home.mkdir()
    if IS_ROOT:
        os.chown(home, 0, 0)
    home.chmod(0o555)
    nobody.env["HOME"] = str(home)
    refused(nobody.run("channel", "create", "--save", "x"), 10, str(home))
    refused(nobody.run("context", "add", "x", "ws://localhost:1"), 10, str(home))
    refused(nobody.run("channel", "read", "@x"), 5, "no saved ref")
    assert nobody.run("ref", "ls").returncode == 0
    assert nobody.run("functions", "ls", "--all").returncode == 0


@pytest.mark.ci
def test_a_state_folder_of_somebody_else(nobody: Nobody) -> None:
    """Root ran it once with this HOME: it is as if there were none, until something is to be kept."""
    if not IS_ROOT:
        pytest.skip("only root can give a folder away")
    other = nobody.folder / ".local"
    other.mkdir(mode=0o700)
    refused(nobody.run("channel", "create", "--save", "x"), 10, ".local")
    refused(nobody.run("channel", "read", "@x"), 5, "no saved ref")
    assert nobody.run("functions", "ls", "--all").returncode == 0

"""As a user without rights, as in most containers: what may not be read or written is said in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.nobody import IS_ROOT, NOBODY, Nobody, python_for_nobody
from tests.support.program import refused

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def python() -> str:
    found = python_for_nobody()
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
@pytest.mark.skipif(not IS_ROOT, reason="only root can give a file to a group that a user is not in")
def test_a_group_that_cannot_be_kept_gets_no_rights(nobody: Nobody) -> None:
    path = nobody.folder / "out"
    path.write_text("old")
    os.chown(path, NOBODY, 4242)
    path.chmod(0o664)
    assert nobody.run("channel", "create", "--save", "x").returncode == 0
    reading = nobody.start("channel", "read", "@x", "-o", "out")
    assert nobody.run("channel", "write", "@x", "--", "echo", "new").returncode == 0
    assert reading.communicate(timeout=25)[1] == b""
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("new\n", 0o604)


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

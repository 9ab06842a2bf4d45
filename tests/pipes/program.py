"""The installed `iii` as a process, and an engine for it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ("III", "Child", "Program", "running_engine")

III = str(Path(sys.executable).with_name("iii"))  # the script that pip installed beside this Python
LIMIT = 20.0  # seconds that no test command takes


class Child(subprocess.Popen[bytes]):
    """A process that does not outlive its block, whatever becomes of the test: a plain one is waited for."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.kill()
        try:
            self.wait(LIMIT)
        finally:
            self.kill()
            super().__exit__(kind, value, traceback)


class Program:
    """Runs `iii` in a home of its own, against one engine."""

    def __init__(self, home: Path, url: str | None = None) -> None:
        self.home = home
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
        self.env |= {
            "HOME": str(home),
            "XDG_STATE_HOME": str(home),
            "XDG_CONFIG_HOME": str(home),
            "LC_ALL": "C.UTF-8",
        }
        self.limit = LIMIT
        self.options: tuple[str, ...] = ()  # of every command
        if url is not None:
            self.env["III_URL"] = url

    def run(
        self,
        *words: str,
        stdin: bytes | IO[bytes] | int | None = subprocess.DEVNULL,
        limit: float | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run to the end, whatever the exit status."""
        return subprocess.run(
            [III, *self.options, *words],
            input=stdin if isinstance(stdin, bytes) else None,
            stdin=None if isinstance(stdin, bytes) else stdin,
            capture_output=True,
            timeout=limit or self.limit,
            env=self.env | (env or {}),
        )

    def ok(self, *words: str, stdin: bytes | IO[bytes] | int | None = subprocess.DEVNULL) -> str:
        """Run, expect 0, return stdout."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, (words, done.returncode, done.stderr.decode())
        return done.stdout.decode()

    def start(
        self,
        *words: str,
        stdin: IO[bytes] | int | None = subprocess.DEVNULL,
        stdout: IO[bytes] | int | None = subprocess.PIPE,
        stderr: IO[bytes] | int | None = subprocess.PIPE,
    ) -> Child:
        """Start and leave running; the caller ends it."""
        return Child([III, *self.options, *words], stdin=stdin, stdout=stdout, stderr=stderr, env=self.env)

    def shell(self, script: str, limit: float | None = None) -> subprocess.CompletedProcess[bytes]:
        """Run a bash script in which `iii` is ours. pipefail is on; ${PIPESTATUS[@]} is there."""
        path = f"{Path(III).parent}{os.pathsep}{self.env['PATH']}"
        return subprocess.run(
            ["bash", "-c", "set -o pipefail\n" + script],
            capture_output=True,
            timeout=limit or self.limit,
            env=self.env | {"PATH": path},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
        )

    def channel(self, *options: str) -> tuple[str, str]:
        """A new channel's writer and reader token."""
        writer, reader = self.ok("channel", "create", *options).splitlines()
        return writer.split("\t")[1], reader.split("\t")[1]


@contextmanager
def running_engine(*options: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """`iii engine run` on a free port: its URL and process. Stopped, and seen to stop, at the end."""
    process = subprocess.Popen(
        [III, "engine", "run", "--port", "0", "--print-url", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().decode().strip()
        assert url.startswith(("ws://", "wss://"))
        yield url, process
    finally:
        process.stdout.close()
        process.terminate()
        try:
            process.wait(10)
        finally:
            process.kill()
            process.wait()

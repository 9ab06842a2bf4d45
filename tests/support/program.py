"""The installed `iii` as a process, and an engine for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tests.support.calls import create_channel, wait_for_functions
from tests.support.refs import token_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

__all__ = ("III", "LIMIT", "Child", "Program", "refused", "running_engine", "wait_until")

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

    @property
    def url(self) -> str:
        """Of the engine."""
        return self.env["III_URL"]

    def channel(self) -> tuple[str, str]:
        """A new channel's writer and reader token. `channel create` is tried elsewhere."""
        writer, reader = create_channel(self.url, token=self.env.get("III_TOKEN"))
        return token_of(writer), token_of(reader)

    def refs(self, *names: str) -> None:
        """New channels, whose ends commands find as `env:NAME_w` and `env:NAME_r`."""
        for name in names:
            self.env[f"{name}_w"], self.env[f"{name}_r"] = self.channel()

    def wait_for(self, *functions: str) -> None:
        """Until the engine has them. `functions wait` is tried elsewhere."""
        wait_for_functions(self.url, *functions)

    @contextmanager
    def serving(self, name: str, *words: str) -> Iterator[Child]:
        """`iii serve NAME`, from when the engine knows it; it is told to end when the block does."""
        with Child(
            [III, *self.options, "serve", name, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self.env,
            cwd=self.home,
        ) as process:
            try:
                self.wait_for(name)
                yield process
            finally:
                process.terminate()


def refused(done: subprocess.CompletedProcess[bytes], status: int, *words: str) -> None:
    """The exit code, nothing on stdout, one line on stderr, and the words in it."""
    text = done.stderr.decode()
    assert (done.returncode, done.stdout) == (status, b""), text
    assert text.count("\n") == 1, text
    assert text.startswith("iii: ")
    assert all(word in text for word in words), text


def wait_until(path: Path) -> None:
    """Until a command has made the file."""
    deadline = time.monotonic() + LIMIT
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path.name}"
        time.sleep(0.005)


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

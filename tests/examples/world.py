"""The machine on which the examples of the help and the README are run, word by word.

An engine, a worker, a home with some files, and stand-ins for the programs that not every machine has.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.program import III, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = (
    "LIMIT",
    "World",
    "a_home",
    "an_engine_with_a_worker",
    "around",
    "skip_without_what_it_needs",
)

LIMIT = 40.0  # seconds for one example: most take one or two, where nothing else runs
STOP_SECONDS = 5.0
ROOT = Path(__file__).parents[2]
GREETER = """import anyio
from iii_cli import connect

async def main():
    async with connect() as worker:
        @worker.function("hello")
        async def hello(payload):
            return "hello"
        await worker.serve()

anyio.run(main)
"""
# Stand-ins: what a person has and a bare machine has not.
PROGRAMS = {
    "pg_dump": "seq -f 'INSERT INTO numbers VALUES (%.0f);' 20000",
    "psql": "cat > restored.sql",
    "pbpaste": "cat clipboard",
    "ssh": 'shift; exec "$@"',  # the other host is this one
    "pytest": "exec iii functions ls --json",
    "python": f'exec {sys.executable} "$@"',
}
FILES = {
    "links.csv": "url,title\n" + "".join(f"https://example.org/{n},page {n}\n" for n in range(1000)),
    "jobs.jsonl": "".join(f'{{"id": {n}}}\n' for n in range(20)),
    "payload.json": '{"id": 7, "password": "only on stdin"}\n',
    "run-tests.sh": "#!/bin/sh\nexec iii functions ls --json\n",
    "worker.py": GREETER,
    "app.log": "one\ntwo\n",
}
EXECUTABLE = ("run-tests.sh",)
# What an example names and a test has elsewhere.
ELSEWHERE = {"/run/secrets/": "secrets/"}


class World:
    """A home in which shell scripts run, each to its end and with nothing left behind."""

    def __init__(self, home: Path, url: str | None) -> None:
        self.home = home
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "VIRTUAL_ENV"):
            self.env.pop(name, None)
        path = os.pathsep.join([str(home / "bin"), str(Path(III).parent), self.env["PATH"]])
        self.env |= {"HOME": str(home), "PATH": path, "LC_ALL": "C.UTF-8", "TERM": "dumb", "PYTHONPATH": ""}
        if url is not None:
            self.env["III_URL"] = url

    def run(
        self, script: str, *, limit: float = LIMIT, env: Mapping[str, str] | None = None
    ) -> tuple[int | None, str]:
        """Run a bash script that stops at the first failure. Its exit status, None past the limit; what it
        said.

        What it left running in the background is ended.
        """
        for name, other in ELSEWHERE.items():
            script = script.replace(name, other)
        said = self.home / ".said"
        with said.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.home,
                env=self.env | dict(env or {}),
                start_new_session=True,
            )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end_session(process)
        return code, said.read_text(errors="replace")


def _end_session(process: subprocess.Popen[bytes]) -> None:
    """End what runs in the session of `process`: politely, then by force."""
    for signum in (signal.SIGTERM, signal.SIGKILL):
        for pid in _members(process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signum)
        deadline = time.monotonic() + STOP_SECONDS
        while _members(process.pid) and time.monotonic() < deadline:
            process.poll()
            time.sleep(0.01)
    process.wait()


def _members(session: int) -> list[int]:
    """The processes of a session. Zombies do not count: not every container buries them."""
    listed = subprocess.run(["ps", "-eo", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    found = []
    for line in listed.splitlines():
        pid, state = line.split()
        with suppress(OSError):
            if not state.startswith("Z") and os.getsid(int(pid)) == session:
                found.append(int(pid))
    return found


def a_home(folder: Path) -> Path:
    """A home with the files and the programs that the examples name."""
    for name in ("bin", "secrets", ".config/fish/completions"):
        (folder / name).mkdir(parents=True)
    for name, command in PROGRAMS.items():
        _write(folder / "bin" / name, f"#!/bin/sh\n{command}\n", executable=True)
    for name, text in FILES.items():
        _write(folder / name, text, executable=name in EXECUTABLE)
    (folder / "big.bin").write_bytes(bytes(range(256)) * 8192)
    return folder


def _write(path: Path, text: str, *, executable: bool) -> None:
    path.write_text(text)
    path.chmod(0o755 if executable else 0o644)


@contextmanager
def an_engine_with_a_worker() -> Iterator[str]:
    """The URL of an engine on which the functions of the examples are served."""
    with running_engine("--log", "off") as (url, _):
        worker = subprocess.Popen(
            [sys.executable, "-m", "tests.examples.worker", url], stdout=subprocess.PIPE, cwd=ROOT
        )
        try:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
            yield url
        finally:
            worker.kill()
            worker.communicate()


def around(name: str) -> dict[str, str]:
    """What `around_NAME.sh` puts around each example."""
    _, *parts = (Path(__file__).parent / f"around_{name}.sh").read_text().split("#== ")
    return {example: script for example, _, script in (part.partition("\n") for part in parts)}


def skip_without_what_it_needs(script: str) -> None:
    """Skip the test where jq is missing, or the engine's own port is somebody else's."""
    for program in ("jq", "openssl"):
        if re.search(rf"\b{program}\b", script) and shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    if re.search(r"engine run(?!.*--port)", script) and _taken(49134):
        pytest.skip("something else listens on the engine's own port")


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

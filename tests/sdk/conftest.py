"""Real SDK workers on `iii engine run`, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.stage import Stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

HERE = Path(__file__).parent
NODE_SDK = "iii-sdk@0.22.1"


@pytest.fixture
def anyio_backend() -> str:
    """The controller of these tests is asyncio's."""
    return "asyncio"


class EngineProcess:
    """`iii engine run` on a port that it comes back to."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start, and return once it listens."""
        command = [sys.executable, "-m", "iii_cli", "engine", "run", "--log", "off", "--print-url"]
        self._process = subprocess.Popen(
            [*command, "--port", str(self.port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline().startswith(b"ws://")
        self._process.stdout.close()

    def stop(self) -> int:
        """Stop it; its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(10)


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    """An engine for all tests of a file."""
    engine = EngineProcess()
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def node_sdk(request: pytest.FixtureRequest) -> Path:
    """A folder with the npm SDK, installed once and kept in pytest's cache."""
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        pytest.skip("needs node and npm")
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("node-sdk")
    if not (folder / "node_modules" / "iii-sdk").exists():
        done = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", NODE_SDK],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"npm cannot install {NODE_SDK}: {done.stderr.strip().splitlines()[-1:]}")
    return folder


def run_worker(*command: str, **environment: str) -> Iterator[None]:
    """A worker process, for as long as a fixture lasts."""
    process = subprocess.Popen(
        command,
        env=os.environ | {"OTEL_ENABLED": "false"} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def python(engine: EngineProcess) -> Iterator[None]:
    """The worker `python`, of the PyPI SDK."""
    yield from run_worker(sys.executable, str(HERE / "workers" / "worker.py"), engine.url, "python")


@pytest.fixture(scope="module")
def node(engine: EngineProcess, node_sdk: Path) -> Iterator[None]:
    """The worker `node`, of the npm SDK."""
    script = str(HERE / "workers" / "worker.mjs")
    yield from run_worker("node", script, engine.url, "node", SDK_FOLDER=str(node_sdk))


@pytest.fixture
async def stage(engine: EngineProcess) -> AsyncIterator[Stage]:
    """Who calls the workers: no SDK, and no code of ours."""
    stage = Stage(engine.url)
    yield stage
    await stage.close()

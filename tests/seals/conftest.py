"""Workers with seals, one for each language: the same functions, of which each has a form without."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.program import Program, running_engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
WORKERS = Path(__file__).with_name("workers")
NODE_PACKAGES = ("iii-sdk@0.22.1", "hash-wasm@4.13.0", "ws@8")
FUNCTIONS = ("count", "keep", "plain_count", "produce", "plain_produce", "upper")
LANGUAGES = [
    "python",
    pytest.param("node", marks=pytest.mark.ci),
    pytest.param("rust", marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
]


class Worker(str):
    """The prefix of a running worker's functions, its process and its engine's."""

    pid: int
    engine: int


@pytest.fixture(scope="session")
def engine() -> Iterator[tuple[str, int]]:
    with running_engine() as (url, process):
        yield url, process.pid


@pytest.fixture(scope="session")
def url(engine: tuple[str, int]) -> str:
    return engine[0]


@pytest.fixture
def iii(url: str, tmp_path: Path) -> Program:
    program = Program(tmp_path, url)
    program.limit = 60
    return program


@pytest.fixture(scope="session", params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def start(language: str, request: pytest.FixtureRequest) -> Callable[[str, str], subprocess.Popen[bytes]]:
    """Starts a worker of this language: with an engine's URL and a prefix for its functions."""
    environment = os.environ | {"OTEL_ENABLED": "false", "PYTHONPATH": str(ROOT / "seals" / "python")}
    if language == "python":
        pytest.importorskip("iii", reason="the Python SDK is not installed")
        command = [sys.executable, str(WORKERS / "worker.py")]
    elif language == "node":
        command = ["node", str(request.getfixturevalue("node_folder") / "worker.mjs")]
    else:
        command = [str(request.getfixturevalue("rust_worker"))]

    def start(url: str, prefix: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*command, url, prefix],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if "III_SEAL_LOG" not in os.environ else None,
        )

    return start


@contextmanager
def running(
    start: Callable[[str, str], subprocess.Popen[bytes]], iii: Program, prefix: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker from when the engine knows its functions to the end of the block."""
    process = start(iii.url, prefix)
    try:
        iii.wait_for(*(f"{prefix}::{name}" for name in FUNCTIONS))
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def worker(
    language: str,
    engine: tuple[str, int],
    start: Callable[[str, str], subprocess.Popen[bytes]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Worker]:
    url, engine_pid = engine
    with running(start, Program(tmp_path_factory.mktemp("worker"), url), language) as process:
        worker = Worker(language)
        worker.pid, worker.engine = process.pid, engine_pid
        yield worker


@pytest.fixture(scope="session")
def node_folder(request: pytest.FixtureRequest) -> Path:
    """A folder with the SDK, the module and its worker; what npm brought is kept in pytest's cache."""
    npm = shutil.which("npm")
    if shutil.which("node") is None or npm is None:
        pytest.skip("needs node and npm")
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("node-seal")
    if not all((folder / "node_modules" / name.partition("@")[0]).exists() for name in NODE_PACKAGES):
        command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", *NODE_PACKAGES]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
        if done.returncode:
            pytest.skip(f"npm cannot install {NODE_PACKAGES}: {done.stderr.strip().splitlines()[-1:]}")
    target = folder / "node_modules" / "iii-seal"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT / "seals" / "node", target)
    for script in WORKERS.glob("*.mjs"):
        shutil.copy(script, folder)
    return folder


@pytest.fixture(scope="session")
def rust_worker(request: pytest.FixtureRequest) -> Path:
    """The binary, built in pytest's cache, or what III_RUST_SEAL_WORKER names."""
    if "III_RUST_SEAL_WORKER" in os.environ:
        return Path(os.environ["III_RUST_SEAL_WORKER"])
    cargo = shutil.which("cargo")
    if cargo is None:
        pytest.skip("needs cargo")
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("rust-seal")
    manifest = WORKERS / "rust" / "Cargo.toml"
    command = [cargo, "build", "--release", "--manifest-path", str(manifest), "--target-dir", str(folder)]
    subprocess.run(command, check=True)
    return folder / "release" / "worker"

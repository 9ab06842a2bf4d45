"""Streams between `iii` and an unmodified worker of the published Python SDK."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.sdk.python_worker import CHUNK
from tests.support.marks import in_ci
from tests.support.program import Child, Program, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("iii", reason="the Python SDK is not installed")
SIZE = 100 << 20


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_engine() as (url, _):
        command = [sys.executable, str(Path(__file__).with_name("python_worker.py")), url]
        with Child(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as worker:
            assert worker.stdout is not None
            assert worker.stdout.readline() == b"ready\n"
            yield url
            worker.kill()


@pytest.fixture
def iii(url: str, tmp_path: Path) -> Program:
    program = Program(tmp_path, url)
    program.wait_for("py::digest", "py::produce")
    return program


def expected(size: int) -> str:
    digest = hashlib.sha256()
    for _ in range(size // len(CHUNK)):
        digest.update(CHUNK)
    digest.update(CHUNK[: size % len(CHUNK)])
    return digest.hexdigest()


@pytest.mark.parametrize("size", [1_000_003, *in_ci(0, 1, SIZE)])
def test_a_python_worker_reads_what_write_sends(iii: Program, tmp_path: Path, size: int) -> None:
    source = tmp_path / "in.bin"
    source.write_bytes((CHUNK * (size // len(CHUNK) + 1))[:size])
    iii.refs("x")
    writing = iii.start("channel", "write", "env:x_w", str(source))
    answer = json.loads(iii.ok("trigger", "py::digest", "--ref", "reader=env:x_r"))
    assert answer == {"bytes": size, "sha256": expected(size)}
    _, err = writing.communicate(timeout=20)
    assert (writing.returncode, err) == (0, b"")


@pytest.mark.parametrize("size", [1_000_003, *in_ci(1, SIZE)])
def test_what_a_python_worker_writes_is_read_and_said_to_be_unverified(
    iii: Program, tmp_path: Path, size: int
) -> None:
    iii.refs("x")
    reading = iii.start("channel", "read", "env:x_r", "-o", str(tmp_path / "out.bin"))
    iii.ok("trigger", "py::produce", f"size={size}", "--ref", "writer=env:x_w")
    _, err = reading.communicate(timeout=20)
    assert (reading.returncode, err.count(b"\n"), b"could not be verified" in err) == (0, 1, True)
    assert hashlib.sha256((tmp_path / "out.bin").read_bytes()).hexdigest() == expected(size)


def test_require_seal_refuses_a_foreign_writer(iii: Program, tmp_path: Path) -> None:
    iii.refs("x")
    reading = iii.start("channel", "read", "env:x_r", "--require-seal", "-o", str(tmp_path / "out.bin"))
    iii.ok("trigger", "py::produce", "size=10", "--ref", "writer=env:x_w")
    reading.communicate(timeout=20)
    assert reading.returncode == 7
    assert not (tmp_path / "out.bin").exists()

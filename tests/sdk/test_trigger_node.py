"""`iii trigger` with streams, against an unmodified worker of the npm SDK."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.sdk.conftest import HERE, run_worker
from tests.support.program import III, Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sdk.conftest import EngineProcess

pytestmark = [pytest.mark.ci, pytest.mark.timeout(300)]

MIB = 1 << 20
BLOCK = os.urandom(MIB)


@pytest.fixture(scope="module")
def node_worker(engine: EngineProcess, node_sdk: Path) -> Iterator[None]:
    script = str(HERE / "workers" / "trigger_worker.mjs")
    yield from run_worker("node", script, engine.url, SDK_FOLDER=str(node_sdk))


@pytest.fixture
def iii(engine: EngineProcess, node_worker: None, tmp_path: Path) -> Program:
    program = Program(tmp_path, engine.url)
    program.ok("functions", "wait", "bulk-importer::import_csv", "node::write_first")
    return program


def write_blocks(path: Path, mebibytes: int) -> str:
    """A file of so many random blocks; its sha256."""
    seen = hashlib.sha256()
    with path.open("wb") as file:
        for number in range(mebibytes):
            block = number.to_bytes(8, "big") + BLOCK[8:]
            file.write(block)
            seen.update(block)
    return seen.hexdigest()


def run_measured(iii: Program, *words: str) -> tuple[subprocess.CompletedProcess[bytes], int]:
    """Run it; its peak memory in KiB. Only where no larger child ran before."""
    script = (
        "import resource, subprocess, sys\n"
        "status = subprocess.run(sys.argv[1:]).returncode\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n"
        "sys.exit(status)\n"
    )
    done = subprocess.run(
        ["python3", "-c", script, III, *words],
        capture_output=True,
        env=iii.env,
        stdin=subprocess.DEVNULL,
        timeout=280,
    )
    return done, int(done.stderr.splitlines()[-1])


def test_the_tutorial_s_importer_in_one_line(iii: Program, tmp_path: Path) -> None:
    (tmp_path / "links.csv").write_text(
        "url,title\n" + "".join(f"https://x/{n},n{n}\n" for n in range(50_000))
    )
    done = iii.run("trigger", "bulk-importer::import_csv", "--in", f"reader={tmp_path}/links.csv")
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout) == {"imported": 50_000}


def test_tokens_appear_as_they_come(iii: Program) -> None:
    """Each within 50 ms of its sending, 200 ms apart. Both clocks are this machine's."""
    words = ("trigger", "llm::chat", "tokens=15", "every=200", "--out", "stream=-", "--text")
    late = []
    with iii.start(*words, stderr=subprocess.DEVNULL) as running:
        assert running.stdout is not None
        while data := os.read(running.stdout.fileno(), 4096):
            now = time.time() * 1000
            late += [now - int(token) for token in data.split()]
    assert (running.returncode, len(late)) == (0, 15)
    print("tokens late by, ms:", *sorted(round(ms, 1) for ms in late))
    assert max(late) < 50, late


@pytest.mark.parametrize("mebibytes", [60, pytest.param(500, marks=pytest.mark.soak)])
def test_an_image_like_worker_both_ways_in_flat_memory(iii: Program, tmp_path: Path, mebibytes: int) -> None:
    big, small = tmp_path / "big.bin", tmp_path / "small.bin"
    write_blocks(big, mebibytes)
    done, peak = run_measured(
        iii, "trigger", "img::shrink", "--in", f"input={big}", "--out", f"output={small}"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"bytes": mebibytes * MIB}
    assert done.stderr.count(b'"type":"progress"') == mebibytes // 50
    expected, found = hashlib.sha256(), hashlib.sha256()
    with big.open("rb") as one, small.open("rb") as other:
        while block := one.read(MIB):
            expected.update(block[::2])
        while block := other.read(MIB):
            found.update(block)
    assert found.digest() == expected.digest()
    print(f"peak memory: {peak} KiB")
    assert peak < 64 << 10


@pytest.mark.parametrize("function", ["node::echo", "write_first"])
@pytest.mark.parametrize("options", [(), ("--buffer", "1")], ids=["", "buffer 1"])
@pytest.mark.parametrize("mebibytes", [40, pytest.param(1024, marks=pytest.mark.soak)])
def test_full_duplex_without_a_deadlock(
    iii: Program, tmp_path: Path, function: str, options: tuple[str, ...], mebibytes: int
) -> None:
    big = tmp_path / "big"
    digest = write_blocks(big, mebibytes)
    words = " ".join(options)
    if function == "node::echo":
        done = iii.shell(f"cat big | iii trigger node::echo --in - --out - {words} | sha256sum", limit=280)
        assert (done.returncode, done.stdout.split()[0].decode()) == (0, digest), done.stderr
        return
    size = mebibytes * MIB
    done = iii.shell(
        f"cat big | iii trigger node::write_first size={size} --in - --out - {words} | wc -c", limit=280
    )
    assert (done.returncode, int(done.stdout)) == (0, size), done.stderr
    assert digest in done.stderr.decode()

"""Unmodified SDK workers call a served filter with channels of their own."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.sdk.conftest import HERE, run_worker
from tests.support.calls import call
from tests.support.program import Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sdk.conftest import EngineProcess

pytestmark = [pytest.mark.ci, pytest.mark.timeout(120)]

SIZE = 3_000_000
UPPER = hashlib.sha256((b"ABCDEFGH" * (SIZE // 8 + 1))[:SIZE]).hexdigest()


@pytest.fixture(scope="module")
def callers(engine: EngineProcess, node_sdk: Path) -> Iterator[None]:
    """A Python and a Node worker."""
    script = str(HERE / "workers" / "filter_caller.mjs")
    for _ in run_worker(sys.executable, str(HERE / "workers" / "filter_caller.py"), engine.url):
        yield from run_worker("node", script, engine.url, SDK_FOLDER=str(node_sdk))


@pytest.fixture
def iii(engine: EngineProcess, callers: None, tmp_path: Path) -> Iterator[Program]:
    """Our program, beside a filter that it serves."""
    program = Program(tmp_path, engine.url)
    process = program.start(
        "serve", "text::upper", "--", "tr", "a-z", "A-Z", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    program.ok("functions", "wait", "text::upper", "pycaller::digest", "nodecaller::chain")
    yield program
    process.terminate()
    assert process.wait(20) == 0


@pytest.mark.parametrize("name", ["pycaller::through", "nodecaller::through", "nodecaller::chain"])
def test_a_filter_between_sdk_workers(iii: Program, engine: EngineProcess, name: str) -> None:
    data: dict[str, Any] = {"function": "text::upper", "size": SIZE}
    answer = call(engine.url, name, data, timeout=60)
    assert answer["sha256"] == UPPER
    assert answer["bytes"] == SIZE
    result = answer["result"]
    assert (result["exit_code"], result["stdin_bytes"], result["stdout_bytes"]) == (0, SIZE, SIZE)

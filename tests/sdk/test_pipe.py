"""`iii pipe` through unmodified workers of the Python and Node SDKs: first, in the middle and last."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.sdk.conftest import HERE, run_worker
from tests.support.program import Program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sdk.conftest import EngineProcess

pytestmark = [pytest.mark.ci, pytest.mark.timeout(300)]

LANGUAGES = ("py", "node")
DATA = b"0123456789abcde\n" * 200_000


@pytest.fixture(scope="module")
def py(engine: EngineProcess) -> Iterator[None]:
    """Functions `py::…`, with schemas and without."""
    yield from run_worker(sys.executable, str(HERE / "workers" / "pipe_worker.py"), engine.url)


@pytest.fixture(scope="module")
def node(engine: EngineProcess, node_sdk: Path) -> Iterator[None]:
    """Functions `node::…`, with schemas and without."""
    script = str(HERE / "workers" / "pipe_worker.mjs")
    yield from run_worker("node", script, engine.url, SDK_FOLDER=str(node_sdk))


@pytest.fixture(params=LANGUAGES)
def language(request: pytest.FixtureRequest) -> str:
    request.getfixturevalue(request.param)
    return str(request.param)


@pytest.fixture
def iii(engine: EngineProcess, language: str, tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path, engine.url)
    program.limit = 60
    program.ok("functions", "wait", f"{language}::count")
    with program.serving("p::upper", "--", "tr", "a-z", "A-Z"):
        yield program


@pytest.mark.parametrize("keys", ["", " source=< sink=>"], ids=["by schema", "by mark"])
def test_a_filter_first_in_the_middle_and_last(iii: Program, language: str, keys: str) -> None:
    stage = f"{language}::{'copy' if keys else 'typed'}{keys}"
    for stages in ([stage, "p::upper"], ["p::upper", stage, "p::upper"], ["p::upper", stage]):
        done = iii.run("pipe", *stages, stdin=DATA)
        assert (done.returncode, done.stdout == DATA.upper()) == (0, True), done.stderr
        assert done.stderr.count(b"output: the writer sent no seal") == (stages[-1] == stage)


@pytest.mark.parametrize("word", ["make_typed size=3000000", "make size=3000000 to=>"])
def test_a_source(iii: Program, language: str, word: str) -> None:
    done = iii.run("pipe", f"{language}::{word}", "p::upper")
    assert (done.returncode, len(done.stdout)) == (0, 3_000_000), done.stderr


@pytest.mark.parametrize("word", ["count_typed", "count from=<"])
def test_a_sink(iii: Program, language: str, word: str, tmp_path: Path) -> None:
    done = iii.run("pipe", "p::upper", f"{language}::{word}", "--results", f"{tmp_path}/r", stdin=DATA)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert json.loads((tmp_path / "r").read_text().splitlines()[1])["result"] == {"bytes": len(DATA)}


def test_a_cut_that_the_sdk_takes_for_the_end(iii: Program, language: str, tmp_path: Path) -> None:
    """What it wrote is whole for whoever reads it; only the call of the stage before it tells."""
    words = ("pipe", "p::dies", f"{language}::copy source=< sink=>", "p::upper")
    with iii.serving("p::dies", "--", "sh", "-c", "head -c 100000; sleep 60") as dying:
        with iii.start(*words, "-o", f"{tmp_path}/out", "--in", "/dev/zero") as pipe:
            with pytest.raises(subprocess.TimeoutExpired):
                pipe.wait(2)
            dying.kill()
            _, said = pipe.communicate(timeout=20)
    assert pipe.returncode == 9
    assert b"stage 1, p::dies: invocation_stopped" in said
    assert not (tmp_path / "out").exists()

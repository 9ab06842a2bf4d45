"""The README's library examples are these files, and they run, on both loops."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from iii_cli import connect
from tests.examples import call_with_streams, lines_of_a_stream, serve_streams
from tests.support.program import running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent
README = FOLDER.parent.parent / "README.md"


@pytest.fixture(scope="module")
def engine_url() -> Iterator[str]:
    with running_engine("--log", "off") as (url, _):
        yield url


@pytest.fixture
def engine(engine_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An engine that the environment names."""
    for name in ("III_TOKEN", "III_NAMESPACE", "III_CONTEXT", "III_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("III_URL", engine_url)


async def test_streams(engine: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "hello\n" * 20_000
    (tmp_path / "in.txt").write_text(text)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve_streams.main)
            await _registered("files::process")
            await call_with_streams.main(str(tmp_path / "in.txt"))
            tasks.cancel_scope.cancel()
    shown = capsys.readouterr()
    assert shown.out == text.upper()
    assert shown.err == "{'bytes': 120000}\n"


async def test_lines(engine: None, capsys: pytest.CaptureFixture[str]) -> None:
    with anyio.fail_after(10):
        await lines_of_a_stream.main()
    assert capsys.readouterr().out == "größer\naborted by the writer: out of paper True\n"


async def _registered(function_id: str) -> None:
    async with connect(name="asks") as worker:
        while all(row["function_id"] != function_id for row in await worker.functions()):
            await anyio.sleep(0.005)


def test_the_readme_shows_these_files() -> None:
    shown = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    files = {path.read_text() for path in FOLDER.glob("*.py")}
    assert [block for block in shown if block not in files] == []

"""The README's library examples are these files, and they run, on both loops."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from iii_cli.engine.server import serve_engine
from tests.examples import call_with_streams, lines_of_a_stream, serve_streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FOLDER = Path(__file__).parent
README = FOLDER.parent.parent / "README.md"


@pytest.fixture
async def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[None]:
    """An engine that the environment names."""
    for name in ("III_TOKEN", "III_NAMESPACE", "III_CONTEXT", "III_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(lambda task_status: serve_engine("127.0.0.1", 0, task_status=task_status))
        monkeypatch.setenv("III_URL", url)
        yield
        tasks.cancel_scope.cancel()


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
    from iii_cli import connect

    async with connect(name="asks") as worker:
        while all(row["function_id"] != function_id for row in await worker.functions()):
            await anyio.sleep(0.005)


def test_the_readme_shows_these_files() -> None:
    shown = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    files = {path.read_text() for path in FOLDER.glob("*.py")}
    assert [block for block in shown if block not in files] == []

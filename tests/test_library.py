"""The library's front door."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import iii_cli
from tests.support.scripted_engine import ScriptedEngine, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("III_URL", "III_TOKEN", "III_NAMESPACE", "III_CONTEXT", "III_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def test_every_name_is_there() -> None:
    for name in iii_cli.__all__:
        assert getattr(iii_cli, name) is not None
        assert name in dir(iii_cli)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = iii_cli.nothing


def test_the_command_line_does_not_pay_for_it() -> None:
    code = "import sys, iii_cli; assert not {'anyio', 'iii_cli.api', 'logging'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    for engine in running_engine():
        engine.functions["engine::workers::register"] = lambda data: {"success": True}
        yield engine


async def test_what_is_given_goes_to_the_engine(engine: ScriptedEngine) -> None:
    async with iii_cli.connect(
        engine.url, namespace="orders", name="images", token="t0k3n", headers={"X-Zone": "b"}
    ) as worker:
        assert "images" in repr(worker)
    assert engine.headers[0]["authorization"] == "Bearer t0k3n"
    assert engine.headers[0]["x-zone"] == "b"
    announcement = engine.calls[0]["data"]
    assert (announcement["namespace"], announcement["name"]) == ("orders", "images")


async def test_settings_come_from_the_environment(
    engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("III_URL", engine.url)
    monkeypatch.setenv("III_TOKEN", "from-env")
    async with iii_cli.connect():
        pass
    assert engine.headers[0]["authorization"] == "Bearer from-env"
    assert not engine.calls[0]["data"]["name"].startswith("iii-cli:")


@pytest.mark.parametrize(
    "options", [{"token": "two words"}, {"headers": {"@file": "x"}}, {"url": "http://x"}]
)
async def test_what_cannot_be_meant(options: dict[str, object]) -> None:
    with pytest.raises(iii_cli.Failure) as failed:
        async with iii_cli.connect(**options):  # type: ignore[arg-type]
            pass
    assert failed.value.status == 2  # what was typed

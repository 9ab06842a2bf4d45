"""The library's front door."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

import iii_cli
from iii_cli.errors import UsageProblem
from tests.client.scripted import scripted_engine

if TYPE_CHECKING:
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
    code = "import sys, iii_cli; assert not {'anyio', 'iii_cli.library', 'logging'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_what_is_given_goes_to_the_engine() -> None:
    async with scripted_engine() as engine, anyio.create_task_group() as tasks:

        async def use() -> None:
            options = {"namespace": "orders", "name": "images", "token": "t0k3n", "headers": {"X-Zone": "b"}}
            async with iii_cli.connect(engine.endpoint.address.url, **options) as worker:  # type: ignore[arg-type]
                assert "images" in repr(worker)

        tasks.start_soon(use)
        link = await engine.link()
        announcement = await link.welcome()
        await link.pong()
    assert link.headers["authorization"] == "Bearer t0k3n"
    assert link.headers["x-zone"] == "b"
    assert announcement["data"]["namespace"] == "orders"
    assert announcement["data"]["name"] == "images"


async def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted_engine() as engine, anyio.create_task_group() as tasks:
        monkeypatch.setenv("III_URL", engine.endpoint.address.url)
        monkeypatch.setenv("III_TOKEN", "from-env")

        async def use() -> None:
            async with iii_cli.connect():
                pass

        tasks.start_soon(use)
        link = await engine.link()
        announcement = await link.welcome()
        await link.pong()
    assert link.headers["authorization"] == "Bearer from-env"
    assert not announcement["data"]["name"].startswith("iii-cli:")


@pytest.mark.parametrize(
    "options", [{"token": "two words"}, {"headers": {"@file": "x"}}, {"url": "http://x"}]
)
async def test_what_cannot_be_meant(options: dict[str, object]) -> None:
    with pytest.raises(UsageProblem):
        async with iii_cli.connect(**options):  # type: ignore[arg-type]
            pass

"""Measuring the embedded engine: what is counted, where it ends, and that nothing is left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from iii_cli.client.benchmark import ChannelBench, RttBench, TriggerBench, spread_of
from iii_cli.client.connection import open_connection
from iii_cli.engine.server import EngineServer
from iii_cli.protocol.refs import Endpoint, EngineAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(
            lambda task_status: EngineServer().serve("127.0.0.1", 0, task_status=task_status)
        )
        yield Endpoint(EngineAddress.parse(url))
        tasks.cancel_scope.cancel()


async def left_on(endpoint: Endpoint) -> tuple[int, int]:
    """Open channels, and functions that are not the engine's own, once the engine has seen us leave."""
    left = (1, 1)
    async with open_connection(endpoint) as caller:
        with anyio.move_on_after(5):
            while any(left):
                health = await caller.call("engine::health::check", {})
                functions = await caller.call("engine::functions::list", {})
                channels: int = health["components"]["embedded"]["details"]["open_channels"]
                left = (channels, len(functions["functions"]))
    return left


def channel_bench(endpoint: Endpoint, **changes: Any) -> ChannelBench:
    options = {"clients": 1, "seconds": 5.0, "size": 100_001, "message_bytes": 1000, "lines": False}
    return ChannelBench(endpoint=endpoint, **options | changes)


def trigger_bench(endpoint: Endpoint, **changes: Any) -> TriggerBench:
    options = {"function_id": None, "data": {"a": 1}, "namespace": None, "in_flight": 3, "seconds": 5.0}
    return TriggerBench(endpoint=endpoint, **options | {"calls": 50, "timeout": 5.0} | changes)


def rtt_bench(endpoint: Endpoint, count: int) -> RttBench:
    return RttBench(endpoint=endpoint, namespace=None, seconds=30.0, count=count, message_bytes=64)


async def test_time_ends_it_and_all_that_was_written_is_verified(endpoint: Endpoint) -> None:
    bench = channel_bench(endpoint, size=None, seconds=0.05)
    with anyio.fail_after(10):
        await bench.run()
    assert bench.bytes > 0
    assert bench.verified == 1
    assert bench.took >= 0.05


@pytest.mark.parametrize("kind", ["channel", "trigger", "rtt"])
async def test_cancelled_at_any_moment_it_leaves_nothing(endpoint: Endpoint, kind: str) -> None:
    for moment in (0.0, 0.005, 0.02, 0.06):
        bench: Any = {
            "channel": channel_bench(endpoint, clients=3, size=None),
            "trigger": trigger_bench(endpoint, calls=10**6),
            "rtt": rtt_bench(endpoint, 10**6),
        }[kind]
        with anyio.fail_after(10), anyio.move_on_after(moment):
            await bench.run()
    assert await left_on(endpoint) == (0, 0)


def test_the_figures_are_in_milliseconds() -> None:
    figures = {"mean": 50.5, "p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
    assert spread_of(n / 1000 for n in range(100, 0, -1)) == {"count": 100} | figures
    assert spread_of([]) is None
    assert spread_of([0.5]) == dict.fromkeys(("mean", "p50", "p90", "p99", "max"), 500.0) | {"count": 1}

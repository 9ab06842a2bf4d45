"""Measuring the embedded engine: what is counted, where it ends, and that nothing is left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from msgspec.structs import replace

from iii_cli.client.benchmark import (
    WAYS,
    ChannelBench,
    ChannelPlan,
    RttBench,
    RttPlan,
    TriggerBench,
    TriggerPlan,
)
from iii_cli.client.connection import open_caller
from iii_cli.engine.server import serve_engine
from iii_cli.errors import EngineUnreachable, FunctionNotFound, sole_cause
from iii_cli.protocol.refs import Endpoint, EngineAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(lambda task_status: serve_engine("127.0.0.1", 0, task_status=task_status))
        yield Endpoint(EngineAddress.parse(url))
        tasks.cancel_scope.cancel()


async def left_on(endpoint: Endpoint) -> tuple[int, int]:
    """Open channels, and functions that are not the engine's own, once the engine has seen us leave."""
    left = (1, 1)
    async with open_caller(endpoint) as caller:
        with anyio.move_on_after(5):
            while any(left):
                health = await caller.call("engine::health::check", {})
                functions = await caller.call("engine::functions::list", {})
                channels: int = health["components"]["embedded"]["details"]["open_channels"]
                left = (channels, len(functions["functions"]))
    return left


def channel_plan(endpoint: Endpoint, **changes: Any) -> ChannelPlan:
    plan = ChannelPlan(endpoint, clients=1, seconds=5.0, size=100_001, message_bytes=1000, lines=False)
    return replace(plan, **changes)


def trigger_plan(endpoint: Endpoint, **changes: Any) -> TriggerPlan:
    plan = TriggerPlan(endpoint, None, {"a": 1}, None, in_flight=3, seconds=5.0, calls=50, timeout=5.0)
    return replace(plan, **changes)


@pytest.mark.parametrize("clients", [1, 3])
async def test_a_channel_carries_exactly_the_size(endpoint: Endpoint, clients: int) -> None:
    bench = ChannelBench(channel_plan(endpoint, clients=clients))
    with anyio.fail_after(10):
        await bench.run()
    assert (bench.bytes, bench.verified) == (100_001, clients)
    assert 100 <= bench.messages <= 100 + clients
    assert 0 < bench.seconds < 5
    assert await left_on(endpoint) == (0, 0)


async def test_lines_are_counted_one_by_one(endpoint: Endpoint) -> None:
    bench = ChannelBench(channel_plan(endpoint, lines=True, message_bytes=10, size=1000))
    with anyio.fail_after(10):
        await bench.run()
    assert (bench.messages, bench.bytes, bench.verified) == (100, 1000, 1)


async def test_time_ends_it_and_all_that_was_written_is_verified(endpoint: Endpoint) -> None:
    bench = ChannelBench(channel_plan(endpoint, size=None, seconds=0.05))
    with anyio.fail_after(10):
        await bench.run()
    assert bench.bytes > 0
    assert bench.verified == 1
    assert bench.seconds >= 0.05


async def test_a_function_of_our_own_is_called_and_gone(endpoint: Endpoint) -> None:
    bench = TriggerBench(trigger_plan(endpoint))
    with anyio.fail_after(10):
        await bench.run()
    assert (bench.answered, bench.failed) == (50, 0)
    assert bench.latency is not None
    assert bench.latency.count == 50
    assert 0 < bench.latency.p50 <= bench.latency.max < 5
    assert await left_on(endpoint) == (0, 0)


async def test_a_function_that_is_not_there_is_called_once(endpoint: Endpoint) -> None:
    bench = TriggerBench(trigger_plan(endpoint, function_id="no::such"))
    with anyio.fail_after(10), pytest.raises(BaseExceptionGroup) as caught:
        await bench.run()
    assert isinstance(sole_cause(caught.value), FunctionNotFound)
    assert (bench.answered, bench.latency) == (0, None)


async def test_every_way_there_and_back_is_timed(endpoint: Endpoint) -> None:
    bench = RttBench(RttPlan(endpoint, None, seconds=30.0, count=10, message_bytes=64))
    with anyio.fail_after(10):
        await bench.run()
    for way in WAYS:
        spread = bench.latency(way)
        assert spread is not None
        assert spread.count == 10
    assert await left_on(endpoint) == (0, 0)


@pytest.mark.parametrize("kind", ["channel", "trigger", "rtt"])
async def test_cancelled_at_any_moment_it_leaves_nothing(endpoint: Endpoint, kind: str) -> None:
    for moment in (0.0, 0.005, 0.02, 0.06):
        bench: Any = {
            "channel": ChannelBench(channel_plan(endpoint, clients=3, size=None)),
            "trigger": TriggerBench(trigger_plan(endpoint, calls=10**6)),
            "rtt": RttBench(RttPlan(endpoint, None, seconds=5.0, count=10**6, message_bytes=64)),
        }[kind]
        with anyio.fail_after(10), anyio.move_on_after(moment):
            await bench.run()
    assert await left_on(endpoint) == (0, 0)


async def test_no_engine_is_said_at_once() -> None:
    nobody = Endpoint(EngineAddress.parse("ws://127.0.0.1:9"))
    with pytest.raises(EngineUnreachable):
        await ChannelBench(channel_plan(nobody)).run()

"""How long a small message is on its way there and back: to the engine, through a call, through channels."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, final

import anyio

from iii_cli.client.bench_trigger import echo_served
from iii_cli.client.caller import open_caller
from iii_cli.client.pair import open_pair, read_to_the_end
from iii_cli.client.percentiles import Spread, spread_of
from iii_cli.errors import TimedOut
from iii_cli.wire.frames import Opcode
from iii_cli.wire.seal import Mode
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iii_cli.client.caller import Caller
    from iii_cli.client.pair import Pair
    from iii_cli.client.reader import ChannelReader
    from iii_cli.wire.address import Endpoint

__all__ = ("WAYS", "RttBench", "RttPlan")

WAYS = ("engine", "call", "channels")
WARM_UP = 5  # round trips that are not counted: the first ones pay for what is loaded and allocated then
PATIENCE = 10.0  # seconds that one round trip may take
BUFFER = 16


class RttPlan(Value):
    """`seconds` is the time for all the ways, `count` the round trips on each."""

    endpoint: Endpoint
    version: str
    namespace: str | None
    seconds: float
    count: int
    message_bytes: int


@final
class RttBench:
    """One run of a plan. Its figures can be read at any time, after a cancelled `run` too."""

    def __init__(self, plan: RttPlan) -> None:
        self.plan = plan
        self._times = {way: array("d") for way in WAYS}
        self._message = b"x" * plan.message_bytes

    def latency(self, way: str) -> Spread | None:
        """Of the round trips on one of WAYS, in seconds; None before."""
        return spread_of(self._times[way])

    async def run(self) -> None:
        """One way after the other, one message at a time.

        Raises EngineUnreachable, NotAuthorised, what became of a stream or a call, and TimedOut for a message
        that does not come back.
        """
        async with open_caller(self.plan.endpoint) as caller:
            await self._measure("engine", caller.ping)
            await self._through_a_call(caller)
            await self._through_channels(caller)

    async def _through_a_call(self, caller: Caller) -> None:
        plan = self.plan
        data = {"message": self._message.decode()}
        async with echo_served(plan.endpoint, plan.version, plan.namespace) as function_id:

            async def there_and_back() -> None:
                await caller.call(function_id, data, namespace=plan.namespace)

            await self._measure("call", there_and_back)

    async def _through_channels(self, caller: Caller) -> None:
        endpoint = self.plan.endpoint
        async with (
            open_pair(caller, endpoint, Mode.LINES, BUFFER) as there,
            open_pair(caller, endpoint, Mode.LINES, BUFFER) as back,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(_echo, there.reader, back)

            async def there_and_back() -> None:
                await there.writer.push_message(self._message)
                await _next_message(back.reader)

            await self._measure("channels", there_and_back)
            await there.writer.finish()
            await read_to_the_end(back.reader)

    async def _measure(self, way: str, there_and_back: Callable[[], Awaitable[object]]) -> None:
        times, plan = self._times[way], self.plan
        for _ in range(WARM_UP):
            await _once(way, there_and_back)
        end = anyio.current_time() + plan.seconds / len(WAYS)
        while len(times) < plan.count and (sent := anyio.current_time()) < end:
            await _once(way, there_and_back)
            times.append(anyio.current_time() - sent)


async def _once(way: str, there_and_back: Callable[[], Awaitable[object]]) -> None:
    with anyio.move_on_after(PATIENCE):
        await there_and_back()
        return
    raise TimedOut(f"a message did not come back within {PATIENCE:g} s ({way})")


async def _echo(source: ChannelReader, back: Pair) -> None:
    """The far side: send back what comes, and end when it ends."""
    while events := await source.pull():
        for opcode, payload, _ in events:
            if opcode == Opcode.TEXT:
                await back.writer.push_message(payload)
    failure = await source.failure()
    if failure is not None:
        raise failure
    await back.writer.finish()


async def _next_message(reader: ChannelReader) -> None:
    if not await reader.pull():
        failure = await reader.failure()
        assert failure is not None, "the echo ended before we did"
        raise failure

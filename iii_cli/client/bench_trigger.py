"""How many calls a second a function answers, and how long each takes."""

from __future__ import annotations

from array import array
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, final

import anyio

from iii_cli.client.caller import open_caller
from iii_cli.client.identity import new_uuid
from iii_cli.client.link import Identity, unique_name
from iii_cli.client.percentiles import Spread, spread_of
from iii_cli.client.worker import Worker, open_worker
from iii_cli.errors import Failure, FunctionFailed, TimedOut
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from iii_cli.client.caller import Caller
    from iii_cli.wire.address import Endpoint

__all__ = ("CALLS_MAX", "TriggerBench", "TriggerPlan", "echo_served")

CALLS_MAX = 1_000_000  # every time that was measured is kept, 8 bytes each


class TriggerPlan(Value):
    """`function_id` None: one that we serve ourselves, which answers at once. `timeout` is of each call."""

    endpoint: Endpoint
    version: str  # that our worker announces
    function_id: str | None
    data: Any
    namespace: str | None
    in_flight: int
    seconds: float
    calls: int
    timeout: float


@final
class TriggerBench:
    """One run of a plan. Its figures can be read at any time, after a cancelled `run` too."""

    def __init__(self, plan: TriggerPlan) -> None:
        self.plan = plan
        self.failed = 0
        self.first_failure: Failure | None = None
        self._begun = 0
        self._times = array("d")  # of the calls that were answered with a result
        self._took: float | None = None

    @property
    def answered(self) -> int:
        """Calls that brought a result."""
        return len(self._times)

    @property
    def seconds(self) -> float:
        """From the first call to the last answer; 0 before."""
        return self._took or 0.0

    @property
    def latency(self) -> Spread | None:
        """Of the calls that brought a result, in seconds; None without any."""
        return spread_of(self._times)

    async def run(self) -> None:
        """Call once to see that it works, then as often as the plan says. Calls that fail later are counted.

        Raises what the first call fails with, EngineUnreachable, NotAuthorised.
        """
        plan = self.plan
        if plan.function_id is not None:
            await self._call_it(plan.function_id)
            return
        async with echo_served(plan.endpoint, plan.version, plan.namespace) as function_id:
            await self._call_it(function_id)

    async def _call_it(self, function_id: str) -> None:
        async with open_caller(self.plan.endpoint) as caller:
            await self._call(caller, function_id)
            await self._measure(caller, function_id)

    async def _measure(self, caller: Caller, function_id: str) -> None:
        began = anyio.current_time()
        try:
            async with anyio.create_task_group() as tasks:
                for _ in range(self.plan.in_flight):
                    tasks.start_soon(self._lane, caller, function_id, began + self.plan.seconds)
        finally:
            self._took = anyio.current_time() - began

    async def _lane(self, caller: Caller, function_id: str, end: float) -> None:
        """One call after the other."""
        while self._begun < self.plan.calls and (sent := anyio.current_time()) < end:
            self._begun += 1
            try:
                await self._call(caller, function_id)
            except (FunctionFailed, TimedOut) as failure:
                self.failed += 1
                self.first_failure = self.first_failure or failure
            else:
                self._times.append(anyio.current_time() - sent)

    async def _call(self, caller: Caller, function_id: str) -> None:
        plan = self.plan
        await caller.call(function_id, plan.data, namespace=plan.namespace, timeout=plan.timeout)


@asynccontextmanager
async def echo_served(endpoint: Endpoint, version: str, namespace: str | None) -> AsyncIterator[str]:
    """A worker of our own with one function that answers what it is given: the function's id.

    Both are gone when this ends. Raises EngineUnreachable, NotAuthorised, NameTaken.
    """
    worker = Worker(endpoint, Identity(unique_name(), version, namespace), reconnect=False)
    function_id = f"iii-bench::echo-{new_uuid()[:8]}"

    @worker.function(function_id, description="Answers what it is given, for iii bench", live=False)
    async def echo(payload: Any) -> Any:
        return payload

    async with open_worker(worker):
        await worker.wait_registered()
        yield function_id

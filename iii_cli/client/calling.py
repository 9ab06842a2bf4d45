"""From nothing to a call whose streams are open, and back (issue 6, items 2 to 6)."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from iii_cli.client.caller import Caller
from iii_cli.client.streamed_call import run_streamed_call
from iii_cli.errors import TimedOut

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractAsyncContextManager

    from iii_cli.client.lanes import Lane
    from iii_cli.client.streamed_call import StreamedCall
    from iii_cli.wire.address import Endpoint

__all__ = ("CallPlan", "call_with_lanes")


class CallPlan(Protocol):
    """What is to be called, with which streams. All local things were checked before."""

    endpoint: Endpoint
    whole: float | None  # seconds for all of it; None: no limit

    async def lay(self, caller: Caller, lanes: list[Lane]) -> Any:
        """Make the channels and add their lanes, not yet open; the payload with the function's refs."""

    def order(self, caller: Caller, payload: Any, lanes: list[Lane]) -> StreamedCall:
        """The call, as it is to be run. It may add to `lanes` what must be closed in the end."""

    def watching(self, lanes: list[Lane]) -> AbstractAsyncContextManager[object]:
        """What goes on around the streams: the progress."""

    def release(self) -> None:
        """Undo what was opened locally and not used."""


async def call_with_lanes(plan: CallPlan) -> Any:
    """Connect, make the channels, take our ends, call, and move everything; the result.

    Raises as `run_streamed_call`, one Failure or a group that comes down to one.
    """
    deadline = math.inf if plan.whole is None else anyio.current_time() + plan.whole
    lanes: list[Lane] = []
    caller: Caller | None = None
    try:
        with _opening(plan, deadline):
            caller = await Caller.open(plan.endpoint)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(caller.attend)
            with _opening(plan, deadline):
                payload = await plan.lay(caller, lanes)
                for lane in lanes:
                    await lane.open()
            order = plan.order(caller, payload, lanes)
            order.deadline = deadline
            async with plan.watching(lanes):
                result = await run_streamed_call(order)
            tasks.cancel_scope.cancel()
    finally:
        for lane in lanes:
            await lane.close()
        plan.release()
        if caller is not None:
            caller.close()
    return result


@contextmanager
def _opening(plan: CallPlan, deadline: float) -> Iterator[None]:
    with anyio.CancelScope(deadline=deadline) as scope:
        yield
    if scope.cancelled_caught:
        raise TimedOut(f"the streams were not open within {plan.whole:g} s")

"""Time limits of a transfer: the whole of it, and how long nothing may move (design.md section 3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import anyio

from iii_cli.errors import TimedOut, sole_cause
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("Limits", "opened_within", "within")

T = TypeVar("T")


class Limits(Value):
    """In seconds; None: no limit. `since`, on anyio's clock, is when the whole began; None: it begins now."""

    whole: float | None = None
    stall: float | None = None
    since: float | None = None


async def within(
    limits: Limits, progress: Callable[[], int], body: Callable[[], Awaitable[T]], what: str
) -> T:
    """Run `body` under the limits. `progress` is any count that grows while something moves.

    Raises TimedOut, for which `what` names the transfer, and what `body` raises, of several the gravest.
    """
    if limits.whole is None and limits.stall is None:
        return await body()
    result: list[T] = []
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_watch, limits, progress, what)
            result.append(await body())
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole_cause(group) from None
    return result[0]


async def opened_within(limits: Limits, body: Callable[[], Awaitable[None]]) -> None:
    """Run what opens a transfer, for which only the limit of the whole counts. Raises as `within`."""
    await within(limits.replace(stall=None), lambda: 0, body, "the stream")


async def _watch(limits: Limits, progress: Callable[[], int], what: str) -> None:
    now = anyio.current_time()
    began = now if limits.since is None else limits.since
    end = math.inf if limits.whole is None else began + limits.whole
    stall = math.inf if limits.stall is None else limits.stall
    count, moved_at = progress(), now
    while True:
        await anyio.sleep_until(min(end, moved_at + stall))
        now = anyio.current_time()
        if now >= end:
            raise TimedOut(f"{what} took longer than {limits.whole:g} s (--timeout)")
        if progress() != count:
            # When exactly it moved is unknown: at most a limit ago, so the limit holds within a factor of
            # two.
            count, moved_at = progress(), now
        elif now >= moved_at + stall:
            raise TimedOut(f"{what}: nothing moved for {limits.stall:g} s (--stall-timeout)")

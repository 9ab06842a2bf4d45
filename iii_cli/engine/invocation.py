"""A call that was accepted and not yet answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from iii_cli.engine.spans import Span, TraceContext
    from iii_cli.engine.worker import Worker

__all__ = ("Invocation",)


@dataclass(slots=True, eq=False)
class Invocation:
    """Who asked whom for what. `id` is what the executor was told, `reply_id` what the caller waits for."""

    id: str
    reply_id: str | None  # None: nobody waits
    function_id: str
    caller: Worker | None  # None: the engine itself
    executor: Worker | None  # None: a built-in that answers later
    traceparent: str | None = None  # as the caller sent it, and hears it again
    baggage: str | None = None  # likewise
    trace: TraceContext | None = None  # what the executor is told
    span: Span | None = None
    receipt: str | None = None  # of a queued call, whose answer is this and not the result

"""What can be found out about an engine in a moment: is it there, which one, how far away, how healthy."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from iii_cli.client.call import exchange, new_uuid, ping
from iii_cli.errors import EngineUnreachable, Failure, FunctionFailed, PeerMisbehaved
from iii_cli.net.blocking import open_blocking
from iii_cli.net.dialing import ConnectionLost
from iii_cli.protocol.messages import InvokeFunction
from iii_cli.protocol.seal import is_count, printable

if TYPE_CHECKING:
    from iii_cli.net.blocking import BlockingWebSocket, TlsSession
    from iii_cli.protocol.refs import Endpoint

__all__ = ("EngineFacts", "examine")


CONNECT_SECONDS = 2.5
STEP_SECONDS = 1.0  # for the round trips, and for the answer about its health
ROUND_TRIPS = 9  # odd, for a middle; a slow one among them does not matter
WORD_MAX = 100  # characters of what an engine says of itself
LIMITS = ("open_channels", "max_channels", "buffered_bytes", "max_buffer_bytes", "max_connections")


@dataclass(slots=True)
class EngineFacts:
    """Filled in as far as it goes: None and empty mean not found out. Times are in seconds."""

    failure: Failure | None = None  # why there is no connection, or none any more
    connect_time: float | None = None
    tls: TlsSession | None = None
    round_trips: list[float] = field(default_factory=list)
    health_failure: str | None = None  # why the engine does not say how it is
    version: str | None = None
    status: str | None = None
    embedded: bool | None = None
    clock_ahead: float | None = None  # of ours, known to half a round trip
    limits: dict[str, float] = field(default_factory=dict)  # of an embedded engine

    @property
    def latency(self) -> float | None:
        """The middle one of the round trips."""
        times = sorted(self.round_trips)
        return times[len(times) // 2] if times else None


def examine(endpoint: Endpoint, facts: EngineFacts) -> None:
    """Find out what there is to know. Raises nothing; takes five seconds at most, where names resolve."""
    patience = min(endpoint.connect_timeout or CONNECT_SECONDS, CONNECT_SECONDS)
    quick = replace(endpoint, connect_timeout=patience, wait_engine=None)
    began = time.monotonic()
    try:
        with open_blocking(quick, quick.address.worker_target(), what="engine") as ws:
            facts.connect_time = time.monotonic() - began
            facts.tls = ws.tls_session()
            _measure(ws, quick, facts)
            _ask(ws, quick, facts)
    except ConnectionLost as lost:
        facts.failure = EngineUnreachable(
            f"the engine at {endpoint.address.url} was lost during the examination ({lost.reason})"
        )
    except PeerMisbehaved as fault:
        facts.failure = EngineUnreachable(
            f"what answers at {endpoint.address.url} is no engine: {fault.message}", hint="is the URL right?"
        )
    except Failure as failure:
        facts.failure = failure


def _measure(ws: BlockingWebSocket, endpoint: Endpoint, facts: EngineFacts) -> None:
    deadline = time.monotonic() + STEP_SECONDS
    with suppress(TimeoutError):
        for _ in range(ROUND_TRIPS):
            sent = time.monotonic()
            ping(ws, endpoint, deadline)
            facts.round_trips.append(time.monotonic() - sent)


def _ask(ws: BlockingWebSocket, endpoint: Endpoint, facts: EngineFacts) -> None:
    request = InvokeFunction(
        function_id="engine::health::check", data={}, invocation_id=new_uuid(), namespace="default"
    )
    sent, started = time.time(), time.monotonic()
    try:
        answer = exchange(ws, endpoint, request, started + STEP_SECONDS)
    except TimeoutError:
        facts.health_failure = f"no answer within {STEP_SECONDS:g} s"
    except (FunctionFailed, PeerMisbehaved) as failure:
        facts.health_failure = printable(failure.message, WORD_MAX)
    else:
        _read(answer, facts, sent + (time.monotonic() - started) / 2)


def _read(answer: Any, facts: EngineFacts, asked_at: float) -> None:
    """An answer of `engine::health::check` (protocol.md 3.8), whatever it holds."""
    told = answer if isinstance(answer, dict) else {}
    facts.version = _word(told.get("version"))
    facts.status = _word(told.get("status"))
    stamp = told.get("timestamp")
    if is_count(stamp) and 0 < stamp < 1e14:
        facts.clock_ahead = stamp / 1000 - asked_at
    components = told.get("components")
    if isinstance(components, dict):
        embedded = components.get("embedded")
        facts.embedded = embedded is not None
        details = embedded.get("details") if isinstance(embedded, dict) else None
        if isinstance(details, dict):
            facts.limits = {name: details[name] for name in LIMITS if is_count(details.get(name))}


def _word(value: Any) -> str | None:
    return printable(value, WORD_MAX) or None if isinstance(value, str) else None

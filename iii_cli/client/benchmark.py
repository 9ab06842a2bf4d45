"""What an engine carries: bytes, calls, round trips.

A measurement keeps its `figures` true all the time, so they can be read after a cancelled one, too. Times are
lists of seconds.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio import TASK_STATUS_IGNORED

from iii_cli.client.call import CALL_SECONDS, new_stream_id, new_uuid
from iii_cli.client.channels import CHANNEL_BUFFER, ChannelReader, ChannelWriter
from iii_cli.client.connection import Connection, Identity, open_connection, unique_name
from iii_cli.client.worker import Worker, open_worker
from iii_cli.protocol.frames import FRAME_BYTES_MAX
from iii_cli.protocol.seal import Sealer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from anyio.abc import TaskStatus

    from iii_cli.protocol.frames import Event
    from iii_cli.protocol.refs import Endpoint

__all__ = ("measure_calls", "measure_channels", "measure_round_trips")

MESSAGE = "x" * 64  # of a round trip
WARM_UP = 5  # round trips that are not counted: the first ones pay for what is loaded and allocated then


async def measure_channels(
    figures: dict[str, Any], endpoint: Endpoint, parallel: int, size: int, seconds: float
) -> None:
    """Write `size` bytes in all, for `seconds` at most, and read them: `bytes`, `seconds`, `verified`.

    Raises EngineUnreachable, NotAuthorised, and what became of a stream.
    """
    chunk = os.urandom(FRAME_BYTES_MAX)
    began, start = math.inf, anyio.Event()

    async def write(writer: ChannelWriter, left: int) -> None:
        while left > 0 and time.monotonic() < began + seconds:
            await writer.push(chunk if left >= len(chunk) else chunk[:left])
            left -= len(chunk)
        await writer.finish()

    async def carry(share: int, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        async with _channel(caller, endpoint) as (writer, reader), anyio.create_task_group() as tasks:
            task_status.started()
            await start.wait()
            tasks.start_soon(writer.attend)
            tasks.start_soon(write, writer, share)
            while events := await _pull(reader):
                figures["bytes"] += sum(len(payload) for _, payload, _ in events)
                figures["seconds"] = time.monotonic() - began
            figures["verified"] += 1

    async with open_connection(endpoint) as caller, anyio.create_task_group() as tasks:
        for number in range(parallel):
            await tasks.start(carry, (size + number) // parallel)  # `size`, all together
        began = time.monotonic()
        start.set()


async def measure_calls(
    figures: dict[str, Any], endpoint: Endpoint, namespace: str | None, data: Any, count: int, seconds: float
) -> None:
    """Call `function`, or one of our own, once, and then `count` times, `parallel` at once, for `seconds` at
    most: `calls`, `seconds`, `latency_ms`.

    Raises what a call fails with, EngineUnreachable, NotAuthorised.
    """
    given = figures["function"]
    served = _echo_served(endpoint, namespace) if given is None else nullcontext(given)
    async with served as function_id, open_connection(endpoint) as caller:
        namespace = "default" if function_id.startswith("engine::") else namespace
        call = partial(caller.call, function_id, data, namespace=namespace, timeout=CALL_SECONDS)
        await call()
        began, turns = time.monotonic(), iter(range(count))

        async def call_and_count() -> None:
            await call()
            figures["calls"] += 1
            figures["seconds"] = time.monotonic() - began

        async with anyio.create_task_group() as tasks:
            for _ in range(figures["parallel"]):
                tasks.start_soon(_repeat, call_and_count, turns, began + seconds, figures["latency_ms"])


async def measure_round_trips(
    figures: dict[str, Any], endpoint: Endpoint, namespace: str | None, count: int, seconds: float
) -> None:
    """Send one message at a time there and back, `count` times on each way, for `seconds` at most in all:
    `engine`, `call`, `channels`.

    Raises EngineUnreachable, NotAuthorised, what became of a stream or a call.
    """

    async def send_back(source: ChannelReader, back: ChannelWriter) -> None:
        while events := await _pull(source):
            await back.push_messages([bytes(payload) for _, payload, _ in events])

    async def through_channels() -> None:
        await writer.push_messages([MESSAGE.encode()])
        await _pull(reader)

    async with (
        _echo_served(endpoint, namespace) as echo,
        open_connection(endpoint) as caller,
        _channel(caller, endpoint) as (writer, far_reader),
        _channel(caller, endpoint) as (far_writer, reader),
        anyio.create_task_group() as tasks,
    ):
        for beside in (writer.attend, far_writer.attend, partial(send_back, far_reader, far_writer)):
            tasks.start_soon(beside)
        call = partial(caller.call, echo, {"message": MESSAGE}, namespace=namespace, timeout=CALL_SECONDS)
        for way, once in (("engine", caller.ping), ("call", call), ("channels", through_channels)):
            await _repeat(once, iter(range(WARM_UP)), math.inf, [])
            await _repeat(once, iter(range(count)), time.monotonic() + seconds / 3, figures[way])
        tasks.cancel_scope.cancel()


async def _repeat(
    once: Callable[[], Awaitable[object]], turns: Iterator[int], end: float, times: list[float]
) -> None:
    for _ in turns:
        if (began := time.monotonic()) >= end:
            break
        await once()
        times.append(time.monotonic() - began)


@asynccontextmanager
async def _channel(
    caller: Connection, endpoint: Endpoint
) -> AsyncIterator[tuple[ChannelWriter, ChannelReader]]:
    """The open ends of a channel of its own, sealed. Nothing of it is left behind, cancelled or not."""
    with anyio.CancelScope(shield=True):  # an end that nobody took would keep the channel for five minutes
        writer_ref, reader_ref = await caller.create_channel(CHANNEL_BUFFER)
        writer = ChannelWriter(endpoint, writer_ref, Sealer(new_stream_id()))
        reader = ChannelReader(endpoint, reader_ref)
        await reader.open()
        await writer.open()
    try:
        yield writer, reader
    finally:
        reader.leave()
        await writer.abort(1, "stopped")


async def _pull(reader: ChannelReader) -> list[Event]:
    """What came next, nothing after a good end. Raises the Failure of any other."""
    events = await reader.pull()
    if not events and (failure := await reader.failure()) is not None:
        raise failure
    return events


@asynccontextmanager
async def _echo_served(endpoint: Endpoint, namespace: str | None) -> AsyncIterator[str]:
    """The id of a function of our own that answers what it is given, until the end."""
    worker = Worker(endpoint, Identity(unique_name(), namespace), reconnect=False)
    function_id = f"iii-bench::echo-{new_uuid()[:8]}"

    @worker.function(function_id, description="Answers what it is given, for iii bench", live=False)
    async def echo(payload: Any) -> Any:
        return payload

    async with open_worker(worker):
        await worker.wait_registered()
        yield function_id

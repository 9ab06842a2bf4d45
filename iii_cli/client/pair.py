"""Both ends of a new channel in one process: what a measurement writes into and reads from."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import anyio

from iii_cli.client.identity import new_stream_id
from iii_cli.client.reader import ChannelReader
from iii_cli.client.writer import ABORT_SECONDS, ChannelWriter
from iii_cli.errors import Failure, TimedOut
from iii_cli.wire.sealing import Sealer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from iii_cli.client.caller import Caller
    from iii_cli.wire.address import Endpoint
    from iii_cli.wire.ref import ChannelRef
    from iii_cli.wire.seal import Mode

__all__ = ("Pair", "open_pair", "read_to_the_end")

CREATE_SECONDS = 5.0  # an engine that is there answers in milliseconds


class Pair(NamedTuple):
    """Two open ends of one channel, sealed."""

    writer: ChannelWriter
    reader: ChannelReader


@asynccontextmanager
async def open_pair(caller: Caller, endpoint: Endpoint, mode: Mode, buffer_size: int) -> AsyncIterator[Pair]:
    """Create a channel and take both its ends. Nothing of it is left behind, cancelled or not.

    `caller` is one of `open_caller`. Raises as `ChannelWriter.open`, and as `Caller.create_channel`.
    """
    writer_ref, reader_ref = await _created(caller, buffer_size)
    pair = Pair(
        ChannelWriter(endpoint, writer_ref, Sealer(new_stream_id(), mode=mode)),
        ChannelReader(endpoint, reader_ref),
    )
    try:
        await _take(pair)
        yield pair
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(ABORT_SECONDS), suppress(Failure):
            if not pair.writer.ended:
                await _take(pair)  # an end that nobody took keeps the channel for five minutes
        pair.reader.leave()
        await pair.writer.abort(1, "stopped")


async def read_to_the_end(reader: ChannelReader) -> None:
    """Read and forget. Raises the Failure of a stream that does not end well."""
    while await reader.pull():
        pass
    failure = await reader.failure()
    if failure is not None:
        raise failure


async def _created(caller: Caller, buffer_size: int) -> tuple[ChannelRef, ChannelRef]:
    """Cancelled or not, the answer is waited for: a channel whose refs nobody has stays for five minutes."""
    with anyio.CancelScope(shield=True), anyio.move_on_after(CREATE_SECONDS):
        return await caller.create_channel(buffer_size)
    raise TimedOut(f"the engine made no channel within {CREATE_SECONDS:g} s")


async def _take(pair: Pair) -> None:
    await pair.reader.open()
    await pair.writer.open()

"""Refs in a payload and live ends in a program: each is made into the other (protocol.md 5.2)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from iii_cli.client.identity import new_stream_id
from iii_cli.client.reader import ChannelReader
from iii_cli.client.writer import ABORT_SECONDS, ChannelWriter
from iii_cli.errors import Failure
from iii_cli.wire.ref import ChannelRef, Direction, MalformedRef, is_ref
from iii_cli.wire.sealing import Sealer

if TYPE_CHECKING:
    from collections.abc import Callable

    from iii_cli.wire.address import Endpoint

__all__ = ("Ends", "open_end", "without_ends")


def open_end(endpoint: Endpoint, ref: ChannelRef, *, seal: bool = True) -> ChannelReader | ChannelWriter:
    """The live end that `ref` names. It connects at its first use."""
    if ref.direction is Direction.READ:
        return ChannelReader(endpoint, ref)
    return ChannelWriter(endpoint, ref, Sealer(new_stream_id()) if seal else None)


def without_ends(value: Any, handed_on: Callable[[Any], None] = lambda end: None) -> Any:
    """`value` with every live end and ref as the plain object that goes over the wire.

    `handed_on` hears of each live end: from now on somebody else uses it.
    """
    if isinstance(value, ChannelRef):
        return value.to_json()
    if isinstance(value, (ChannelReader, ChannelWriter)):
        handed_on(value)
        return value.ref.to_json()
    if isinstance(value, dict):
        return {key: without_ends(item, handed_on) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_ends(item, handed_on) for item in value]
    return value


class Ends:
    """The ends that came with one call."""

    def __init__(self, open_one: Callable[[ChannelRef], ChannelReader | ChannelWriter]) -> None:
        self._open_one = open_one
        self._readers: list[ChannelReader] = []
        self._writers: list[ChannelWriter] = []

    def enliven(self, value: Any) -> Any:
        """`value` with every ref, at any depth, as a ChannelReader or ChannelWriter."""
        if is_ref(value):
            try:
                return self._open(ChannelRef.from_json(value))
            except MalformedRef:
                return value
        if isinstance(value, dict):
            return {key: self.enliven(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.enliven(item) for item in value]
        return value

    def hand_on(self, end: Any) -> None:
        """The handler passed this end on: it is no longer ours to close."""
        if end in self._readers:
            self._readers.remove(end)
        if end in self._writers:
            self._writers.remove(end)

    async def close(self, reason: str) -> None:
        """Let go of what the handler left open. A writer that was not finished is aborted with `reason`.

        Also one that was never used: a reader somewhere would wait for it until the engine's sweep. Bounded
        in time, also where it is cancelled.
        """
        for reader in self._readers:
            reader.leave()
        for writer in self._writers:
            if not writer.ended:
                with anyio.CancelScope(shield=True), anyio.move_on_after(ABORT_SECONDS), suppress(Failure):
                    await writer.open()
                await writer.abort(1, reason)

    def _open(self, ref: ChannelRef) -> ChannelReader | ChannelWriter:
        end = self._open_one(ref)
        if isinstance(end, ChannelReader):
            self._readers.append(end)
        else:
            self._writers.append(end)
        return end

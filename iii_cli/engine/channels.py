"""Channels: one queue of whole messages between two single-use ends (protocol.md section 4).

The table knows which channels there are and which ends were taken; a `Channel` is the queue between its two
ends. Neither waits: the sockets of the ends `put` and ask for a `batch`, and are woken by `wake_reader` and
`wake_writer`, which they set to what suits them.
"""

from __future__ import annotations

import hmac
from collections import deque
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import TYPE_CHECKING

from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.refs import ChannelRef, Direction, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from iii_cli.engine.settings import Settings
    from iii_cli.engine.spans import Span, SpanStore, TraceContext
    from iii_cli.protocol.frames import Event

__all__ = ("BUFFER_SIZE", "Channel", "ChannelTable", "End", "HowEnded", "TooManyChannels")

BUFFER_SIZE = 64  # messages, where the creator does not say (3.1)
BUFFER_SIZE_MAX = 1024
CONTROL = int(Opcode.CLOSE)  # opcodes from here on are no messages


class TooManyChannels(Exception):
    """The engine is at one of its limits. Open channels go on."""


class HowEnded(Enum):
    """How one end of a channel came to its end. The peer cannot see it, the trace can."""

    CLOSED = "closed"  # the writer closed it, or the reader got everything
    LOST = "lost"  # the connection broke
    MISBEHAVED = "misbehaved"  # a limit or the protocol was broken
    ABANDONED = "abandoned"  # the other end is gone
    STOPPED = "stopped"  # the engine stops


@dataclass(slots=True, eq=False)
class End:
    """One end that was taken: how much went through it, and its span where the channel belongs to a trace."""

    direction: Direction
    taken_at: int
    bytes: int = 0
    messages: int = 0
    span: Span | None = None


def _nobody() -> None:
    """Nobody waits."""


class Channel:
    """A queue of messages, bounded by number and by bytes."""

    __slots__ = (
        "_messages",
        "_table",
        "abandoned",
        "created_at",
        "ended",
        "ends",
        "finished",
        "id",
        "key",
        "limit",
        "limit_bytes",
        "queued_bytes",
        "trace",
        "wake_reader",
        "wake_writer",
    )

    def __init__(
        self,
        table: ChannelTable,
        channel_id: str,
        key: Secret,
        *,
        limit: int,
        limit_bytes: int,
        created_at: int,
    ) -> None:
        self._table = table
        self._messages: deque[Event] = deque()
        self.id = channel_id
        self.key = key
        self.limit = limit
        self.limit_bytes = limit_bytes
        self.created_at = created_at
        self.queued_bytes = 0
        self.ended = False  # the writer's end is gone: nothing more comes
        self.abandoned = False  # the reader's end is gone: nothing more is wanted
        self.ends: dict[Direction, End] = {}
        self.finished: set[Direction] = set()
        self.trace: TraceContext | None = None
        self.wake_reader: Callable[[], None] = _nobody
        self.wake_writer: Callable[[], None] = _nobody

    def __repr__(self) -> str:
        taken = "+".join(sorted(direction.value for direction in self.ends)) or "no end"
        return f"<Channel {self.id} {taken} taken, {len(self)} queued>"

    def __len__(self) -> int:
        return len(self._messages)

    def ref(self, direction: Direction) -> ChannelRef:
        """The name of one end. Both share the key."""
        return ChannelRef(self.id, self.key, direction)

    def put(self, messages: Sequence[Event], at: int = 0) -> tuple[int, int]:
        """Queue the messages from `at` on, up to a control frame or to one for which there is no room. There
        always is where nothing is queued.

        Says where that one is, and how many bytes were queued. The reader hears of them once.
        """
        queue, begin, size = self._messages, at, 0
        room, room_bytes = self.limit - len(queue), self.limit_bytes - self.queued_bytes
        for message in islice(messages, at, None):
            length = len(message[1])
            if message[0] >= CONTROL or (queue and (room <= 0 or size + length > room_bytes)):
                break
            queue.append(message)
            size += length
            room -= 1
            at += 1
        if at > begin:
            self._count(size)
            self.wake_reader()
        return at, size

    def batch(self, max_messages: int, max_bytes: int) -> list[Event]:
        """The next messages, at least one where there is one. They stay queued until `sent`."""
        messages = self._messages
        if len(messages) == 1:
            return [messages[0]]
        chosen: list[Event] = []
        size = 0
        for message in messages:
            size += len(message[1])
            if chosen and (size > max_bytes or len(chosen) == max_messages):
                break
            chosen.append(message)
        return chosen

    def sent(self, count: int) -> int:
        """The first `count` messages are with the reader's socket. Says how many bytes these were."""
        take = self._messages.popleft
        size = sum([len(take()[1]) for _ in range(count)])
        self._count(-size)
        self.wake_writer()
        return size

    def end(self) -> None:
        """Nothing more comes. What is queued is still delivered."""
        self.ended = True
        self.wake_reader()

    def abandon(self) -> None:
        """Nothing more is wanted. What is queued is thrown away."""
        self.abandoned = True
        self._messages.clear()
        self._count(-self.queued_bytes)
        self.wake_writer()

    def _count(self, size: int) -> None:
        self.queued_bytes += size
        self._table.buffered_bytes += size


class ChannelTable:
    """Every channel of the engine, and the tombstones of those that are over."""

    def __init__(self, new_id: Callable[[], str], settings: Settings, spans: SpanStore) -> None:
        self._new_id = new_id
        self._settings = settings
        self._spans = spans
        self._channels: dict[str, Channel] = {}  # in the order of creation
        self._tombstones: dict[str, Secret] = {}  # the keys of channels that are over, oldest first (4.5)
        self._sweep_at: int | None = None
        self.buffered_bytes = 0

    def __len__(self) -> int:
        return len(self._channels)

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._channels.values())

    def create(self, buffer_size: int | None, now: int, trace: TraceContext | None = None) -> Channel:
        """A new channel (3.1). Its ends will belong to `trace`.

        Raises TooManyChannels.
        """
        settings = self._settings
        if len(self._channels) >= settings.max_channels:
            raise TooManyChannels(f"the engine has {settings.max_channels} channels open, which is its limit")
        if self.buffered_bytes >= settings.max_total_bytes:
            raise TooManyChannels(f"the engine holds {self.buffered_bytes} bytes for slow readers")
        limit = BUFFER_SIZE if buffer_size is None else min(max(buffer_size, 1), BUFFER_SIZE_MAX)
        channel = Channel(
            self,
            self._new_id(),
            Secret(self._new_id()),
            limit=limit,
            limit_bytes=settings.max_buffer_bytes,
            created_at=now,
        )
        channel.trace = trace
        self._channels[channel.id] = channel
        if self._sweep_at is None:
            self._sweep_at = now + settings.sweep_every
        return channel

    def exists(self, channel_id: str, key: str) -> bool:
        """Does the pair name a channel, finished or not? Wrong keys look like unknown ids."""
        channel = self._channels.get(channel_id)
        expected = self._tombstones.get(channel_id) if channel is None else channel.key
        return expected is not None and hmac.compare_digest(expected.reveal().encode(), key.encode())

    def take(self, channel_id: str, direction: Direction, now: int) -> Channel | None:
        """Take one end, once. None where it was taken before, or the stream is over (4.1, last row)."""
        channel = self._channels.get(channel_id)
        if channel is None or direction in channel.ends:
            return None
        end = channel.ends[direction] = End(direction, now)
        if channel.trace is not None:
            name = f"channel {direction.noun}"
            end.span = self._spans.begin(channel.trace, name, now, ("iii.channel.id", channel.id))
        return channel

    def finish(self, channel: Channel, direction: Direction, how: HowEnded, now: int) -> None:
        """An end that was taken is over. The other end learns what it can learn (4.3)."""
        if direction in channel.finished:
            return
        channel.finished.add(direction)
        if direction is Direction.WRITE:
            channel.end()
        else:
            channel.abandon()
        end = channel.ends[direction]
        if end.span is not None:
            error = None if how is HowEnded.CLOSED else f"the {direction.noun} end was {how.value}"
            figures = (("iii.channel.bytes", str(end.bytes)), ("iii.channel.messages", str(end.messages)))
            self._spans.end(end.span, now, *figures, ("iii.channel.ended", how.value), error=error)
        if len(channel.finished) == 2 and self._channels.pop(channel.id, None) is not None:
            self._tombstones[channel.id] = channel.key
            if len(self._tombstones) > self._settings.max_tombstones:
                del self._tombstones[next(iter(self._tombstones))]

    @property
    def next_sweep(self) -> int | None:
        """When `sweep` is due; None while there is nothing to look at."""
        return self._sweep_at if self._channels else None

    def sweep(self, now: int) -> list[Channel]:
        """Remove what is too old and has an end that was never taken (4.5). Returns what was removed."""
        if self._sweep_at is None or now < self._sweep_at:
            return []
        every = self._settings.sweep_every
        self._sweep_at += (1 + (now - self._sweep_at) // every) * every
        oldest = now - self._settings.channel_age_max
        swept = []
        for channel in self._channels.values():
            if channel.created_at >= oldest:
                break
            if len(channel.ends) < 2:
                swept.append(channel)
        for channel in swept:
            del self._channels[channel.id]
            if Direction.WRITE not in channel.ends:
                channel.end()
            if Direction.READ not in channel.ends:
                channel.abandon()
        return swept

"""Channels: one queue of whole messages between two single-use ends (docs: protocol, "Channels").

Each end of a channel has a state; `TABLE` has every step that there is. `Channel` is the queue between the
ends, `ChannelTable` knows all channels. Neither waits or does I/O: that is for `serve_end`. Each end has a
task of its own. The writer's stops reading while the queue is full, so TCP slows the writer
down. The reader's socket is never read: a reader that left is noticed when a send fails.
"""

from __future__ import annotations

import hmac
from collections import deque
from contextlib import suppress
from enum import Enum, auto
from itertools import groupby, islice
from typing import TYPE_CHECKING

import anyio
from anyio.lowlevel import checkpoint
from msgspec import Struct

from iii_cli.errors import PeerMisbehaved
from iii_cli.net.dialing import ConnectionLost
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.refs import ChannelRef, Direction, Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from iii_cli.engine.model import Settings, Span, TraceContext
    from iii_cli.engine.spans import SpanStore
    from iii_cli.net.websocket import WebSocket
    from iii_cli.protocol.frames import Event

__all__ = (
    "TABLE",
    "Channel",
    "ChannelTable",
    "End",
    "Ending",
    "State",
    "Step",
    "TooManyChannels",
    "WakeUp",
    "serve_end",
)

BUFFER_SIZE = 64  # messages, where the creator does not say
BUFFER_SIZE_MAX = 1024
BATCH_MESSAGES = 256  # of one gathering send
BATCH_BYTES = 1 << 20
RUNS_A_TURN = 16  # of queued messages; thousands of small ones come at once, and others wait too
SMALL = 4 << 10  # payloads up to this are cheaper to copy together than to send one by one

_CLOSE, _PING, _PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG


class State(Enum):
    """What became of one end of a channel."""

    FREE = auto()  # nobody took it yet
    TAKEN = auto()
    OVER = auto()  # it was taken once, or never will be


class Step(Enum):
    """What can happen to an end."""

    CAME = auto()
    LEFT = auto()
    SWEPT = auto()  # the channel is too old, and has an end that nobody took


TABLE: dict[tuple[State, Step], State] = {
    (State.FREE, Step.CAME): State.TAKEN,
    (State.FREE, Step.SWEPT): State.OVER,
    (State.TAKEN, Step.LEFT): State.OVER,
}
"""A step that is not here does not happen: an end that was taken before is refused."""


class TooManyChannels(Exception):
    """The engine is at one of its limits. Open channels go on."""


class Ending(Enum):
    """How one end of a channel came to its end. The peer cannot see it, the trace can."""

    CLOSED = "closed"  # the writer closed it, or the reader got everything
    LOST = "lost"  # the connection broke
    MISBEHAVED = "misbehaved"  # a limit or the protocol was broken
    ABANDONED = "abandoned"  # the other end is gone
    STOPPED = "stopped"  # the engine stops


class End(Struct, eq=False):
    """One end: its state, how much went through it, and its span where the channel belongs to a trace."""

    state: State = State.FREE
    bytes: int = 0
    messages: int = 0
    span: Span | None = None


def _nobody() -> None:
    """Nobody waits."""


class Channel:
    """A queue of messages, bounded by number and by bytes, and the state of its two ends.

    `wake_reader` and `wake_writer` are called when there is something new for the end.
    """

    def __init__(
        self,
        table: ChannelTable,
        channel_id: str,
        key: Secret,
        *,
        limit: int,
        limit_bytes: int,
        created_at: int,
        trace: TraceContext | None,
    ) -> None:
        self._table = table
        self._messages: deque[Event] = deque()
        self.id = channel_id
        self.key = key
        self.limit = limit
        self.limit_bytes = limit_bytes
        self.created_at = created_at
        self.trace = trace
        self.queued_bytes = 0
        self.writer = End()
        self.reader = End()
        self.wake_reader: Callable[[], None] = _nobody
        self.wake_writer: Callable[[], None] = _nobody

    def __repr__(self) -> str:
        states = f"writer {self.writer.state.name}, reader {self.reader.state.name}"
        return f"<Channel {self.id}, {states.lower()}, {len(self)} queued>"

    def __len__(self) -> int:
        return len(self._messages)

    def ref(self, direction: Direction) -> ChannelRef:
        """The name of one end. Both share the key."""
        return ChannelRef(self.id, self.key, direction)

    @property
    def ended(self) -> bool:
        """Nothing more comes from the writer. What is queued is still delivered."""
        return self.writer.state is State.OVER

    @property
    def unread(self) -> bool:
        """Nothing more is wanted by the reader."""
        return self.reader.state is State.OVER

    def end(self, direction: Direction) -> End:
        """The end that is opened in that direction."""
        return self.writer if direction is Direction.WRITE else self.reader

    def step(self, direction: Direction, step: Step) -> bool:
        """Something happened to an end. False where the table says that it does not happen now."""
        end = self.end(direction)
        after = TABLE.get((end.state, step))
        if after is None:
            return False
        end.state = after
        if self.ended and end is self.writer:
            self.wake_reader()
            self.wake_writer = _nobody  # what it waits with holds its buffers, until garbage is collected
        if self.unread and end is self.reader:
            self._messages.clear()
            self._count(-self.queued_bytes)
            self.wake_writer()
            self.wake_reader = _nobody
        return True

    def put(self, messages: Sequence[Event], at: int = 0) -> tuple[int, int]:
        """Queue the messages from `at` on, up to a control frame or to one for which there is no room. There
        always is where nothing is queued.

        Says where that one is, and how many bytes were queued. The reader hears of them once.
        """
        queue, begin, size = self._messages, at, 0
        room, room_bytes = self.limit - len(queue), self.limit_bytes - self.queued_bytes
        for message in islice(messages, at, None):
            length = len(message[1])
            if message[0] >= _CLOSE or (queue and (room <= 0 or size + length > room_bytes)):
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

    def _count(self, size: int) -> None:
        self.queued_bytes += size
        self._table.buffered_bytes += size


class ChannelTable:
    """Every channel of the engine, and the keys of those that are over."""

    def __init__(self, new_id: Callable[[], str], settings: Settings, spans: SpanStore) -> None:
        self._new_id = new_id
        self._settings = settings
        self._spans = spans
        self._channels: dict[str, Channel] = {}  # in the order of creation
        self._closed: dict[str, Secret] = {}  # keys of channels that are over, the oldest first
        self._sweep_at: int | None = None
        self.buffered_bytes = 0

    def __len__(self) -> int:
        return len(self._channels)

    def create(self, buffer_size: int | None, now: int, trace: TraceContext | None = None) -> Channel:
        """A new channel. Its ends will belong to `trace`.

        Raises TooManyChannels.
        """
        settings = self._settings
        if len(self._channels) >= settings.max_channels:
            raise TooManyChannels(f"the engine has {settings.max_channels} channels open, which is its limit")
        if self.buffered_bytes >= settings.max_total_bytes:
            raise TooManyChannels(f"the engine holds {self.buffered_bytes} bytes for slow readers")
        channel = Channel(
            self,
            self._new_id(),
            Secret(self._new_id()),
            limit=BUFFER_SIZE if buffer_size is None else min(max(buffer_size, 1), BUFFER_SIZE_MAX),
            limit_bytes=settings.max_buffer_bytes,
            created_at=now,
            trace=trace,
        )
        self._channels[channel.id] = channel
        if self._sweep_at is None:
            self._sweep_at = now + settings.sweep_every
        return channel

    def exists(self, channel_id: str, key: str) -> bool:
        """Does the pair name a channel, over or not? Wrong keys look like unknown ids."""
        channel = self._channels.get(channel_id)
        expected = self._closed.get(channel_id) if channel is None else channel.key
        return expected is not None and hmac.compare_digest(expected.reveal().encode(), key.encode())

    def take(self, channel_id: str, direction: Direction, now: int) -> Channel | None:
        """Take one end, once. None where it was taken before, or the stream is over."""
        channel = self._channels.get(channel_id)
        if channel is None or not channel.step(direction, Step.CAME):
            return None
        if channel.trace is not None:
            name, about = f"channel {direction.noun}", ("iii.channel.id", channel.id)
            channel.end(direction).span = self._spans.begin(channel.trace, name, now, about)
        return channel

    def finish(self, channel: Channel, direction: Direction, ending: Ending, now: int) -> None:
        """An end that was taken is over. The other end learns what it can learn
        (docs: protocol, "Ends of a channel").

        Means nothing where it was over before.
        """
        if not channel.step(direction, Step.LEFT):
            return
        end = channel.end(direction)
        if end.span is not None:
            error = None if ending is Ending.CLOSED else f"the {direction.noun} end was {ending.value}"
            figures = (("iii.channel.bytes", str(end.bytes)), ("iii.channel.messages", str(end.messages)))
            self._spans.end(end.span, now, *figures, ("iii.channel.ended", ending.value), error=error)
        if channel.ended and channel.unread and self._channels.pop(channel.id, None) is not None:
            self._closed[channel.id] = channel.key
            if len(self._closed) > self._settings.max_closed:
                del self._closed[next(iter(self._closed))]

    @property
    def next_sweep(self) -> int | None:
        """When `sweep` is due; None while there is nothing to look at."""
        return self._sweep_at if self._channels else None

    def sweep(self, now: int) -> list[Channel]:
        """Remove what is too old and has an end that was never taken (docs: protocol, "Lifetime"). Returns
        what was removed.
        """
        if self._sweep_at is None or now < self._sweep_at:
            return []
        every = self._settings.sweep_every
        self._sweep_at += (1 + (now - self._sweep_at) // every) * every
        oldest = now - self._settings.channel_age_max
        old = [channel for channel in self._channels.values() if channel.created_at < oldest]
        swept = [each for each in old if State.FREE in (each.writer.state, each.reader.state)]
        for channel in swept:
            for direction in Direction:
                channel.step(direction, Step.SWEPT)
            del self._channels[channel.id]
        return swept


# The sockets


class WakeUp:
    """An event that one task waits for again and again. Set before the wait, it is not missed."""

    def __init__(self) -> None:
        self._event: anyio.Event | None = None
        self._due = False

    def wake(self) -> None:
        """Wake the task that waits, or the next that would."""
        self._due = True
        if self._event is not None:
            self._event.set()
            self._event = None

    async def wait(self) -> None:
        """Wait to be woken. Cancelling loses nothing."""
        if not self._due:
            self._event = anyio.Event()
            await self._event.wait()
        self._due = False


async def serve_end(
    websocket: WebSocket,
    channel_id: str,
    direction: Direction,
    channels: ChannelTable,
    now: Callable[[], int],
) -> Ending | None:
    """Take one end and serve it until it is over. Says how it ended; None where it had been taken before.

    Cancelling drops the connection without a Close frame, which is what a stopping engine does.
    """
    channel = channels.take(channel_id, direction, now())
    if channel is None:
        with suppress(ConnectionLost):
            await websocket.send(_CLOSE, b"")
        return None

    def finish(ending: Ending) -> None:
        channels.finish(channel, direction, ending, now())

    ending = Ending.STOPPED
    try:
        if direction is Direction.WRITE:
            ending = await _serve_writer(websocket, channel, lambda: finish(Ending.CLOSED))
        else:
            ending = await _Reader(websocket, channel).serve()
    except ConnectionLost:
        ending = Ending.LOST
    except PeerMisbehaved:
        ending = Ending.MISBEHAVED
    finally:
        finish(ending)
    return ending


async def _serve_writer(websocket: WebSocket, channel: Channel, closed: Callable[[], None]) -> Ending:
    """`closed` is called when the writer's Close has come, before it is echoed: the reader need not wait."""
    woken, ending = WakeUp(), None
    channel.wake_writer = woken.wake
    while ending is None:
        ending = await _pass_on(websocket, channel, woken, closed, await websocket.receive())
    return ending


async def _pass_on(
    websocket: WebSocket, channel: Channel, woken: WakeUp, closed: Callable[[], None], events: list[Event]
) -> Ending | None:
    """Queue the messages, waiting for room. How it ended, where the writer closed or a message found no
    reader: pings and a Close are answered even then.

    Separate function, so that `events` is released before we wait again: it held 1 MiB for each channel that
    had once been used.
    """
    end = channel.writer
    at = runs = 0
    while at < len(events):
        opcode, payload, _ = events[at]
        if opcode >= _CLOSE:
            at += 1
            if opcode == _PING:
                await websocket.send(_PONG, payload)
            elif opcode == _CLOSE:
                closed()
                await websocket.send(_CLOSE, payload)
                return Ending.CLOSED
            continue
        if channel.unread:
            return Ending.ABANDONED
        before, (at, size) = at, channel.put(events, at)
        if at == before:
            await woken.wait()
            continue
        end.messages += at - before
        end.bytes += size
        runs += 1
        if runs % RUNS_A_TURN == 0:
            await checkpoint()
    return None


class _Reader:
    """The reader's end. What comes for it is sent on the writer's turn, as far as the socket takes it; its
    own task waits where one must.
    """

    def __init__(self, websocket: WebSocket, channel: Channel) -> None:
        self._websocket = websocket
        self._channel = channel
        self._woken = WakeUp()
        self._in_flight = 0  # messages that were posted and that the socket has not taken whole
        self._lost: str | None = None  # why, and not the failure: its frames hold this
        channel.wake_reader = self._push

    async def serve(self) -> Ending:
        """Until the stream is over. Raises ConnectionLost."""
        self._push()
        while True:
            if self._lost is not None:
                raise ConnectionLost(self._lost)
            if self._in_flight:
                await self._websocket.flush()
                self._was_taken()
                self._push()
            elif self._channel.ended:
                await self._websocket.send(_CLOSE, b"")
                return Ending.CLOSED
            else:
                await self._woken.wait()

    def _push(self) -> None:
        """Send without waiting. Whatever needs a wait, or fails, is left to the task."""
        channel = self._channel
        try:
            while not self._in_flight and (batch := channel.batch(BATCH_MESSAGES, BATCH_BYTES)):
                _post(self._websocket, batch)
                self._in_flight = len(batch)
                if self._websocket.flush_now():
                    self._was_taken()
        except ConnectionLost as lost:
            self._lost = lost.reason
        if self._in_flight or channel.ended:
            self._woken.wake()

    def _was_taken(self) -> None:
        count, self._in_flight = self._in_flight, 0
        self._channel.reader.messages += count
        self._channel.reader.bytes += self._channel.sent(count)


def _post(websocket: WebSocket, batch: list[Event]) -> None:
    if len(batch) == 1:
        opcode, payload, _ = batch[0]
        websocket.post(opcode, payload)
        return
    for (opcode, is_small), group in groupby(batch, lambda event: (event[0], len(event[1]) <= SMALL)):
        payloads = [payload for _, payload, _ in group]
        if is_small:
            websocket.post_many(opcode, payloads)
        else:
            for payload in payloads:
                websocket.post(opcode, payload)

"""Channel sockets: a writer's messages into the queue, the queue to the reader (protocol.md 4.2-4.6).

Each end has a task of its own. The writer's stops reading while the queue is full, so TCP slows the writer
down. The reader's socket is never read: a reader that left is noticed when a send fails.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from anyio.lowlevel import checkpoint

from iii_cli.engine.bell import Bell
from iii_cli.engine.channels import HowEnded
from iii_cli.errors import PeerMisbehaved
from iii_cli.net.dialing import ConnectionLost
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.refs import Direction

if TYPE_CHECKING:
    from collections.abc import Callable

    from iii_cli.engine.channels import Channel, ChannelTable, End
    from iii_cli.net.websocket import WebSocket
    from iii_cli.protocol.frames import Event

__all__ = ("serve_channel_end",)

BATCH_MESSAGES = 256  # of one gathering send
BATCH_BYTES = 1 << 20
RUNS_A_TURN = 16  # of queued messages; thousands of small ones come at once, and others wait too
SMALL = 4 << 10  # payloads up to this are cheaper to copy together than to send one by one

_CLOSE, _PING, _PONG = Opcode.CLOSE, Opcode.PING, Opcode.PONG


async def serve_channel_end(
    websocket: WebSocket,
    channel_id: str,
    direction: Direction,
    channels: ChannelTable,
    now: Callable[[], int],
) -> HowEnded | None:
    """Take one end and serve it until it is over. Says how; None where it had been taken before.

    Cancelling drops the connection without a Close frame, which is what a stopping engine does.
    """
    channel = channels.take(channel_id, direction, now())
    how: HowEnded | None = None
    try:
        if channel is None:  # 4.1, last row
            await websocket.send(_CLOSE, b"")
        elif direction is Direction.WRITE:
            how = HowEnded.STOPPED
            how = await _from_writer(websocket, channel, channel.ends[direction])
        else:
            how = HowEnded.STOPPED
            how = await _Outgoing(websocket, channel, channel.ends[direction]).run()
    except ConnectionLost:
        how = None if channel is None else HowEnded.LOST
    except PeerMisbehaved:
        how = HowEnded.MISBEHAVED
    finally:
        if channel is not None and how is not None:
            channels.finish(channel, direction, how, now())
        websocket.socket.close()
    return how


async def _from_writer(websocket: WebSocket, channel: Channel, end: End) -> HowEnded:
    bell = Bell()
    channel.wake_writer = bell.ring
    while True:
        how = await _pass_on(websocket, channel, end, bell, await websocket.receive())
        if how is not None:
            return how


async def _pass_on(
    websocket: WebSocket, channel: Channel, end: End, bell: Bell, events: list[Event]
) -> HowEnded | None:
    """Queue the messages, waiting for room. How it ended, where the writer closed or a message found no
    reader (4.3): pings and a Close are answered even then.

    A function of its own, so that who waits for the next message does not hold the last one: that was 1 MiB
    for each channel that had once been used.
    """
    at = runs = 0
    while at < len(events):
        if channel.abandoned and events[at][0] < _CLOSE:
            return HowEnded.ABANDONED
        before, (at, size) = at, channel.put(events, at)
        end.messages += at - before
        end.bytes += size
        runs += 1
        if runs % RUNS_A_TURN == 0:
            await checkpoint()
        if at == len(events):
            break
        opcode, payload, _ = events[at]
        if opcode < _CLOSE:
            await bell.wait()
            continue
        at += 1
        if opcode == _PING:
            await websocket.send(_PONG, payload)
        elif opcode == _CLOSE:
            channel.end()  # the reader need not wait for our echo
            await websocket.send(_CLOSE, payload)
            return HowEnded.CLOSED
    return None


class _Outgoing:
    """The reader's end. What comes for it is sent on the writer's turn, as far as the socket takes it; its
    own task waits where one must.
    """

    def __init__(self, websocket: WebSocket, channel: Channel, end: End) -> None:
        self._websocket = websocket
        self._channel = channel
        self._end = end
        self._bell = Bell()
        self._in_flight = 0  # messages that were posted and that the socket has not taken whole
        self._lost: ConnectionLost | None = None
        channel.wake_reader = self.push

    def push(self) -> None:
        """Send without waiting. Whatever needs a wait, or fails, is left to the task."""
        channel = self._channel
        try:
            while not self._in_flight and (batch := channel.batch(BATCH_MESSAGES, BATCH_BYTES)):
                _post(self._websocket, batch)
                self._in_flight = len(batch)
                if self._websocket.flush_now():
                    self._settle()
        except ConnectionLost as lost:
            self._lost = lost
        if self._in_flight or channel.ended:
            self._bell.ring()

    async def run(self) -> HowEnded:
        """Until the stream is over. Raises ConnectionLost."""
        self.push()
        while True:
            if self._lost is not None:
                raise self._lost
            if self._in_flight:
                await self._websocket.flush()
                self._settle()
                self.push()
            elif self._channel.ended:
                await self._websocket.send(_CLOSE, b"")
                return HowEnded.CLOSED
            else:
                await self._bell.wait()

    def _settle(self) -> None:
        count, self._in_flight = self._in_flight, 0
        self._end.messages += count
        self._end.bytes += self._channel.sent(count)


def _post(websocket: WebSocket, batch: list[Event]) -> None:
    if len(batch) == 1:
        opcode, payload, _ = batch[0]
        websocket.post(opcode, payload)
        return
    for (opcode, is_small), group in groupby(batch, _kind_of):
        payloads = [payload for _, payload, _ in group]
        if is_small:
            websocket.post_many(opcode, payloads)
        else:
            for payload in payloads:
                websocket.post(opcode, payload)


def _kind_of(message: Event) -> tuple[int, bool]:
    return message[0], len(message[1]) <= SMALL

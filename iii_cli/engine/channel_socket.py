"""Channel sockets: a writer's messages into the queue, the queue to the reader (protocol.md 4.2-4.6).

Each end has a task of its own. The writer's stops reading while the queue is full, so TCP slows the writer
down. The reader's socket is never read: a reader that left is noticed when a send fails.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from iii_cli.engine.bell import Bell
from iii_cli.engine.channels import HowEnded
from iii_cli.errors import PeerMisbehaved
from iii_cli.transport.dialing import ConnectionLost
from iii_cli.wire.frames import Opcode
from iii_cli.wire.ref import Direction

if TYPE_CHECKING:
    from collections.abc import Callable

    from iii_cli.engine.channels import Channel, ChannelTable, End
    from iii_cli.transport.websocket import WebSocket
    from iii_cli.wire.frames import Buffer

__all__ = ("serve_channel_end",)

BATCH_MESSAGES = 256  # of one gathering send
BATCH_BYTES = 1 << 20
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
            how = await _to_reader(websocket, channel, channel.ends[direction])
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
        for opcode, payload, _ in await websocket.receive():
            if opcode < _CLOSE:
                while not channel.admits(len(payload)) and not channel.abandoned:
                    await bell.wait()
                if channel.abandoned:
                    return HowEnded.ABANDONED
                channel.put(opcode, payload)
                end.messages += 1
                end.bytes += len(payload)
            elif opcode == _PING:
                await websocket.send(_PONG, payload)
            elif opcode == _CLOSE:
                channel.end()  # the reader need not wait for our echo
                await websocket.send(_CLOSE, payload)
                return HowEnded.CLOSED


async def _to_reader(websocket: WebSocket, channel: Channel, end: End) -> HowEnded:
    bell = Bell()
    channel.wake_reader = bell.ring
    while True:
        batch = channel.batch(BATCH_MESSAGES, BATCH_BYTES)
        if batch:
            _post(websocket, batch)
            await websocket.flush()
            channel.sent(len(batch))
            end.messages += len(batch)
            end.bytes += sum(len(payload) for _, payload in batch)
        elif channel.ended:
            await websocket.send(_CLOSE, b"")
            return HowEnded.CLOSED
        else:
            await bell.wait()


def _post(websocket: WebSocket, batch: list[tuple[int, Buffer]]) -> None:
    if len(batch) == 1:
        websocket.post(*batch[0])
        return
    for (opcode, is_small), group in groupby(
        batch, key=lambda message: (message[0], len(message[1]) <= SMALL)
    ):
        payloads = [payload for _, payload in group]
        if is_small:
            websocket.post_many(opcode, payloads)
        else:
            for payload in payloads:
                websocket.post(opcode, payload)

"""Frames over a socket, on the event loop (RFC 6455)."""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, final

import anyio

from iii_cli.net.dialing import ConnectionLost, Opened, opening
from iii_cli.net.sockets import IOV_MAX, Socket
from iii_cli.protocol.frames import Event, FrameDecoder, encode_frames, frame_header, mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.protocol.frames import Buffer
    from iii_cli.protocol.refs import Endpoint

__all__ = ("WebSocket", "open_websocket")


JOIN_BYTES = 4 << 10  # a payload up to this is cheaper to copy behind its header than to send beside it


@final
class WebSocket:
    """An open WebSocket: frames in, frames out, and no opinion about what they mean.

    One task may receive while others send. What `post` queued survives a cancelled `flush`, so that a
    half-sent frame can be finished or the connection dropped, but never interleaved.
    """

    __slots__ = ("_decoder", "_lock", "_masking", "_unsent", "socket", "unsent_bytes")

    def __init__(self, socket: Socket, decoder: FrameDecoder, *, masking: bool) -> None:
        self.socket = socket
        self._decoder = decoder
        self._masking = masking
        self._unsent: deque[memoryview] = deque()
        self.unsent_bytes = 0  # that were posted and that the socket has not taken yet
        self._lock: anyio.Lock | None = None  # once a flush had to wait

    async def receive(self) -> list[Event]:
        """The next events, at least one. Binary pieces are valid until the next call.

        Cancelling loses nothing. Raises ConnectionLost at the end of the TCP stream and when it breaks;
        PeerMisbehaved when a frame is not one; Silence as the socket does.
        """
        while True:
            if events := self._decoder.events():
                return events
            space = self._decoder.space()
            await self.socket.give_way(len(space))
            count = self.socket.receive_now(space)
            if count is None:
                del space
                self._decoder.rest()
                await self.socket.wait_to_receive()
            else:
                self._received(count)

    def receive_now(self) -> list[Event]:
        """What has arrived by now, perhaps nothing. Never waits. Raises as `receive` does."""
        events = self._decoder.events()
        if events:
            return events
        count = self.socket.receive_now(self._decoder.space())
        if count is None:
            return []
        self._received(count)
        return self._decoder.events()

    def _received(self, count: int) -> None:
        if not count:
            raise ConnectionLost("the connection ended without a Close frame")
        self._decoder.received(count)

    def close(self) -> None:
        """Let go of the socket and of all buffers: a cancelled task keeps what it used until garbage is
        collected. What was sent is still delivered. Never waits.
        """
        self.socket.close()
        self._decoder.release()

    def post(self, opcode: int, payload: Buffer) -> None:
        """Queue one whole frame for `flush`. The payload is copied only where it must be masked."""
        key = os.urandom(4) if self._masking else None
        head = frame_header(opcode, len(payload), key)
        body = payload if key is None else mask(payload, key)
        if len(body) <= JOIN_BYTES:
            self._queue(head + body)
        else:
            self._queue(head)
            self._queue(body)

    def post_many(self, opcode: int, payloads: Sequence[Buffer]) -> None:
        """Queue many small frames as one buffer for `flush`."""
        keys = os.urandom(4 * len(payloads)) if self._masking else None
        self._queue(encode_frames(opcode, payloads, keys))

    def _queue(self, data: Buffer) -> None:
        self._unsent.append(memoryview(data))
        self.unsent_bytes += len(data)

    async def flush(self) -> None:
        """Send everything that is queued. Several tasks may call it; each returns when the queue is empty.

        Cancelling leaves the rest queued, in order. Raises ConnectionLost.
        """
        await self.socket.give_way()
        if self.flush_now():
            return
        unsent = self._unsent
        if self._lock is None:
            self._lock = anyio.Lock(fast_acquire=True)
        async with self._lock:
            while unsent:
                self._was_sent(await self.socket.send_some(list(islice(unsent, IOV_MAX))))

    def flush_now(self) -> bool:
        """Send what the socket takes without waiting. False: there is more, and a `flush` must send it.

        Raises ConnectionLost.
        """
        if self._lock is not None and self._lock.locked():
            return False
        unsent = self._unsent
        while unsent:
            sent = self.socket.send_now(list(islice(unsent, IOV_MAX)))
            if sent is None:
                return False
            self._was_sent(sent)
        return True

    def _was_sent(self, count: int) -> None:
        self.unsent_bytes -= count
        unsent = self._unsent
        while count:
            first = unsent[0]
            if count < len(first):
                unsent[0] = first[count:]
                break
            count -= len(first)
            unsent.popleft()

    async def send(self, opcode: int, payload: Buffer) -> None:
        """Post and flush."""
        self.post(opcode, payload)
        await self.flush()


async def open_websocket(endpoint: Endpoint, target: str, *, what: str, pieces: bool = False) -> WebSocket:
    """As `opening`, on the event loop. Cancelling leaves nothing open."""
    steps = opening(endpoint, target, what=what, pieces=pieces)
    try:
        wait = next(steps)
        while True:
            came = False
            with anyio.move_on_after(wait.seconds):
                if wait.sock is None:
                    await anyio.sleep_forever()
                else:
                    await (anyio.wait_writable if wait.writable else anyio.wait_readable)(wait.sock)
                came = True
            wait = steps.send(came)
    except StopIteration as done:
        opened: Opened = done.value
        return WebSocket(Socket(opened.raw, opened.trail), opened.decoder, masking=True)
    finally:
        steps.close()

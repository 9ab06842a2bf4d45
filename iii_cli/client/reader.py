"""The reader end of a channel, as an anyio byte stream."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, final

import anyio
from anyio.abc import ByteReceiveStream

from iii_cli.client.probe import EndState, probe
from iii_cli.errors import ContentDiffers, EngineUnreachable, Failure, PeerMisbehaved, UnknownTarget
from iii_cli.transport.sockets import ConnectionLost, Silence
from iii_cli.transport.websocket import open_websocket
from iii_cli.wire.frames import ENGINE_MESSAGE_MAX, Opcode, parse_close, text_runs
from iii_cli.wire.ref import Direction
from iii_cli.wire.seal import BEAT_AFTER, PEER_TIMEOUT, Mode
from iii_cli.wire.verdict import Outcome
from iii_cli.wire.verifying import Verifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iii_cli.transport.websocket import WebSocket
    from iii_cli.wire.address import Endpoint
    from iii_cli.wire.figures import Figures
    from iii_cli.wire.frames import Buffer, Event
    from iii_cli.wire.ref import ChannelRef
    from iii_cli.wire.seal import Open
    from iii_cli.wire.verdict import Verdict

__all__ = ("ChannelReader", "ReaderStatistics")


class ReaderStatistics(NamedTuple):
    """What has come out of the channel."""

    bytes: int  # payload of binary frames
    messages: int  # text messages that are data


@final
class ChannelReader(ByteReceiveStream):
    """Reads one stream from a channel, verifies its seal on the way, and knows how it ended.

    It connects at the first use, or at `open()`, and sends nothing, ever. It holds one receive buffer of at
    most a little over 1 MiB, and whole text messages.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ref: ChannelRef,
        verifier: Verifier | None = None,
        *,
        peer_timeout: float | None = PEER_TIMEOUT,
        on_message: Callable[[str], None] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._ref = ref.facing(Direction.READ)
        self._verifier = verifier or Verifier()
        self._peer_timeout = peer_timeout
        self._ws: WebSocket | None = None
        self._opening = anyio.Lock(fast_acquire=True)
        self._verdict: Verdict | None = None
        self._left_by_us = False
        self._clean_close = False
        self._rest = b""
        self._whole: bytearray | None = None  # in mode `records`: of a message whose rest is still to come
        self._heard_at = 0.0  # when the last frame of a sealed stream came
        self.on_message = on_message
        self.on_open: Callable[[Open], Awaitable[None]] | None = None  # hears of the seal before any data

    def __repr__(self) -> str:
        state = self._verdict.outcome.name.lower() if self._verdict else "open" if self._ws else "new"
        return f"<ChannelReader {state}, {self._verifier.byte_count} bytes>"

    @property
    def ref(self) -> ChannelRef:
        """The ref of this end, a secret."""
        return self._ref

    @property
    def opened(self) -> Open | None:
        """The seal's open frame, once it has come: mode, digest, size, receipt."""
        return self._verifier.opened

    @property
    def verdict(self) -> Verdict | None:
        """How the stream ended; None while it has not."""
        return self._verdict

    @property
    def writer_alive(self) -> bool:
        """Has it sealed its stream, and is its last word so young that a beat cannot be missing?"""
        return self.opened is not None and time.monotonic() - self._heard_at < 2 * BEAT_AFTER

    @property
    def figures(self) -> Figures:
        """What has arrived so far."""
        return self._verifier.figures

    def statistics(self) -> ReaderStatistics:
        """Counted since the start."""
        return ReaderStatistics(self._verifier.byte_count, self._verifier.message_count)

    async def open(self) -> None:
        """Connect. Idempotent. Cancelled on the way, the end may count as taken.

        Raises EngineUnreachable, NotAuthorised, UnknownTarget (404); ClosedResourceError after `leave`.
        """
        if self._left_by_us:
            raise anyio.ClosedResourceError
        async with self._opening:
            if self._ws is None:
                target = self._endpoint.address.channel_target(self._ref)
                self._ws = await open_websocket(self._endpoint, target, what="channel", pieces=True)

    async def pull(self) -> list[Event]:
        """What came next: text messages whole, binary payload in pieces that are valid until the next call.

        An empty list is the end; `verdict` then says which. The seal's own frames are not among them.
        Cancelling loses nothing. Raises as `open`.
        """
        ws = self._ws
        if ws is None or self._left_by_us:
            await self.open()
            ws = self._ws
            assert ws is not None
        while self._verdict is None:
            try:
                events = await ws.receive()
            except Silence:
                self._end(ws, close_frame=False, silent_for=self._peer_timeout)
                break
            except (ConnectionLost, PeerMisbehaved):
                self._end(ws, close_frame=False)
                break
            data = self._judge(ws, events)
            if self._verifier.opened is not None:
                ws.socket.patience = self._peer_timeout
                self._heard_at = time.monotonic()
            if self.on_open is not None and self._verifier.opened is not None:
                on_open, self.on_open = self.on_open, None
                await on_open(self._verifier.opened)
            if data:
                return data
        return []

    async def failure(self) -> Failure | None:
        """Why the stream is not good, None where it is. May probe the engine once; cancelling loses nothing.

        Raises RuntimeError before the end.
        """
        verdict = self._verdict
        if verdict is None:
            raise RuntimeError("the stream has not ended")
        failure = verdict.failure()
        if failure is None or not self._worth_a_probe(verdict):
            return failure
        state = await probe(self._endpoint, self._ref)
        where = self._endpoint.address.url
        if verdict.outcome is Outcome.EMPTY:
            if state is EndState.GONE:
                return UnknownTarget(
                    f"the channel expired at {where}: no writer came within 5 minutes of its creation"
                )
            return failure
        if state in (EndState.UNREACHABLE, EndState.GONE):
            return EngineUnreachable(f"the engine at {where} was lost after {verdict.figures.bytes} bytes")
        return failure

    # anyio's byte stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """The next bytes, at most `max_bytes`. Text messages go to `on_message`. Cancelling loses nothing.

        Raises EndOfStream after a verified end, or a foreign writer's clean one; BrokenResourceError for
        every other end, whose cause says what happened: a truncated stream is never an EndOfStream.
        """
        if self._left_by_us:
            raise anyio.ClosedResourceError
        try:
            while not self._rest:
                events = await self.pull()
                if not events:
                    await self._raise_end()
                self._rest = self._split(events)
        except Failure as failure:
            raise anyio.BrokenResourceError(str(failure)) from failure
        chunk, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return chunk

    async def aclose(self) -> None:
        """Drop the connection at once, cancelled or not: the engine never answers a reader's Close.

        What was not read is lost, and the writer is not told (protocol.md 4.3). Never raises.
        """
        self.leave()
        await anyio.lowlevel.checkpoint()

    def leave(self) -> None:
        """`aclose` without waiting. A writer notices when the engine next fails to send."""
        self._left_by_us = True
        if self._ws is not None:
            self._ws.socket.close()

    # inside

    def _judge(self, ws: WebSocket, events: list[Event]) -> list[Event]:
        """Give every event to the verifier, keep what is data, and stop at the end."""
        verifier = self._verifier
        data: list[Event] = []
        for are_texts, run in text_runs(events):
            if are_texts:
                texts = [bytes(payload) for _, payload, _ in run]
                kept = verifier.text_batch(texts)
                data += run if kept is texts else [(Opcode.TEXT, text, True) for text in kept]
                if self._whole is None and verifier.opened and verifier.opened.mode is Mode.RECORDS:
                    self._whole = bytearray()
                continue
            for event in run:
                opcode, payload, is_last = event
                if opcode == Opcode.BINARY:
                    if self._whole is not None:
                        whole = self._completed(self._whole, payload, is_last)
                        if whole is None:
                            continue
                        payload, event = whole, (opcode, whole, True)
                    before = verifier.finished
                    verifier.chunk(payload)
                    if not before:
                        data.append(event)
                elif opcode == Opcode.CLOSE:
                    self._end(ws, close_frame=parse_close(payload)[0] in (None, 1000))
                    return data
        if verifier.finished:
            self._end(ws, close_frame=False)
        return data

    def _completed(self, whole: bytearray, piece: Buffer, is_last: bool) -> Buffer | None:
        """The whole message that ends with this piece; None while there is more to come."""
        if is_last and not whole:
            return piece
        whole += piece
        if len(whole) > ENGINE_MESSAGE_MAX:
            raise ContentDiffers(f"a binary message longer than {ENGINE_MESSAGE_MAX} bytes")
        if not is_last:
            return None
        self._whole = bytearray()
        return whole

    def _end(self, ws: WebSocket, *, close_frame: bool, silent_for: float | None = None) -> None:
        if self._verdict is None:
            self._verdict = self._verifier.end(close_frame=close_frame, silent_for=silent_for)
        self._clean_close = close_frame
        ws.socket.close()

    def _worth_a_probe(self, verdict: Verdict) -> bool:
        """Where the engine itself may be gone, and where "nothing" may mean "expired"."""
        lost = verdict.outcome in (Outcome.LOST, Outcome.TRUNCATED) and not self._clean_close
        return lost or verdict.outcome is Outcome.EMPTY

    def _split(self, events: list[Event]) -> bytes:
        chunks: list[Buffer] = []
        for opcode, payload, _ in events:
            if opcode == Opcode.BINARY:
                chunks.append(payload)
            elif self.on_message is not None:
                self.on_message(bytes(payload).decode())
        return b"".join(chunks)

    async def _raise_end(self) -> None:
        failure = await self.failure()
        if failure is not None:
            raise failure
        raise anyio.EndOfStream

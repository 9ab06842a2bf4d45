"""The writer end of a channel, as an anyio byte stream."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import ByteSendStream

from iii_cli.client.probe import PROBE_SECONDS, EndState, probe
from iii_cli.errors import EngineUnreachable, Failure, PeerLeft, PeerMisbehaved, RefSpent, UnknownTarget
from iii_cli.limits import limit
from iii_cli.transport.sockets import ConnectionLost
from iii_cli.transport.websocket import open_websocket
from iii_cli.wire.frames import FRAME_BYTES_MAX, Opcode, close_payload
from iii_cli.wire.ref import Direction

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from anyio.abc import TaskStatus

    from iii_cli.transport.websocket import WebSocket
    from iii_cli.wire.address import Endpoint
    from iii_cli.wire.figures import Figures
    from iii_cli.wire.frames import Buffer, Event
    from iii_cli.wire.ref import ChannelRef
    from iii_cli.wire.seal import Mode
    from iii_cli.wire.sealing import Sealer

__all__ = ("ABORT_SECONDS", "ChannelWriter", "WriterStatistics")

FRAME_BYTES_MIN = 64 << 10  # what every SDK sends; smaller frames cost more than they tell
FRAME_SECONDS = limit(
    "frame", 5.0
)  # a reader waits a minute for a byte, and the engine forwards whole frames only
UNSENT_BYTES = (
    128 << 10
)  # in the system's buffer, beyond what is on its way: a beat or an abort waits behind it
LOOK_SECONDS = limit("look", 10.0)  # between looks at what the system knows of the connection
DEAD_SECONDS = limit("dead", 60.0)  # without an answer to what was sent again and again
ABORT_SECONDS = 2.0  # how long an abort is tried against a reader that does not read (design.md section 4)


class WriterStatistics(NamedTuple):
    """What a writer has handed to the engine."""

    bytes: int  # payload of binary frames
    frames: int  # binary frames
    messages: int  # text messages that are data
    unsent_bytes: int  # frames on their way into the socket


class _State(Enum):
    NEW = auto()
    OPEN = auto()
    CLOSING = auto()  # our Close is sent, its echo is awaited
    ENDED = auto()  # finished, aborted, or broken


class ChannelWriter(ByteSendStream):
    """Writes one stream into a channel. With a `sealer` the reader can tell a whole stream from a cut one.

    It connects at the first use, or at `open()`. Leaving `async with` finishes the stream; leaving it by an
    exception aborts it. Run `attend()` beside the writing where the source may be silent for long.
    """

    def __init__(self, endpoint: Endpoint, ref: ChannelRef, sealer: Sealer | None) -> None:
        self._endpoint = endpoint
        self._ref = ref.facing(Direction.WRITE)
        self._sealer = sealer
        self._state = _State.NEW
        self._ws: WebSocket | None = None
        self._opening = anyio.Lock(fast_acquire=True)
        self._goodbye = b""
        self._over = anyio.Event()  # the engine's side has ended; `_fault` says how
        self._fault: Failure | None = None
        self._attended = False
        self._last_frame = 0.0
        self._frame_bytes = FRAME_BYTES_MIN
        self._looked_at = self._unanswered = 0.0
        self._bytes = self._frames = self._messages = 0

    def __repr__(self) -> str:
        return f"<ChannelWriter {self._state.name.lower()}, {self._bytes} bytes>"

    @property
    def ref(self) -> ChannelRef:
        """The ref of this end, a secret."""
        return self._ref

    @property
    def ended(self) -> bool:
        """Was the stream finished or aborted?"""
        return self._state is _State.ENDED

    @property
    def closing(self) -> bool:
        """Is everything sent, and the engine's echo of our Close awaited?"""
        return self._state is _State.CLOSING

    @property
    def sealed(self) -> bool:
        """Does the stream carry a seal?"""
        return self._sealer is not None

    @property
    def figures(self) -> Figures | None:
        """What the seal promises so far; None without a seal."""
        return None if self._sealer is None else self._sealer.figures

    def statistics(self) -> WriterStatistics:
        """Counted since the start."""
        unsent = self._ws.unsent_bytes if self._ws else 0
        return WriterStatistics(self._bytes, self._frames, self._messages, unsent)

    async def open(self, mode: Mode | str | None = None) -> None:
        """Connect, and send the seal's open frame. Idempotent.

        `mode` is what a reader without a mode flag follows: `bytes` unless the writer was made for another.
        A stream whose text messages are its data, such as tokens, is `text`; `lines` where each is a line.

        Cancelled on the way, the end may count as taken. Raises EngineUnreachable, NotAuthorised,
        UnknownTarget (404); ClosedResourceError after the end; ValueError for an unknown mode. That the end
        was already taken shows only later, as RefSpent.
        """
        if self._state is _State.ENDED:
            raise anyio.ClosedResourceError
        async with self._opening:
            if self._ws is not None:
                return
            if mode is not None and self._sealer is not None:
                self._sealer.declare(mode)
            target = self._endpoint.address.channel_target(self._ref)
            self._ws = await open_websocket(self._endpoint, target, what="channel")
            self._ws.socket.limit_unsent(UNSENT_BYTES)
            self._state = _State.OPEN
            if self._sealer is not None:
                self._ws.post(Opcode.TEXT, self._sealer.open_frame())
        await self._flush(self._ws)

    async def push(self, data: Buffer) -> None:
        """Send `data` in binary frames of at most 1 MiB, less on a slow link; `data` may be changed then.

        Returns when the socket took it all, so a slow reader slows the caller. Cancelled, it may have sent a
        part: a stream that goes on after that is whole only if the caller knows what it gave.
        Raises RefSpent, PeerLeft, UnknownTarget, EngineUnreachable.
        """
        ws = await self._ready()
        view = memoryview(data)
        while view:
            chunk, view = view[: self._frame_bytes], view[self._frame_bytes :]
            if ws.unsent_bytes:
                await self._flush(ws)
            if self._sealer is not None:
                self._sealer.chunk(chunk)
            ws.post(Opcode.BINARY, chunk)
            self._bytes += len(chunk)
            self._frames += 1
            began = time.monotonic()
            await self._flush(ws)
            self._size_frames(ws, len(chunk), time.monotonic() - began)

    async def push_whole(self, data: bytes) -> None:
        """Send `data` as one binary frame, for readers to whom frame borders mean something.

        Raises as `push`. Cancelled before all of it went out, the rest goes out before the next thing sent.

        Frames of more than 1 MiB end a Python SDK reader, those of more than 16 MiB the connection.
        """
        ws = await self._ready()
        if ws.unsent_bytes:
            await self._flush(ws)
        if self._sealer is not None:
            self._sealer.chunk(data)
        ws.post(Opcode.BINARY, data)
        self._bytes += len(data)
        self._frames += 1
        await self._flush(ws)

    async def push_message(self, text: Buffer) -> None:
        """Send one text message, UTF-8. The engine takes at most 16 MiB. Raises as `push`."""
        ws = await self._ready()
        if ws.unsent_bytes:
            await self._flush(ws)
        if self._sealer is not None:
            self._sealer.message(bytes(text))
        ws.post(Opcode.TEXT, text)
        self._messages += 1
        await self._flush(ws)

    async def push_messages(self, texts: Sequence[bytes]) -> None:
        """Send many short text messages, with as few system calls as they need. Raises as `push`."""
        if not texts:
            return
        ws = await self._ready()
        if ws.unsent_bytes:
            await self._flush(ws)
        if self._sealer is not None:
            self._sealer.message_batch(texts)
        if len(texts) == 1:
            ws.post(Opcode.TEXT, texts[0])
        else:
            ws.post_many(Opcode.TEXT, texts)
        self._messages += len(texts)
        await self._flush(ws)

    async def finish(self) -> None:
        """End the stream: the seal's close frame, a Close, and the wait for the engine's echo of it.

        When this returns, every byte and the seal were handed to the engine; whether a reader has them, only
        a receipt can say. The wait is as long as the reader is slow. An empty stream is opened and closed
        too. Raises as `push`; cancelling leaves the stream unfinished: `abort` it.
        """
        ws = await self._ready()
        self._state = _State.CLOSING
        if self._sealer is not None:
            ws.post(Opcode.TEXT, self._sealer.close_frame())
        self._goodbye = close_payload(1000, f"end {os.urandom(8).hex()}")
        ws.post(Opcode.CLOSE, self._goodbye)
        await self._flush(ws)
        if self._attended:
            await self._over.wait()
        else:
            await self._watch(ws)
        self._let_go()
        if self._fault is not None:
            raise self._fault

    async def abort(self, code: int, reason: str) -> None:
        """End the stream as failed, and never wait longer than 2 s, cancelled or not.

        The reader of a sealed stream hears `reason`; if it does not read, the connection is dropped, which it
        sees as a truncated stream. `code` is our exit status. Does nothing to a stream that has ended, and
        never raises.
        """
        ws = self._ws
        if ws is None or self._state is _State.ENDED:
            self._state = _State.ENDED
            return
        closing = self._state is _State.CLOSING
        self._state = _State.ENDED
        with anyio.CancelScope(shield=True), anyio.move_on_after(ABORT_SECONDS):
            try:
                if self._sealer is not None and not closing:
                    ws.post(Opcode.TEXT, self._sealer.abort_frame(code, reason))
                    ws.post(Opcode.CLOSE, close_payload(1000, "aborted"))
                if not closing:
                    await ws.flush()
            except ConnectionLost:
                pass
        ws.socket.close()
        self._over.set()

    async def attend(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run beside the writing: notice at once that the other side ended, beat while the source is silent.

        Returns when the stream has ended by `finish` or `abort`. Raises what ended it otherwise, as `push`.
        """
        ws = await self._ready()
        self._attended = True
        task_status.started()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._beat)
                tasks.start_soon(self._watch_network)
                await self._watch(ws)
                tasks.cancel_scope.cancel()
        finally:
            self._attended = False
        if self._fault is not None and self._state is not _State.ENDED:
            raise self._fault

    async def cause_of(self, failure: Failure) -> Failure:
        """What is known to have led to it: here, nothing more. Never raises, cancelled or not."""
        return failure

    def beat(self) -> None:
        """Say that we are alive, if nothing was sent for BEAT_AFTER seconds. `attend` does it by itself.

        Never waits and never raises: a connection that is lost shows in the next `push`.
        """
        ws, sealer = self._ws, self._sealer
        if ws is None or sealer is None or self._state is not _State.OPEN:
            return
        now = anyio.current_time()
        if sealer.next_beat(self._last_frame) <= now:
            self._last_frame = now
            if not ws.unsent_bytes:  # else frames are on their way
                self._post_now(ws, sealer.beat_frame())

    def push_message_now(self, text: bytes) -> None:
        """Send one text message of an unsealed stream, or nothing where earlier ones are not yet sent.

        Never waits and never raises: a connection that is lost shows in the next `push`.
        """
        if self._ws is not None and self._state is _State.OPEN and not self._ws.unsent_bytes:
            self._post_now(self._ws, text)

    def _post_now(self, ws: WebSocket, text: bytes) -> None:
        ws.post(Opcode.TEXT, text)
        with suppress(ConnectionLost):
            ws.flush_now()

    def look(self) -> None:
        """Give up where the engine's system acknowledges nothing any more. `attend` does it by itself.

        That takes the same state in two looks, LOOK_SECONDS apart. Not TCP_USER_TIMEOUT, which counts a live
        peer's closed window too; and not the silence alone, as probes of such a window come up to two minutes
        apart. Never waits and never raises: `push` does.
        """
        now = anyio.current_time()
        if self._ws is None or self._over.is_set() or now - self._looked_at < LOOK_SECONDS:
            return
        silent, before = self._ws.socket.unanswered_for(), self._unanswered
        self._looked_at, self._unanswered = now, silent
        if before and silent >= DEAD_SECONDS:
            where = self._endpoint.address.url
            text = f"the network is dead: {where} has acknowledged nothing for {silent:.0f} s"
            self._settle(EngineUnreachable(text))

    # anyio's byte stream

    async def send(self, item: bytes) -> None:
        """`push` with anyio's errors: BrokenResourceError, whose cause says what happened.

        Cancelled, it may have sent a part.
        """
        try:
            await self.push(item)
        except Failure as failure:
            raise anyio.BrokenResourceError(str(failure)) from failure

    async def send_message(self, text: str) -> None:
        """`push_message` with anyio's errors. Cancelled, it may have sent the message, never a part of it."""
        try:
            await self.push_message(text.encode())
        except Failure as failure:
            raise anyio.BrokenResourceError(str(failure)) from failure

    async def aclose(self) -> None:
        """`finish` with anyio's errors, once. Cancelled before the end, it aborts the stream."""
        if self._state is _State.ENDED:
            return
        try:
            await self.finish()
        except Failure as failure:
            raise anyio.BrokenResourceError(str(failure)) from failure
        except anyio.get_cancelled_exc_class():
            await self.abort(1, "cancelled")
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.aclose()
        else:
            await self.abort(1, type(error).__name__)

    # inside

    async def _ready(self) -> WebSocket:
        if self._fault is not None:
            raise self._fault
        if self._state in (_State.CLOSING, _State.ENDED):
            raise anyio.ClosedResourceError
        if self._ws is None:
            await self.open()
        assert self._ws is not None
        return self._ws

    async def _flush(self, ws: WebSocket) -> None:
        try:
            await ws.flush()
        except ConnectionLost as lost:
            raise await self._broken(ws, lost) from None
        self._last_frame = anyio.current_time()

    async def _watch(self, ws: WebSocket) -> None:
        """Read until the engine ends its side. Nothing else ever comes on a writer's socket."""
        try:
            while not self._over.is_set():
                self._take(await ws.receive())
        except ConnectionLost as lost:
            if not self._over.is_set() and self._state is not _State.ENDED:
                await self._find_out(ws, lost)
        except PeerMisbehaved as fault:
            self._settle(fault)

    async def _watch_network(self) -> None:
        while True:
            await anyio.sleep(LOOK_SECONDS)
            self.look()

    def _take(self, events: list[Event]) -> None:
        for opcode, payload, _ in events:
            if opcode == Opcode.CLOSE:
                self._closed_by_engine(bytes(payload))

    def _closed_by_engine(self, payload: bytes) -> None:
        if self._state is _State.CLOSING and payload == self._goodbye:
            self._settle(None)
        else:
            self._settle(
                RefSpent(
                    "the writer end of this channel was already taken",
                    hint="a ref is good for one use; `iii channel create` makes new ones",
                )
            )

    async def _broken(self, ws: WebSocket, lost: ConnectionLost) -> Failure:
        """Say why a send failed: what the engine sent before, else what a probe finds."""
        if self._attended:
            with anyio.move_on_after(PROBE_SECONDS):  # the watch sees the same, and reads what came before
                await self._over.wait()
        elif self._fault is None:
            with suppress(ConnectionLost, PeerMisbehaved):
                self._take(ws.receive_now())
        return self._fault or await self._find_out(ws, lost)

    async def _find_out(self, ws: WebSocket, lost: ConnectionLost) -> Failure:
        ws.socket.close()
        fault = self._explain(await probe(self._endpoint, self._ref), lost)
        self._settle(fault)
        return self._fault or fault

    def _explain(self, state: EndState, lost: ConnectionLost) -> Failure:
        where = self._endpoint.address.url
        if state is EndState.UNREACHABLE:
            return EngineUnreachable(f"the engine at {where} was lost while writing ({lost.reason})")
        if state is EndState.GONE:
            return UnknownTarget(
                f"the channel is gone at {where}: it expired without a reader, or the engine was restarted"
            )
        return PeerLeft(f"the reader left after {self._bytes} bytes were handed to the engine")

    def _settle(self, fault: Failure | None) -> None:
        if not self._over.is_set():
            self._fault = fault
            self._over.set()
            if fault is not None and self._ws is not None:
                self._ws.socket.close()

    def _let_go(self) -> None:
        self._state = _State.ENDED
        if self._ws is not None:
            self._ws.socket.close()

    def _size_frames(self, ws: WebSocket, sent: int, seconds: float) -> None:
        """A frame takes FRAME_SECONDS at most, at the rate of the last one: no beat can pass a half-sent one.

        They begin small and double, because the first ones fill the system's buffers in no time. Where they
        reach their full size the link is fast, and the system may buffer what it likes.
        """
        fit = int(sent * FRAME_SECONDS / seconds) if seconds > 0 else FRAME_BYTES_MAX
        size = min(max(fit, FRAME_BYTES_MIN), 2 * self._frame_bytes, FRAME_BYTES_MAX)
        if (size == FRAME_BYTES_MAX) != (self._frame_bytes == FRAME_BYTES_MAX):
            ws.socket.limit_unsent(UNSENT_BYTES if size < FRAME_BYTES_MAX else 0)
        self._frame_bytes = size

    async def _beat(self) -> None:
        sealer = self._sealer
        while sealer is not None and self._state is _State.OPEN:
            await anyio.sleep_until(sealer.next_beat(self._last_frame))
            self.beat()

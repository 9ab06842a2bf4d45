"""The ends of a channel, as anyio's byte streams."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple, final

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import ByteReceiveStream, ByteSendStream
from msgspec.structs import replace

from iii_cli.errors import (
    ContentDiffers,
    EngineUnreachable,
    Failure,
    PeerLeft,
    PeerMisbehaved,
    RefSpent,
    UnknownTarget,
)
from iii_cli.limits import limit
from iii_cli.net.sockets import ConnectionLost, Silence
from iii_cli.net.websocket import open_websocket
from iii_cli.protocol.frames import (
    ENGINE_MESSAGE_MAX,
    FRAME_BYTES_MAX,
    Opcode,
    close_payload,
    parse_close,
    text_runs,
)
from iii_cli.protocol.refs import Direction
from iii_cli.protocol.seal import BEAT_AFTER, PEER_TIMEOUT, Mode
from iii_cli.protocol.verifier import Outcome, Verifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from anyio.abc import TaskStatus

    from iii_cli.net.websocket import WebSocket
    from iii_cli.protocol.frames import Buffer, Event
    from iii_cli.protocol.refs import ChannelRef, Endpoint
    from iii_cli.protocol.seal import Figures, Open, Sealer
    from iii_cli.protocol.verifier import Verdict

__all__ = (
    "ABORT_SECONDS",
    "CHANNEL_BUFFER",
    "PROBE_SECONDS",
    "READER_TABLE",
    "WRITER_TABLE",
    "ChannelReader",
    "ChannelWriter",
    "EndState",
    "ReaderState",
    "ReaderStatistics",
    "ReaderStep",
    "WriterState",
    "WriterStatistics",
    "WriterStep",
    "probe",
)


CHANNEL_BUFFER = 16  # messages that a channel holds in the engine; of our largest frame, 1 MiB, 16 MiB
PROBE_SECONDS = 3.0  # an engine that is there answers in milliseconds


class EndState(Enum):
    """What one more opening of an end found."""

    TAKEN = auto()  # it is or was in use: 101, then a Close without a code
    UNTAKEN = auto()  # nobody ever opened it; the probe has, and used it up
    GONE = auto()  # the engine does not know the channel: swept, or the engine was restarted
    UNREACHABLE = auto()  # no engine there
    UNCLEAR = auto()  # something else, such as a gateway's refusal


async def probe(endpoint: Endpoint, ref: ChannelRef, last_words: Sequence[bytes] = ()) -> EndState:
    """Open the end that `ref` names once more and say what it was. Bounded in time, never raises a Failure.

    It disturbs nothing that is in use; an end that nobody had taken is used up. Whoever reads what a writer's
    end would have written hears `last_words`.
    """
    quick = replace(endpoint, wait_engine=None, connect_timeout=PROBE_SECONDS)
    try:
        ws = await open_websocket(quick, endpoint.address.channel_target(ref), what="channel")
    except UnknownTarget:
        return EndState.GONE
    except EngineUnreachable:
        return EndState.UNREACHABLE
    except Failure:
        return EndState.UNCLEAR
    try:
        with anyio.move_on_after(PROBE_SECONDS):
            goodbye = close_payload(1000, os.urandom(8).hex())
            if ref.direction is Direction.WRITE:
                for text in last_words:
                    ws.post(Opcode.TEXT, text)
                await ws.send(Opcode.CLOSE, goodbye)
            opcode, payload, _ = (await ws.receive())[0]
            taken = opcode == Opcode.CLOSE and parse_close(payload)[0] is None
            return EndState.TAKEN if taken else EndState.UNTAKEN
    except (ConnectionLost, Failure):
        return EndState.UNCLEAR
    finally:
        ws.close()
    return EndState.UNTAKEN  # an open end on which nothing happens


class ReaderState(Enum):
    """Where a reader stands."""

    NEW = auto()  # not connected
    OPEN = auto()
    ENDED = auto()  # the stream is over; the verdict says how
    LEFT = auto()  # we dropped the connection


class ReaderStep(Enum):
    """What can happen to a reader."""

    CONNECT = auto()
    RECEIVE = auto()  # data, or a frame of the seal
    FINISH = auto()  # the stream's own last word: the seal's close or abort, or what breaks the seal
    CLOSE = auto()  # the engine's Close
    LOSE = auto()  # the connection, without a Close
    FALL_SILENT = auto()  # the writer says nothing, not even that it is there
    LEAVE = auto()


READER_TABLE: dict[tuple[ReaderState, ReaderStep], ReaderState] = {
    (ReaderState.NEW, ReaderStep.CONNECT): ReaderState.OPEN,
    (ReaderState.NEW, ReaderStep.LEAVE): ReaderState.LEFT,
    (ReaderState.OPEN, ReaderStep.RECEIVE): ReaderState.OPEN,
    (ReaderState.OPEN, ReaderStep.FINISH): ReaderState.ENDED,
    (ReaderState.OPEN, ReaderStep.CLOSE): ReaderState.ENDED,
    (ReaderState.OPEN, ReaderStep.LOSE): ReaderState.ENDED,
    (ReaderState.OPEN, ReaderStep.FALL_SILENT): ReaderState.ENDED,
    (ReaderState.OPEN, ReaderStep.LEAVE): ReaderState.LEFT,
    (ReaderState.ENDED, ReaderStep.LEAVE): ReaderState.LEFT,
    (ReaderState.LEFT, ReaderStep.LEAVE): ReaderState.LEFT,
    (ReaderState.LEFT, ReaderStep.LOSE): ReaderState.LEFT,  # dropped while somebody waited for it
}
"""A step that is not here is refused: ClosedResourceError."""


class ReaderStatistics(NamedTuple):
    """What has come out of the channel."""

    bytes: int  # payload of binary frames
    messages: int  # text messages that are data

    @property
    def progress(self) -> int:
        """Grows while anything comes."""
        return self.bytes + self.messages


@final
class ChannelReader(ByteReceiveStream):
    """Reads one stream from a channel, verifies its seal on the way, and knows how it ended.

    It connects at the first use, or at `open()`, and sends nothing, ever. It holds one receive buffer of at
    most a little over 1 MiB, and whole text messages; with `collect`, and of records anyway, whole binary
    messages too. `ref` is the ref of this end, a secret, and `endpoint` the engine that has the channel.
    `verdict` is how the stream ended, None while it has not.
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
        self.endpoint = endpoint
        self.ref = ref.facing(Direction.READ)
        self.state = ReaderState.NEW
        self.verdict: Verdict | None = None
        self.collect = False
        self.on_message = on_message
        self.on_open: Callable[[Open], Awaitable[None]] | None = None  # hears of the seal before any data
        self._verifier = verifier or Verifier()
        self._peer_timeout = peer_timeout
        self._ws: WebSocket | None = None
        self._opening = anyio.Lock(fast_acquire=True)
        self._last_step: ReaderStep | None = None  # the one that ended the stream
        self._rest = b""
        self._message = bytearray()  # of a binary message that is collected: what has come of it
        self._heard_at = 0.0  # when the last frame of a sealed stream came

    def __repr__(self) -> str:
        state = self.verdict.outcome if self.verdict else self.state
        return f"<ChannelReader {state.name.lower()}, {self._verifier.byte_count} bytes>"

    @property
    def ended(self) -> bool:
        """Is the stream over? The verdict says how."""
        return self.verdict is not None

    @property
    def opened(self) -> Open | None:
        """The seal's open frame, once it has come: mode, digest, size, receipt."""
        return self._verifier.opened

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
        async with self._opening:
            if self._ws is not None and self.state is not ReaderState.LEFT:
                return
            self._may(ReaderStep.CONNECT)
            target = self.endpoint.address.channel_target(self.ref)
            self._ws = await open_websocket(self.endpoint, target, what="channel", pieces=True)
            self._advance(ReaderStep.CONNECT)

    async def pull(self) -> list[Event]:
        """What came next: text messages whole, binary payload in pieces that are valid until the next call.

        An empty list is the end; `verdict` then says which. The seal's own frames are not among them.
        Cancelling loses nothing. Raises as `open`, and ContentDiffers for a message that is too long.
        """
        if self.state in (ReaderState.NEW, ReaderState.LEFT):
            await self.open()
        ws = self._ws
        assert ws is not None
        while self.verdict is None:
            try:
                events = await ws.receive()
            except Silence:
                self._end(ws, ReaderStep.FALL_SILENT)
                break
            except (ConnectionLost, PeerMisbehaved):
                self._end(ws, ReaderStep.LOSE)
                break
            data = self._data_of(ws, events)
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
        verdict = self.verdict
        if verdict is None:
            raise RuntimeError("the stream has not ended")
        failure = verdict.failure()
        if failure is None or not self._worth_a_probe(verdict):
            return failure
        state = await probe(self.endpoint, self.ref)
        where = self.endpoint.address.url
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
        if self.state is ReaderState.LEFT:
            raise anyio.ClosedResourceError
        try:
            while not self._rest:
                events = await self.pull()
                if not events:
                    raise await self.failure() or anyio.EndOfStream
                self._rest = self._split(events)
        except Failure as failure:
            raise anyio.BrokenResourceError(str(failure)) from failure
        chunk, self._rest = self._rest[:max_bytes], self._rest[max_bytes:]
        return chunk

    async def aclose(self) -> None:
        """Drop the connection at once, cancelled or not: the engine never answers a reader's Close.

        What was not read is lost, and the writer is not told (docs: protocol, "Ends of a channel"). Never
        raises.
        """
        self.leave()
        await anyio.lowlevel.checkpoint()

    def leave(self) -> None:
        """`aclose` without waiting. A writer notices when the engine next fails to send."""
        self._advance(ReaderStep.LEAVE)
        if self._ws is not None:
            self._ws.close()

    # inside

    def _may(self, step: ReaderStep) -> ReaderState:
        """The state after a step. Raises ClosedResourceError for one that cannot be."""
        after = READER_TABLE.get((self.state, step))
        if after is None:
            raise anyio.ClosedResourceError
        return after

    def _advance(self, step: ReaderStep) -> None:
        self.state = self._may(step)

    def _data_of(self, ws: WebSocket, events: list[Event]) -> list[Event]:
        """Give every event to the verifier, keep what is data, and stop at the end."""
        self._advance(ReaderStep.RECEIVE)
        verifier = self._verifier
        data: list[Event] = []
        for are_texts, run in text_runs(events):
            if are_texts:
                texts = [bytes(payload) for _, payload, _ in run]
                kept = verifier.text_batch(texts)
                data += run if kept is texts else [(Opcode.TEXT, text, True) for text in kept]
                if verifier.opened is not None and verifier.opened.mode in (Mode.RECORDS, Mode.JSONL):
                    self.collect = True
                continue
            for event in run:
                opcode, payload, is_last = event
                if opcode == Opcode.BINARY:
                    if self.collect and (self._message or not is_last):
                        if not self._collected(payload, is_last):
                            continue
                        payload, self._message = self._message, bytearray()
                        event = opcode, payload, True
                    before = verifier.finished
                    verifier.chunk(payload)
                    if not before:
                        data.append(event)
                elif opcode == Opcode.CLOSE:
                    clean = parse_close(payload)[0] in (None, 1000)
                    self._end(ws, ReaderStep.CLOSE if clean else ReaderStep.LOSE)
                    return data
        if verifier.finished:
            self._end(ws, ReaderStep.FINISH)
        return data

    def _collected(self, piece: Buffer, is_last: bool) -> bool:
        """Is the message whole with this piece?"""
        self._message += piece
        if len(self._message) > ENGINE_MESSAGE_MAX:
            raise ContentDiffers(f"a binary message longer than {ENGINE_MESSAGE_MAX} bytes")
        return is_last

    def _end(self, ws: WebSocket, step: ReaderStep) -> None:
        self._advance(step)
        self._last_step = step
        silent_for = self._peer_timeout if step is ReaderStep.FALL_SILENT else None
        self.verdict = self._verifier.end(close_frame=step is ReaderStep.CLOSE, silent_for=silent_for)
        ws.close()

    def _worth_a_probe(self, verdict: Verdict) -> bool:
        """Where the engine itself may be gone, and where "nothing" may mean "expired"."""
        lost = verdict.outcome in (Outcome.LOST, Outcome.TRUNCATED)
        return (lost and self._last_step is not ReaderStep.CLOSE) or verdict.outcome is Outcome.EMPTY

    def _split(self, events: list[Event]) -> bytes:
        chunks: list[Buffer] = []
        for opcode, payload, _ in events:
            if opcode == Opcode.BINARY:
                chunks.append(payload)
            elif self.on_message is not None:
                self.on_message(bytes(payload).decode())
        return b"".join(chunks)


FRAME_BYTES_MIN = 64 << 10  # what every SDK sends; smaller frames cost more than they tell
FRAME_SECONDS = limit(
    "frame", 5.0
)  # a reader waits a minute for a byte, and the engine forwards whole frames
UNSENT_BYTES = 128 << 10  # in the system's buffer, not on its way: a beat or an abort waits behind it
LOOK_SECONDS = limit("look", 10.0)  # between looks at what the system knows of the connection
DEAD_SECONDS = limit("dead", 60.0)  # without an answer to what was sent again and again
ABORT_SECONDS = 2.0  # how long an abort is tried against a reader that does not read (docs: seal, "End")


class WriterStatistics(NamedTuple):
    """What a writer has handed to the engine."""

    bytes: int  # payload of binary frames
    frames: int  # binary frames
    messages: int  # text messages that are data
    unsent_bytes: int  # frames on their way into the socket

    @property
    def progress(self) -> int:
        """Grows while the socket takes anything, even the rest of a frame."""
        return self.bytes + self.messages - self.unsent_bytes


class WriterState(Enum):
    """Where a writer stands."""

    NEW = auto()  # not connected
    OPEN = auto()
    CLOSING = auto()  # our Close is on its way, its echo is awaited
    BROKEN = auto()  # the other side ended it amid the stream; the next call raises why
    ENDED = auto()  # finished or aborted; `finish` has raised why where it failed


class WriterStep(Enum):
    """What can happen to a writer."""

    CONNECT = auto()
    SEND = auto()
    FINISH = auto()  # the last frame of the seal and our Close go out
    ECHO = auto()  # the engine repeats our Close: it has everything
    REFUSE = auto()  # the engine closes with anything else: the end was already taken
    LOSE = auto()  # the connection
    ABORT = auto()


WRITER_TABLE: dict[tuple[WriterState, WriterStep], WriterState] = {
    (WriterState.NEW, WriterStep.CONNECT): WriterState.OPEN,
    (WriterState.NEW, WriterStep.ABORT): WriterState.ENDED,
    (WriterState.OPEN, WriterStep.SEND): WriterState.OPEN,
    (WriterState.OPEN, WriterStep.FINISH): WriterState.CLOSING,
    (WriterState.OPEN, WriterStep.REFUSE): WriterState.BROKEN,
    (WriterState.OPEN, WriterStep.LOSE): WriterState.BROKEN,
    (WriterState.OPEN, WriterStep.ABORT): WriterState.ENDED,
    (WriterState.CLOSING, WriterStep.ECHO): WriterState.ENDED,
    (WriterState.CLOSING, WriterStep.REFUSE): WriterState.ENDED,
    (WriterState.CLOSING, WriterStep.LOSE): WriterState.ENDED,
    (WriterState.CLOSING, WriterStep.ABORT): WriterState.ENDED,
    (WriterState.BROKEN, WriterStep.ABORT): WriterState.ENDED,
    (WriterState.ENDED, WriterStep.ABORT): WriterState.ENDED,
}
"""A step of ours that is not here is refused: ClosedResourceError, or why the stream broke. One of the
engine's changes nothing any more.
"""


class ChannelWriter(ByteSendStream):
    """Writes one stream into a channel. With a `sealer` the reader can tell a whole stream from a cut one.

    It connects at the first use, or at `open()`. Leaving `async with` finishes the stream; leaving it by an
    exception aborts it. Run `attend()` beside the writing where the source may be silent for long. `ref` is
    the ref of this end, a secret.
    """

    def __init__(self, endpoint: Endpoint, ref: ChannelRef, sealer: Sealer | None) -> None:
        self.ref = ref.facing(Direction.WRITE)
        self.state = WriterState.NEW
        self._endpoint = endpoint
        self._sealer = sealer
        self._ws: WebSocket | None = None
        self._opening = anyio.Lock(fast_acquire=True)
        self._goodbye = b""
        self._over = anyio.Event()  # nothing more will come of the engine; `_fault` says why
        self._fault: Failure | None = None
        self._attended = False
        self._last_frame = 0.0
        self._frame_bytes = FRAME_BYTES_MIN
        self._looked_at = self._unanswered = 0.0
        self._bytes = self._frames = self._messages = 0

    def __repr__(self) -> str:
        return f"<ChannelWriter {self.state.name.lower()}, {self._bytes} bytes>"

    @property
    def ended(self) -> bool:
        """Was the stream finished or aborted?"""
        return self.state is WriterState.ENDED

    @property
    def closing(self) -> bool:
        """Is everything sent, and the engine's echo of our Close awaited?"""
        return self.state is WriterState.CLOSING

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
        async with self._opening:
            if self._ws is not None and self.state is not WriterState.ENDED:
                return
            self._may(WriterStep.CONNECT)
            if mode is not None and self._sealer is not None:
                self._sealer.declare(mode)
            target = self._endpoint.address.channel_target(self.ref)
            self._ws = await open_websocket(self._endpoint, target, what="channel")
            self._ws.socket.limit_unsent(UNSENT_BYTES)
            self._advance(WriterStep.CONNECT)
            if self._sealer is not None:
                self._ws.post(Opcode.TEXT, self._sealer.open_frame())
        await self._flush(self._ws)

    async def push(self, data: Buffer) -> None:
        """Send `data` in binary frames of at most 1 MiB, less on a slow link; `data` may be changed then.

        Returns when the socket took it all, so a slow reader slows the caller. Cancelled, it may have sent a
        part: a stream that goes on after that is whole only if the caller knows what it gave.
        Raises RefSpent, PeerLeft, UnknownTarget, EngineUnreachable.
        """
        await self._ready(WriterStep.SEND)
        view = memoryview(data)
        while view:
            chunk, view = view[: self._frame_bytes], view[self._frame_bytes :]
            began = time.monotonic()
            await self.push_whole(chunk)
            self._size_frames(len(chunk), time.monotonic() - began)

    async def push_whole(self, data: Buffer) -> None:
        """Send `data` as one binary frame, for readers to whom frame borders mean something.

        Raises as `push`. Cancelled before all of it went out, the rest goes out before the next thing sent.

        Frames of more than 1 MiB end a Python SDK reader, those of more than 16 MiB the connection.
        """
        ws = await self._turn()
        if self._sealer is not None:
            self._sealer.chunk(data)
        ws.post(Opcode.BINARY, data)
        self._bytes += len(data)
        self._frames += 1
        await self._flush(ws)

    async def push_messages(self, texts: Sequence[bytes]) -> None:
        """Send text messages, UTF-8, with as few system calls as they need. The engine takes at most 16 MiB
        in each. Raises as `push`.
        """
        if not texts:
            return
        ws = await self._turn()
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
        ws = await self._ready(WriterStep.FINISH)
        if self._sealer is not None:
            ws.post(Opcode.TEXT, self._sealer.close_frame())
        self._goodbye = close_payload(1000, f"end {os.urandom(8).hex()}")
        ws.post(Opcode.CLOSE, self._goodbye)
        await self._flush(ws)
        if self._attended:
            await self._over.wait()
        else:
            await self._watch(ws)
        ws.close()
        if self._fault is not None:
            raise self._fault

    async def abort(self, code: int, reason: str) -> None:
        """End the stream as failed, and never wait longer than 2 s, cancelled or not.

        The reader of a sealed stream hears `reason`; if it does not read, the connection is dropped, which it
        sees as a truncated stream. `code` is our exit status. Does nothing to a stream that has ended, and
        never raises.
        """
        ws, before = self._ws, self.state
        self._advance(WriterStep.ABORT)
        if ws is None or before is WriterState.ENDED:
            return
        with anyio.CancelScope(shield=True), anyio.move_on_after(ABORT_SECONDS):
            try:
                if self._sealer is not None and before is WriterState.OPEN:
                    ws.post(Opcode.TEXT, self._sealer.abort_frame(code, reason))
                    ws.post(Opcode.CLOSE, close_payload(1000, "aborted"))
                if before is WriterState.OPEN:
                    await ws.flush()
            except ConnectionLost:
                pass
        ws.close()
        self._over.set()

    async def give_up(self, code: int, reason: str) -> None:
        """`abort`, of which a reader hears even if this end was never opened: else it waits for minutes, for
        the engine's sweep. Takes 2 s more at most, cancelled or not. Never raises.
        """
        if not self.ended:
            with anyio.CancelScope(shield=True), anyio.move_on_after(ABORT_SECONDS), suppress(Failure):
                await self.open()
        await self.abort(code, reason)

    async def attend(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Run beside the writing: notice at once that the other side ended, beat while the source is silent.

        Returns when the stream has ended by `finish` or `abort`. Raises what ended it otherwise, as `push`.
        """
        self._attended = True
        task_status.started()
        try:
            ws = await self._ready(WriterStep.SEND)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._beat)
                tasks.start_soon(self._watch_network)
                await self._watch(ws)
                tasks.cancel_scope.cancel()
        finally:
            self._attended = False
        if self._fault is not None and self.state is not WriterState.ENDED:
            raise self._fault

    async def cause_of(self, failure: Failure) -> Failure:
        """What is known to have led to it: here, nothing more. Never raises, cancelled or not."""
        return failure

    def beat(self) -> None:
        """Say that we are alive, if nothing was sent for BEAT_AFTER seconds. `attend` does it by itself.

        Never waits and never raises: a connection that is lost shows in the next `push`.
        """
        ws, sealer = self._ws, self._sealer
        if ws is None or sealer is None or self.state is not WriterState.OPEN:
            return
        now = anyio.current_time()
        if self._last_frame + BEAT_AFTER <= now:
            self._last_frame = now
            if not ws.unsent_bytes:  # else frames are on their way
                self._post_now(ws, sealer.beat_frame())

    def push_message_now(self, text: bytes) -> None:
        """Send one text message of an unsealed stream, or nothing where earlier ones are not yet sent.

        Never waits and never raises: a connection that is lost shows in the next `push`.
        """
        if self._ws is not None and self.state is WriterState.OPEN and not self._ws.unsent_bytes:
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
            self._end(WriterStep.LOSE, EngineUnreachable(text))

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
        """One text message, with anyio's errors. Cancelled, it may have sent it, never a part of it."""
        try:
            await self.push_messages([text.encode()])
        except Failure as failure:
            raise anyio.BrokenResourceError(str(failure)) from failure

    async def aclose(self) -> None:
        """`finish` with anyio's errors, once. Cancelled before the end, it aborts the stream."""
        if self.state is WriterState.ENDED:
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

    def _may(self, step: WriterStep) -> WriterState:
        """The state after a step of ours. Raises why the stream broke, else ClosedResourceError."""
        after = WRITER_TABLE.get((self.state, step))
        if after is None:
            raise self._fault or anyio.ClosedResourceError
        return after

    def _advance(self, step: WriterStep) -> None:
        self.state = self._may(step)

    async def _ready(self, step: WriterStep) -> WebSocket:
        """Connect where we have not yet, and take the step."""
        if self.state is WriterState.NEW:
            await self.open()
        self._advance(step)
        assert self._ws is not None
        return self._ws

    async def _turn(self) -> WebSocket:
        """Ready to send, and nothing of a send that was cancelled is left."""
        ws = await self._ready(WriterStep.SEND)
        if ws.unsent_bytes:
            await self._flush(ws)
        return ws

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
                self._on_events(await ws.receive())
        except ConnectionLost as lost:
            if not self._over.is_set() and self.state is not WriterState.ENDED:
                await self._explain_loss(ws, lost)
        except PeerMisbehaved as fault:
            self._end(WriterStep.LOSE, fault)

    async def _watch_network(self) -> None:
        while True:
            await anyio.sleep(LOOK_SECONDS)
            self.look()

    def _on_events(self, events: list[Event]) -> None:
        for opcode, payload, _ in events:
            if opcode != Opcode.CLOSE:
                continue
            if self.state is WriterState.CLOSING and payload == self._goodbye:
                self._end(WriterStep.ECHO, None)
            else:
                text = "the writer end of this channel was already taken"
                hint = "a ref is good for one use; `iii channel create` makes new ones"
                self._end(WriterStep.REFUSE, RefSpent(text, hint=hint))

    async def _broken(self, ws: WebSocket, lost: ConnectionLost) -> Failure:
        """Say why a send failed: what the engine sent before, else what a probe finds."""
        if self._attended:
            with anyio.move_on_after(PROBE_SECONDS):  # the watch sees the same, and reads what came before
                await self._over.wait()
        elif self._fault is None:
            with suppress(ConnectionLost, PeerMisbehaved):
                self._on_events(ws.receive_now())
        return self._fault or await self._explain_loss(ws, lost)

    async def _explain_loss(self, ws: WebSocket, lost: ConnectionLost) -> Failure:
        ws.close()
        where = self._endpoint.address.url
        state = await probe(self._endpoint, self.ref)
        fault: Failure
        if state is EndState.UNREACHABLE:
            fault = EngineUnreachable(f"the engine at {where} was lost while writing ({lost.reason})")
        elif state is EndState.GONE:
            text = f"the channel is gone at {where}: it expired without a reader, or the engine was restarted"
            fault = UnknownTarget(text)
        else:
            fault = PeerLeft(f"the reader left after {self._bytes} bytes were handed to the engine")
        self._end(WriterStep.LOSE, fault)
        return self._fault or fault

    def _end(self, step: WriterStep, fault: Failure | None) -> None:
        """The other side has ended it. What comes after the first such step changes nothing."""
        after = WRITER_TABLE.get((self.state, step))
        if after is None or self._over.is_set():
            return
        self.state, self._fault = after, fault
        self._over.set()
        if fault is not None and self._ws is not None:
            self._ws.close()

    def _size_frames(self, sent: int, seconds: float) -> None:
        """A frame takes FRAME_SECONDS at most, at the rate of the last one: no beat can pass a half-sent one.

        They begin small and double, because the first ones fill the system's buffers in no time. Where they
        reach their full size the link is fast, and the system may buffer what it likes.
        """
        fit = int(sent * FRAME_SECONDS / seconds) if seconds > 0 else FRAME_BYTES_MAX
        size = min(max(fit, FRAME_BYTES_MIN), 2 * self._frame_bytes, FRAME_BYTES_MAX)
        if (size == FRAME_BYTES_MAX) != (self._frame_bytes == FRAME_BYTES_MAX):
            assert self._ws is not None
            self._ws.socket.limit_unsent(UNSENT_BYTES if size < FRAME_BYTES_MAX else 0)
        self._frame_bytes = size

    async def _beat(self) -> None:
        sealer = self._sealer
        while sealer is not None and self.state is WriterState.OPEN:
            await anyio.sleep_until(self._last_frame + BEAT_AFTER)
            self.beat()

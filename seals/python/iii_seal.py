"""Seals for iii workers written with the Python SDK: an end of stream that can be trusted.

    async for chunk in verified(data["reader"]):      # raises where a plain reader would just stop
        ...
    async with sealed(data["writer"]) as out:         # an exception in the block aborts the stream
        await out.write(chunk)

The format is docs/seal.md of the project `iii-cli`; its vectors are among the tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import re
import secrets
import struct
import time
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from xxhash import xxh3_128

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

__version__ = "0.1.0"
__all__ = (
    "SealError",
    "Sealed",
    "StreamAborted",
    "StreamBroken",
    "StreamDamaged",
    "StreamEmpty",
    "StreamTruncated",
    "StreamUnsealed",
    "Verified",
    "sealed",
    "verified",
)

BEAT_AFTER = 15.0  # seconds without another frame before the writer sends a beat
PEER_TIMEOUT = 60.0  # seconds without a byte before the reader calls a sealed writer gone
ABORT_SECONDS = 2.0  # that an abort is tried for
RECEIPT_SECONDS = 5.0  # that a receipt may take
CHUNK = 64 * 1024  # bytes of a binary frame, as the SDK writes them
CHUNK_FAST = 256 * 1024  # where one takes less than FAST_SECONDS: no beat can pass a frame
FAST_SECONDS = 1.0
FRAME_MAX = 16 << 20  # bytes; the engine drops the connection for a longer frame

Buffer: TypeAlias = bytes | bytearray | memoryview


class SealError(Exception):
    """What is wrong with a stream. `exit_status` is what `iii` ends with for the same."""

    exit_status = 1


class StreamTruncated(SealError):
    """The stream has no end: its writer died or vanished, or the connection broke."""

    exit_status = 7


class StreamAborted(SealError):
    """The writer said that it failed. `code` is its exit status, `reason` one line for people."""

    exit_status = 7

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"aborted by the writer: {reason or 'no reason given'}")
        self.code = code
        self.reason = reason


class StreamUnsealed(SealError):
    """The writer sends no seal, so the end of its stream cannot be verified."""

    exit_status = 7


class StreamDamaged(SealError):
    """What arrived is not what the writer sealed."""

    exit_status = 8


class StreamEmpty(SealError):
    """Nothing at all arrived: the ref was already used, or expired, or the writer sent nothing."""

    exit_status = 6


class StreamBroken(SealError):
    """The stream could not be handed to the engine: the end was already taken, or the reader left."""

    exit_status = 9


# The seal, without any I/O (docs: seal, "Totals" to "Verdict")

COUNT_MAX = (1 << 63) - 1
LONGEST = 16 * 1024  # bytes of a frame of the seal
MODES = ("bytes", "lines", "text", "records", "jsonl")
DIGESTS: dict[str, Callable[[], Any]] = {"xxh3_128": xxh3_128, "sha256": hashlib.sha256}
_ID = re.compile(r"[0-9a-f]{32}")
_LOOKS = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"iii"')
_CLAIM = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"iii"[ \t\r\n]*:[ \t\r\n]*\{[ \t\r\n]*"v"[ \t\r\n]*:')
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def printable(text: str) -> str:
    """`text` on one line, without control and bidirectional characters, at most 500 long."""
    text = "".join(" " if unicodedata.category(c) in _HIDDEN else c for c in text[:1000])
    return " ".join(text.split())[:500]


class Counter:
    """The totals of one stream, as it goes by."""

    def __init__(self, digest: str, *, records: bool) -> None:
        self._digest, self._messages_digest = DIGESTS[digest](), DIGESTS[digest]()
        self.bytes = self.messages = self.frames = 0
        self.records = records

    def chunk(self, data: Buffer) -> None:
        if self.records:
            self._digest.update(struct.pack(">BI", 0, len(data)))
            self.frames += 1
        self._digest.update(data)
        self.bytes += len(data)

    def message(self, text: Buffer) -> None:
        if self.records:
            self._digest.update(struct.pack(">BI", 1, len(text)))
            self._digest.update(text)
            self.frames += 1
        self._messages_digest.update(struct.pack(">QI", self.bytes, len(text)))
        self._messages_digest.update(text)
        self.messages += 1

    @property
    def totals(self) -> dict[str, Any]:
        totals = {"bytes": self.bytes, "digest": self._digest.hexdigest(), "messages": self.messages}
        totals["messages_digest"] = self._messages_digest.hexdigest()
        return totals | ({"frames": self.frames} if self.records else {})


def frame(stream_id: str, kind: str, body: dict[str, Any]) -> str:
    """The text of one frame of a seal."""
    return json.dumps({"iii": {"v": 1, "id": stream_id, kind: body}}, separators=(",", ":"))


class Malformed(ValueError):
    """The text claims to be of a seal and is not right."""


def parse(text: str, size: int) -> tuple[str, str, dict[str, Any]] | None:
    """The id, kind and body of a seal's frame. None for a message. Raises Malformed."""
    if size > LONGEST or not _LOOKS.match(text):
        return None
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        if _CLAIM.match(text):
            raise Malformed("a seal frame that is not JSON") from None
        return None
    inner = value.get("iii")
    if len(value) != 1 or not isinstance(inner, dict) or "v" not in inner or inner.keys() == {"v", "receipt"}:
        return None
    if type(inner["v"]) is not int or inner["v"] != 1:
        raise Malformed("a seal of an unknown version")
    kinds = inner.keys() - {"v", "id"}
    kind = kinds.pop() if len(kinds) == 1 else ""
    stream_id, body = inner.get("id"), inner.get(kind)
    if kind not in ("open", "beat", "close", "abort") or not isinstance(body, dict):
        raise Malformed("a seal frame of an unknown kind")
    if not isinstance(stream_id, str) or not _ID.fullmatch(stream_id) or not _right(kind, body):
        raise Malformed(f"a malformed {kind} frame")
    return stream_id, kind, body


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= COUNT_MAX


def _right(kind: str, body: dict[str, Any]) -> bool:
    if kind == "beat":
        return body.keys() == {"bytes"} and _is_count(body["bytes"])
    if kind == "abort":
        code, reason = body.get("code"), body.get("reason")
        return len(body) == 2 and type(code) is int and abs(code) <= COUNT_MAX and isinstance(reason, str)
    if kind == "close":
        counts = body.keys() - {"digest", "messages_digest"}
        return (
            counts | {"frames"} == {"bytes", "messages", "frames"}
            and all(_is_count(body[name]) for name in counts)
            and all(isinstance(body.get(name), str) for name in ("digest", "messages_digest"))
        )
    size, receipt = body.get("size"), body.get("receipt")
    return (
        body.get("mode") in MODES
        and isinstance(body.get("digest"), str)
        and body["digest"] in DIGESTS
        and (size is None or _is_count(size))
        and (receipt is None or _is_writer(receipt))
    )


def _is_writer(ref: Any) -> bool:
    return (
        isinstance(ref, dict)
        and all(isinstance(ref.get(name), str) and ref[name] for name in ("channel_id", "access_key"))
        and ref.get("direction") == "write"
    )


class Verifier:
    """Takes every frame in order and knows how the stream ended.

    `chunk` and `message` return whether the frame is data to hand on. When `finished` turns true, nothing
    more belongs to the stream. `failure` is the verdict then and at the end of the connection: None means
    verified, or foreign where that is accepted.
    """

    def __init__(self, *, accept_unsealed: bool = False, allow_empty: bool = False) -> None:
        self._accept_unsealed = accept_unsealed
        self._allow_empty = allow_empty
        self._id = ""
        self._last = ""  # message
        self._fault: SealError | None = None
        self.state: Literal["nothing", "foreign", "sealed", "closed", "failed"] = "nothing"
        self.counter = Counter("xxh3_128", records=False)
        self.opened: dict[str, Any] | None = None

    @property
    def finished(self) -> bool:
        return self.state in ("closed", "failed")

    @property
    def verified(self) -> bool:
        return self.state == "closed"

    def chunk(self, data: Buffer) -> bool:
        """A binary message."""
        if not self._data():
            return False
        self.counter.chunk(data)
        return True

    def message(self, text: str) -> bool:
        """A text message."""
        payload = text.encode("utf-8", "surrogatepass")
        try:
            found = parse(text, len(payload))
        except Malformed as problem:
            if self._id in text:  # true of every text before the open frame
                self._break(str(problem))
                return False
            found = None
        if found is not None and self._id in ("", found[0]):
            self._seal(*found)
            return False
        if not self._data():
            return False
        self.counter.message(payload)
        self._last = text
        return True

    def failure(self, *, close_frame: bool, silent_for: float | None = None) -> SealError | None:
        """The verdict. `close_frame`: did a WebSocket Close come? `silent_for`: seconds after which the
        reader gave up.
        """
        if self.state == "closed" or self._fault is not None:
            return self._fault
        amount = f"{self.counter.bytes} bytes and {self.counter.messages} messages"
        if self.state == "sealed":
            if silent_for is not None:
                return StreamTruncated(f"the writer vanished: {silent_for:g} s of silence after {amount}")
            return StreamTruncated(f"truncated: the stream ended after {amount} without its close frame")
        if (error := _sole_error(self._last)) is not None:
            return StreamAborted(1, error)
        if not close_frame:
            return StreamTruncated(f"the connection broke after {amount}")
        if self.state == "nothing" and not self._allow_empty:
            return StreamEmpty(StreamEmpty.__doc__)
        if not self._accept_unsealed:
            return StreamUnsealed("the writer sent no seal")
        return None

    def _data(self) -> bool:
        if self.state == "nothing":
            self.state = "foreign"
            if not self._accept_unsealed:
                self._fault, self.state = StreamUnsealed("the writer sent no seal"), "failed"
        elif self.state == "closed":
            self._break("the stream went on after its close frame")
        return not self.finished

    def _break(self, why: str) -> None:
        if self.state != "failed":  # nothing mends or worsens a stream that has failed
            self._fault = StreamDamaged(f"not what the writer sealed: {why}")
            self.state = "failed"

    def _seal(self, stream_id: str, kind: str, body: dict[str, Any]) -> None:
        if self.state == "nothing" and kind == "open":
            self._id, self.opened, self.state = stream_id, body, "sealed"
            self.counter = Counter(body["digest"], records=body["mode"] == "records")
        elif self.state != "sealed":
            self._break("a frame of the seal is in the wrong place")
        elif kind == "open":
            self._break("the open frame came twice")
        elif kind == "abort":
            self._fault, self.state = StreamAborted(body["code"], printable(body["reason"])), "failed"
        elif kind == "beat":
            if body["bytes"] != self.counter.bytes:
                self._break(f"the writer had sent {body['bytes']} bytes, {self.counter.bytes} arrived")
        elif body == self.counter.totals:
            self.state = "closed"
        else:
            names = [name for name, total in self.counter.totals.items() if body.get(name) != total]
            self._break(f"{', '.join(names) or 'frames'} of the close frame differ from what arrived")


def _sole_error(message: str) -> str | None:
    """The text of an object whose only key is `error`: the engine's own streams fail so."""
    try:
        value = json.loads(message) if message.lstrip().startswith("{") else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.keys() != {"error"}:
        return None
    error = value["error"]
    return printable(error if isinstance(error, str) else json.dumps(error))


# Sockets. The SDK's reader and writer ping every 20 s: the real engine never answers on a reader, and behind
# the data on a writer, and after 40 s the SDK takes the connection for dead. So the socket is opened here, as
# the SDK would but without pings, and handed over.


class _Connection(ClientConnection):
    """Knows when the last byte came: those of a frame that is not yet whole count as life."""

    heard = 0.0

    def data_received(self, data: bytes) -> None:
        self.heard = time.monotonic()
        super().data_received(data)

    def drop(self) -> None:
        self.transport.abort()


async def _open(url: str, headers: dict[str, str] | None) -> _Connection:
    connection = await connect(
        url,
        additional_headers=headers,
        create_connection=_Connection,
        compression=None,
        ping_interval=None,
        max_size=None,
        close_timeout=None,
    )
    assert isinstance(connection, _Connection)
    return connection


async def _take(end: Any) -> _Connection:
    """The socket of an SDK end, from then on the SDK's too."""
    try:
        url, headers, used = end._url, getattr(end, "_headers", None), end._ws is not None or end._connected
    except AttributeError as missing:
        raise RuntimeError(f"iii-seal {__version__} does not know this iii-sdk: {missing}") from None
    if used:
        raise RuntimeError("the end of the channel is already in use")
    end._ws = connection = await _open(url, headers)
    end._connected = True
    return connection


# Writing


class Sealed:
    """The writer of a sealed stream; see `sealed`."""

    def __init__(self, writer: Any, opening: dict[str, Any]) -> None:
        self._writer, self._opening = writer, opening
        self._id = secrets.token_hex(16)
        self._counter = Counter(opening["digest"], records=opening["mode"] == "records")
        self._lock = asyncio.Lock()  # one frame at a time: beats too
        self._sent = 0.0
        self._chunk = CHUNK
        self._ended = False

    async def write(self, data: Buffer) -> None:
        """Send bytes; in mode `records` they are one record. Raises StreamBroken."""
        view = memoryview(data).cast("B")
        if self._counter.records:
            await self._send(view)
            return
        while view:
            began = time.monotonic()
            await self._send(view[: self._chunk])
            view = view[self._chunk :]
            self._chunk = CHUNK_FAST if time.monotonic() - began < FAST_SECONDS else CHUNK

    async def send_message(self, text: str) -> None:
        """Send one text message. Raises StreamBroken."""
        await self._send(text)

    async def abort(self, code: int, reason: str) -> None:
        """End the stream as failed: its reader hears code and reason. The block can be left then."""
        if self._ended:
            return
        self._ended = True
        with suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(ABORT_SECONDS), self._lock:
                body = {"code": code, "reason": printable(reason)}
                await self._connection.send(frame(self._id, "abort", body))
                await self._connection.close(1000, "aborted")
        self._connection.drop()

    async def __aenter__(self) -> Sealed:
        self._connection = await _take(self._writer)
        await self._seal("open", self._opening)
        self._beating = asyncio.create_task(self._beat())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            if error is not None:
                status = getattr(error, "exit_status", 1)
                await self.abort(status, str(error) or type(error).__name__)
            elif not self._ended:
                await self._close()
        finally:
            self._beating.cancel()
            self._connection.drop()
            self._writer._connected = False

    async def _send(self, message: Buffer | str) -> None:
        payload = message.encode() if isinstance(message, str) else message
        if len(payload) > FRAME_MAX:
            raise ValueError("one message is at most 16 MiB")
        async with self._lock:
            if self._ended:
                raise StreamBroken("the stream has ended")
            if isinstance(message, str):
                self._counter.message(payload)
            else:
                self._counter.chunk(message)
            await self._put(message)

    async def _seal(self, kind: str, body: dict[str, Any]) -> None:
        await self._put(frame(self._id, kind, body))

    async def _put(self, message: Buffer | str) -> None:
        try:
            await self._connection.send(message)
        except ConnectionClosed as error:
            raise StreamBroken(f"the connection was lost: {error}") from None
        self._sent = time.monotonic()

    async def _beat(self) -> None:
        with suppress(StreamBroken):  # the next write finds that out, too
            while not self._ended:
                await asyncio.sleep(max(self._sent + BEAT_AFTER - time.monotonic(), 0.01))
                async with self._lock:
                    if time.monotonic() - self._sent >= BEAT_AFTER and not self._ended:
                        await self._seal("beat", {"bytes": self._counter.bytes})

    async def _close(self) -> None:
        """Waits until the engine has everything: as long as the reader needs."""
        async with self._lock:
            self._ended = True
            await self._seal("close", self._counter.totals)
            await self._connection.close(1000, "sealed")
        echo = self._connection.protocol.close_rcvd
        if echo is None or (echo.code, echo.reason) != (1000, "sealed"):
            raise StreamBroken("the engine did not take the whole stream: the writer end was already taken")


def sealed(
    writer: Any,
    mode: Literal["bytes", "lines", "text", "records", "jsonl"] = "bytes",
    *,
    digest: Literal["xxh3_128", "sha256"] = "xxh3_128",
    size: int | None = None,
) -> Sealed:
    """`async with sealed(writer) as out`: a stream whose end its reader can trust.

    `writer` is a ChannelWriter of the SDK that was not used yet. Leaving the block seals the stream and
    waits until the engine has it; an exception aborts it, and its text is the reason that the reader hears.
    `mode` says what the data is (`jsonl` is `records`, as the option of `iii`), `size` how many bytes are to
    come, for a progress bar.
    """
    mode = "records" if mode == "jsonl" else mode
    if mode not in MODES or digest not in DIGESTS:
        raise ValueError("an unknown mode or digest")
    opening: dict[str, Any] = {"mode": mode, "digest": digest}
    return Sealed(writer, opening if size is None else opening | {"size": size})


# Reading


class Verified:
    """The data of a stream; see `verified`."""

    def __init__(
        self,
        reader: Any,
        verifier: Verifier,
        on_message: Callable[[str], Any] | None,
        peer_timeout: float,
    ) -> None:
        self._reader, self._verifier = reader, verifier
        self._on_message = on_message
        self._peer_timeout = peer_timeout
        self._waiting: float | None = None  # since when we wait for a frame
        self._vanished = False
        self._receipt: _Receipt | None = None
        self._will_confirm = False
        self._failure: SealError | None = None

    @property
    def mode(self) -> str | None:
        """How the writer framed its data. None before the first frame and for a writer without a seal."""
        return None if self._verifier.opened is None else str(self._verifier.opened["mode"])

    @property
    def verified(self) -> bool:
        """Has the whole stream arrived as its writer sealed it?"""
        return self._verifier.verified

    async def read_all(self) -> bytes:
        """The whole data. Raises as iterating does."""
        return b"".join([chunk async for chunk in self])

    async def __aenter__(self) -> Verified:
        self._will_confirm = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None and self.verified:
            await self._answer(committed=True)
        elif error is None and self._failure is None:
            await self._answer(reason="stopped early")
        else:
            error = error or self._failure
            await self._answer(
                code=getattr(error, "exit_status", 1), reason=str(error) or type(error).__name__
            )

    async def __aiter__(self) -> AsyncIterator[bytes]:
        connection = await _take(self._reader)
        watching = asyncio.get_running_loop().call_later(self._peer_timeout, self._watch, connection)
        self._watching = watching
        reason = "stopped early"
        try:
            async for chunk in self._chunks(connection):
                yield chunk
            reason = "verified, not confirmed" if self.verified else "not verified"
        except SealError as error:
            self._failure = error
            reason = str(error)
            raise
        finally:
            self._watching.cancel()
            connection.drop()
            self._reader._connected = False
            if not self._will_confirm:
                status = None if self._failure is None else self._failure.exit_status
                await self._answer(code=status, reason=reason)

    async def _chunks(self, connection: _Connection) -> AsyncIterator[bytes]:
        verifier = self._verifier
        while not verifier.finished:
            self._waiting = time.monotonic()
            try:
                message = await connection.recv()
            except ConnectionClosed:
                break
            finally:
                self._waiting = None
            if isinstance(message, bytes):
                if verifier.chunk(message):
                    yield message
            elif verifier.message(message):
                await self._hand_on(message)
            elif verifier.opened is not None and self._receipt is None:
                self._hold_receipt(verifier.opened)
        failure = verifier.failure(
            close_frame=connection.protocol.close_rcvd is not None,
            silent_for=self._peer_timeout if self._vanished else None,
        )
        if failure is not None:
            raise failure

    async def _hand_on(self, message: str) -> None:
        callbacks = self._reader._message_callbacks if self._on_message is None else [self._on_message]
        for callback in callbacks:
            done = callback(message)
            if inspect.isawaitable(done):
                await done

    def _watch(self, connection: _Connection) -> None:
        """Gives up after a silence of a sealed writer, counted while we wait for it."""
        left = self._peer_timeout
        if self._waiting is not None and self._verifier.opened is not None:
            left -= time.monotonic() - max(self._waiting, connection.heard)
        if left <= 0:
            self._vanished = True
            connection.drop()
            return
        self._watching = asyncio.get_running_loop().call_later(left, self._watch, connection)

    def _hold_receipt(self, opened: dict[str, Any]) -> None:
        every = opened.get("receipt_beat")
        if not isinstance(every, int | float) or not 0 < every <= 3600:
            every = None
        if opened.get("receipt") is not None:
            self._receipt = _Receipt(self._reader, opened["receipt"])
            self._receipt.hold(every, self._verifier, self._will_confirm)

    async def _answer(self, *, committed: bool = False, code: int | None = None, reason: str = "") -> None:
        if self._receipt is None:
            return
        receipt, self._receipt = self._receipt, None
        answer: dict[str, Any] = {"committed": committed} | self._verifier.counter.totals
        if not committed:
            answer |= ({} if code is None else {"code": code}) | {"reason": printable(reason)}
        await receipt.answer(answer)


class _Receipt:
    """The writer end that the open frame named: opened when it comes, held until there is something to say.

    What goes wrong here is the writer's loss and never raises.
    """

    def __init__(self, reader: Any, ref: dict[str, str]) -> None:
        base, _, query = reader._url.partition("?")
        kept = [part for part in query.split("&") if not part.startswith(("key=", "dir="))]
        query = "&".join([*kept, f"key={quote(ref['access_key'], safe='')}", "dir=write"])
        self._url = f"{base.rpartition('/')[0]}/{quote(ref['channel_id'], safe='')}?{query}"
        self._headers = getattr(reader, "_headers", None)

    def hold(self, every: float | None, verifier: Verifier, will_confirm: bool) -> None:
        self._opening = asyncio.create_task(self._open())
        self._beating = asyncio.create_task(self._beat(every, verifier, will_confirm))

    async def answer(self, receipt: dict[str, Any]) -> None:
        """Bounded in time."""
        self._beating.cancel()
        connection = None
        with suppress(TimeoutError, ConnectionClosed):
            async with asyncio.timeout(RECEIPT_SECONDS):
                connection = await self._opening
                if connection is not None:
                    await connection.send(_receipt_frame(receipt))
                    await connection.close(1000, "receipt")
        if connection is not None:
            connection.drop()

    async def _open(self) -> _Connection | None:
        try:
            return await _open(self._url, self._headers)
        except Exception:  # whatever it is, the stream itself is read on
            return None

    async def _beat(self, every: float | None, verifier: Verifier, will_confirm: bool) -> None:
        connection = await asyncio.shield(self._opening)
        with suppress(ConnectionClosed):
            while every is not None and connection is not None:
                beat = {"bytes": verifier.counter.bytes}
                await connection.send(
                    _receipt_frame({"beat": beat if will_confirm else beat | {"will_confirm": False}})
                )
                await asyncio.sleep(every)


def _receipt_frame(receipt: dict[str, Any]) -> str:
    return json.dumps({"iii": {"v": 1, "receipt": receipt}}, separators=(",", ":"))


def verified(
    reader: Any,
    *,
    unsealed: Literal["refuse", "accept"] = "refuse",
    allow_empty: bool = False,
    on_message: Callable[[str], Any] | None = None,
    peer_timeout: float = PEER_TIMEOUT,
) -> Verified:
    """`async for chunk in verified(reader)`: the data as it comes, and an exception in place of a clean end.

    Raises StreamTruncated, StreamAborted and StreamDamaged where the stream is not whole; StreamUnsealed
    before the first chunk of a writer without a seal (`unsealed="accept"` takes it as it is), StreamEmpty for
    nothing at all. Until the loop has ended by itself nothing is verified: leaving it early verifies nothing.

    Text messages go to `on_message` (a function or a coroutine function), else to the callbacks of the
    reader's own `on_message`, in order with the data; what a callback raises ends the loop.

    `async with verified(reader) as data: async for chunk in data: …` confirms the stream to a writer that
    asked for a receipt, when the block is left without an exception. `reader` is a ChannelReader of the SDK
    that was not used yet. `peer_timeout` is in seconds.
    """
    verifier = Verifier(accept_unsealed=unsealed == "accept", allow_empty=allow_empty)
    return Verified(reader, verifier, on_message, peer_timeout)

"""WebSocket frames: encoding, masking, and a decoder that copies no payload (RFC 6455 section 5)."""

from __future__ import annotations

from enum import IntEnum
from itertools import groupby
from struct import Struct
from typing import TYPE_CHECKING, TypeAlias, final

from iii_cli.errors import PeerMisbehaved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = (
    "BUFFER_MAX",
    "ENGINE_FRAME_MAX",
    "ENGINE_MESSAGE_MAX",
    "FRAME_BYTES_MAX",
    "SMALL",
    "Buffer",
    "Event",
    "FrameDecoder",
    "Opcode",
    "close_payload",
    "encode_frame",
    "encode_frames",
    "frame_header",
    "mask",
    "parse_close",
    "prepare",
    "text_runs",
)


Buffer: TypeAlias = "bytes | bytearray | memoryview"

SMALL = 4096  # payload bytes: up to this a frame is masked alone, and taken with others

# Importing websockets costs more than everything else that a one-line command does, so small payloads are
# masked by the integers of Python until something larger comes by.
_fast: Callable[[Buffer, bytes], bytes] | None = None


def mask(data: Buffer, key: bytes) -> bytes:
    """XOR `data` with the four bytes of `key` repeated. The same call unmasks."""
    if _fast is not None:
        return _fast(data, key)
    size = len(data)
    if size > SMALL:
        return prepare()(data, key)
    if not size:
        return b""
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(pad, "little")).to_bytes(size, "little")


def prepare() -> Callable[[Buffer, bytes], bytes]:
    """Load the fast way to mask: a server masks all its life, and gains from the first frame on."""
    global _fast
    try:
        from websockets.speedups import apply_mask
    except ImportError:  # a platform without the C extension: right, only slower
        from websockets.utils import apply_mask
    _fast = apply_mask
    return apply_mask


FRAME_BYTES_MAX = 1 << 20  # what a Python SDK reader takes in one message (docs: protocol, "Sizes")
ENGINE_FRAME_MAX = 16 << 20  # the engine drops the connection above this (docs: protocol, "Listener")
ENGINE_MESSAGE_MAX = 64 << 20  # likewise, for all fragments of a message together


class Opcode(IntEnum):
    """RFC 6455 section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


_CONT, _TEXT, _BINARY, _CLOSE, _PING, _PONG = (int(opcode) for opcode in Opcode)
_KIND_OF = {0x80 | _TEXT: _TEXT, 0x80 | _BINARY: _BINARY}  # by the first byte, of unfragmented data frames


# An opcode, its payload, and whether this ends the message. Plain tuples: millions of them pass.
Event: TypeAlias = "tuple[int, Buffer, bool]"

_HEADER_8 = Struct("!BB")
_HEADER_16 = Struct("!BBH")
_HEADER_64 = Struct("!BBQ")


def frame_header(opcode: int, size: int, key: bytes | None = None, *, fin: bool = True) -> bytes:
    """The header of a frame with `size` payload bytes. With a `key` the payload must be masked by it."""
    first = (0x80 if fin else 0) | opcode
    masked = 0x80 if key is not None else 0
    if size < 126:
        head = _HEADER_8.pack(first, masked | size)
    elif size < 65536:
        head = _HEADER_16.pack(first, masked | 126, size)
    else:
        head = _HEADER_64.pack(first, masked | 127, size)
    return head if key is None else head + key


def encode_frame(opcode: int, payload: Buffer, key: bytes | None = None) -> list[Buffer]:
    """One whole frame as buffers for a gathering send. Without a `key` nothing is masked or copied."""
    return [frame_header(opcode, len(payload), key), payload if key is None else mask(payload, key)]


def encode_frames(opcode: int, payloads: Sequence[Buffer], keys: bytes | None = None) -> bytes:
    """Many small frames in one piece. `keys` holds four bytes for each payload, or is None."""
    parts: list[Buffer] = []
    if keys is None:
        for payload in payloads:
            parts += (frame_header(opcode, len(payload)), payload)
        return b"".join(parts)
    xor = _fast or mask
    for at, payload in enumerate(payloads):
        key = keys[4 * at : 4 * at + 4]
        parts += (frame_header(opcode, len(payload), key), xor(payload, key))
    return b"".join(parts)


def text_runs(events: list[Event]) -> Iterator[tuple[bool, list[Event]]]:
    """The events in order, consecutive text messages together: (are these texts, events).

    Lines come by the thousand, and looking at each alone is most of what they cost.
    """
    kinds = {opcode for opcode, _, _ in events}
    if kinds == {_TEXT}:
        yield True, events
        return
    for is_text, run in groupby(events, key=lambda event: event[0] == _TEXT):
        yield is_text, list(run)


def close_payload(code: int | None, reason: str = "") -> bytes:
    """The payload of a Close frame; empty without a code."""
    return b"" if code is None else code.to_bytes(2, "big") + reason.encode()[:123]


def parse_close(payload: Buffer) -> tuple[int | None, str]:
    """Code and reason of a Close frame. The code is None where none was sent ("1005")."""
    if not payload:
        return None, ""
    return int.from_bytes(payload[:2], "big"), bytes(payload[2:]).decode("utf-8", "replace")


WINDOW = 64 << 10  # copied at a time: slices of bytes are cheaper than those of a view


def _take_small_frames(view: memoryview, start: int, end: int, masked: bool, events: list[Event]) -> int:
    """Append what the whole, small, unfragmented data frames between `start` and `end` hold, in order.

    Says where the first frame begins that is something else: large, control, a fragment, incomplete, or
    faulty in any way. Nothing is decided about that one here.
    """
    unmask, append = _fast or mask, events.append
    flag, head = (0x80, 6) if masked else (0, 2)
    while end - start > 4:
        code = view[start + 1] & 0x7F
        if code == 127 or (code == 126 and view[start + 2] << 8 > SMALL):
            break  # before anything is copied
        data, at = bytes(view[start : min(end, start + WINDOW)]), 0
        available = len(data)
        while at + 4 <= available:
            first, size = data[at], data[at + 1] ^ flag
            body = at + head
            if size > 125:
                if size > 126:
                    break
                size = data[at + 2] << 8 | data[at + 3]
                body += 2
            stop = body + size
            if stop > available or size > SMALL or first not in _KIND_OF:
                break
            payload = data[body:stop]
            if masked:
                payload = unmask(payload, data[body - 4 : body])
            kind = _KIND_OF[first]
            if kind == _TEXT and not payload.isascii() and not _is_utf8(payload):
                break
            append((kind, payload, True))
            at = stop
        if not at:
            break
        start += at
    return start


def _is_utf8(payload: bytes | bytearray) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


BUFFER_FIRST = 16 << 10  # a connection that has been received from holds this much, others nothing
BUFFER_MAX = FRAME_BYTES_MAX + (16 << 10)  # one frame of ours whole, with its header
LARGE_FIRST = FRAME_BYTES_MAX  # a frame of ours at once, a larger one as it comes
ROOM_MIN = 8 << 10  # a receive into less than this is not worth a system call
EMPTY_FRAGMENTS_MAX = 1000  # of a message: who flushes with nothing to say does not do so a thousand times


@final
class FrameDecoder:
    """What one side of a connection receives, as events.

    `masked`: frames must be masked (we are the server) or must not be (we are the client).
    `pieces`: hand out binary payloads as they arrive, as views that are valid until the next `space()`; for
    unmasked frames only.
    `frame_max`, `message_max`: in payload bytes, for what is collected; more is a protocol error with close
    code 1009. `buffer_max`: what it may keep when nothing comes any more. `hold` is told how many bytes of
    an unfinished message there are besides, and may raise PeerMisbehaved.
    """

    def __init__(
        self,
        *,
        masked: bool,
        pieces: bool = False,
        frame_max: int = ENGINE_MESSAGE_MAX,
        message_max: int = ENGINE_MESSAGE_MAX,
        buffer_max: int = BUFFER_MAX,
        hold: Callable[[int], None] | None = None,
    ) -> None:
        self._masked = masked
        self._pieces = pieces
        self._frame_max = frame_max
        self._message_max = message_max
        self._buffer_max = buffer_max
        self._hold = hold
        self._held = 0  # what `hold` was told
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._head = 0  # bytes of the header of the frame at _start
        self._need = 0  # bytes from _start that the frame at _start has in all, once its header is known
        self._left = 0  # payload bytes still to come of a frame that is handed out in pieces
        self._final = True  # does that frame end its message
        self._opcode = 0  # of the fragmented message under way; 0: none
        self._message = bytearray()  # the fragments of it so far
        self._empty = 0  # how many of its fragments were empty
        self._error: PeerMisbehaved | None = None

    def __repr__(self) -> str:
        return f"<FrameDecoder holding {self._end - self._start} bytes{', broken' if self._error else ''}>"

    def space(self) -> memoryview:
        """Where to receive next. Views handed out by `events` are no longer valid after this."""
        if self._start == self._end:
            if self._end == len(self._buffer) < self._buffer_max:
                # The last receive filled it: a fast stream.
                self._grow(min(4 * len(self._buffer) or BUFFER_FIRST, self._buffer_max))
            self._start = self._end = 0
        wanted = self._need or min(self._left, self._buffer_max)
        room = len(self._buffer) - self._end
        if room < ROOM_MIN or self._start + wanted > len(self._buffer) <= self._buffer_max:
            self._make_room(wanted)
        end = self._end
        missing = self._start + wanted - end
        if ROOM_MIN < missing <= len(self._buffer) - end:
            return self._view[end : end + missing]
        return self._view[end:]

    def rest(self) -> None:
        """Nothing came, and it may be long until something does: keep no buffer for it, if it is empty.

        Larger buffers than the first are kept, up to `buffer_max`: they are of streams, and cost more to make
        than a wait does.
        """
        size = len(self._buffer)
        if (
            self._start == self._end
            and not self._pieces
            and (size == BUFFER_FIRST or size > self._buffer_max)
        ):
            self._grow(0)

    def release(self) -> None:
        """The connection is over: keep no buffer, however long somebody keeps this."""
        self._start = self._end
        self._grow(0)
        self._message = bytearray()

    def received(self, count: int) -> None:
        """`count` bytes were received into the last `space()`."""
        self._end += count

    def feed(self, data: Buffer) -> None:
        """Take bytes that were received elsewhere, such as those behind a handshake, before any other."""
        if len(self._buffer) - self._end < len(data) + ROOM_MIN:
            self._grow(self._end + len(data) + ROOM_MIN)
        self._buffer[self._end : self._end + len(data)] = data
        self._end += len(data)

    def events(self) -> list[Event]:
        """Everything that the bytes received so far make, in order.

        Raises PeerMisbehaved, but only after all that came before the fault has been returned.
        """
        if self._error is not None:
            raise self._error
        events: list[Event] = []
        if self._start == self._end:
            return events
        try:
            more = True
            while more:
                if not self._left and not self._opcode:
                    window = self._view, self._start, self._end
                    self._start = _take_small_frames(*window, self._masked, events)
                more = self._step(events)
            self._count_held()
        except PeerMisbehaved as error:
            self._error = error
            if not events:
                raise
        return events

    def _count_held(self) -> None:
        held = len(self._message)
        if self._need > self._buffer_max:
            held += len(self._buffer) - self._head
        if self._hold is not None and held != self._held:
            self._held = held
            self._hold(held)

    def _step(self, events: list[Event]) -> bool:
        """Take one frame, or one piece of one, off the buffer. False: more bytes are needed."""
        start, end = self._start, self._end
        if self._left:
            return self._take_piece(events)
        available = end - start
        if available < 2:
            return False
        buffer = self._buffer
        first, second = buffer[start], buffer[start + 1]
        size = second & 0x7F
        head = 2
        if size == 126:
            head = 4
            if available < 4:
                return False
            size = buffer[start + 2] << 8 | buffer[start + 3]
        elif size == 127:
            head = 10
            if available < 10:
                return False
            size = int.from_bytes(buffer[start + 2 : start + 10], "big")
        opcode = first & 0x0F
        final = first >= 0x80
        if first & 0x70 or opcode > 10 or 2 < opcode < 8 or bool(second & 0x80) is not self._masked:
            raise PeerMisbehaved("a frame with reserved bits, an unknown opcode or the wrong masking")
        if opcode >= 8 and (size > 125 or not final):
            raise PeerMisbehaved("a control frame that is fragmented or too long")
        if opcode < 8:
            if (opcode == _CONT) is not (self._opcode != 0):
                raise PeerMisbehaved("a fragment out of order")
            if self._pieces and (opcode or self._opcode) == _BINARY:
                self._start += head
                self._left, self._final = size, final
                self._opcode = 0 if final else _BINARY
                self._count_empty(size, final)
                if not size:
                    events.append((_BINARY, b"", final))
                return True
            if size > self._frame_max or len(self._message) + size > self._message_max:
                raise PeerMisbehaved("a frame or message over the limit", close_code=1009)
        if self._masked:
            head += 4
        if available < head + size:
            self._need, self._head = head + size, head
            return False
        body = start + head
        if self._masked:
            payload = mask(self._view[body : body + size], bytes(buffer[body - 4 : body]))
        else:
            payload = bytes(self._view[body : body + size])
        self._start = body + size
        self._need = 0
        self._deliver(final, opcode, payload, events)
        return True

    def _count_empty(self, size: int, final: bool) -> None:
        """One more fragment. Without end, empty ones would be received and never make a message."""
        self._empty = 0 if final else self._empty + (size == 0)
        if self._empty > EMPTY_FRAGMENTS_MAX:
            raise PeerMisbehaved("a message of empty fragments")

    def _take_piece(self, events: list[Event]) -> bool:
        start = self._start
        count = min(self._end - start, self._left)
        if not count:
            return False
        self._start = start + count
        self._left -= count
        events.append((_BINARY, self._view[start : start + count], self._final and not self._left))
        return True

    def _deliver(self, final: bool, opcode: int, payload: bytes | bytearray, events: list[Event]) -> None:
        if opcode >= 8:
            if opcode == _CLOSE:
                _check_close(payload)
            events.append((opcode, payload, True))
            return
        if not final or opcode == _CONT:
            self._opcode = self._opcode or opcode
            self._message += payload
            self._count_empty(len(payload), final)
            if not final:
                return
            opcode, payload = self._opcode, self._message
            self._message, self._opcode = bytearray(), 0
        if opcode == _TEXT:
            _check_utf8(payload)
        events.append((opcode, payload, True))

    def _make_room(self, wanted: int) -> None:
        """Grow for a frame that is known to be large, then for one that keeps filling what there is."""
        held, room = self._end - self._start, len(self._buffer)
        if wanted > self._buffer_max:
            # As its bytes come: a header that promises 16 MiB costs its sender more than 14 bytes.
            size = min(wanted, max(2 * held, LARGE_FIRST))
        elif wanted > room or held > room // 2:
            size = min(max(wanted, 2 * room), self._buffer_max)
        else:
            size = 0
        if size > room:
            self._grow(size)
        elif self._start:
            self._view[:held] = self._view[self._start : self._end]
            self._start, self._end = 0, held

    def _grow(self, size: int) -> None:
        held = self._end - self._start
        buffer = bytearray(size)
        buffer[:held] = self._view[self._start : self._end]
        self._buffer, self._view = buffer, memoryview(buffer)
        self._start, self._end = 0, held


def _check_utf8(payload: bytes | bytearray) -> None:
    if not payload.isascii() and not _is_utf8(payload):
        raise PeerMisbehaved("a text message that is not UTF-8", close_code=1007)


def _check_close(payload: bytes | bytearray) -> None:
    """RFC 6455 sections 5.5.1 and 7.4."""
    if not payload:
        return
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or code < 1000 or code in (1004, 1005, 1006) or 1015 <= code < 3000 or code > 4999:
        raise PeerMisbehaved("a Close frame with an invalid code")
    _check_utf8(payload[2:])

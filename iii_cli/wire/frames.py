"""WebSocket frames: their kinds and limits, and how they are written (RFC 6455 section 5)."""

from __future__ import annotations

from enum import IntEnum
from itertools import groupby
from struct import Struct
from typing import TYPE_CHECKING, TypeAlias

from iii_cli.wire.masking import fastest, mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = (
    "ENGINE_FRAME_MAX",
    "ENGINE_MESSAGE_MAX",
    "FRAME_BYTES_MAX",
    "Buffer",
    "Event",
    "Opcode",
    "close_payload",
    "encode_frame",
    "encode_frames",
    "frame_header",
    "parse_close",
    "text_runs",
)

Buffer: TypeAlias = "bytes | bytearray | memoryview"

FRAME_BYTES_MAX = 1 << 20  # what a Python SDK reader takes in one message (protocol.md 4.7)
ENGINE_FRAME_MAX = 16 << 20  # protocol.md 0: the engine drops the connection above this
ENGINE_MESSAGE_MAX = 64 << 20  # likewise, for all fragments of a message together


class Opcode(IntEnum):
    """RFC 6455 section 5.2."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


# An opcode, its payload, and whether this ends the message. Plain tuples: millions of them pass.
Event: TypeAlias = "tuple[int, Buffer, bool]"

_TEXT = int(Opcode.TEXT)
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
    xor = fastest()
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

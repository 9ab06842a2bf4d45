"""Many small frames at once: lines and tokens come by the million, and a call for each is what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.wire.frames import Opcode
from iii_cli.wire.masking import fastest

if TYPE_CHECKING:
    from iii_cli.wire.frames import Event

__all__ = ("SMALL", "take_small_frames")

SMALL = 4096  # payload bytes
WINDOW = 64 << 10  # copied at a time: slices of bytes are cheaper than those of a view

_TEXT, _BINARY = int(Opcode.TEXT), int(Opcode.BINARY)
_KIND_OF = {0x80 | _TEXT: _TEXT, 0x80 | _BINARY: _BINARY}  # by the first byte, of unfragmented data frames


def take_small_frames(view: memoryview, start: int, end: int, *, masked: bool, events: list[Event]) -> int:
    """Append what the whole, small, unfragmented data frames between `start` and `end` hold, in order.

    Says where the first frame begins that is something else: large, control, a fragment, incomplete, or
    faulty in any way. Nothing is decided about that one here.
    """
    while end - start > 4 and _may_be_small(view, start):
        count = _take(bytes(view[start : min(end, start + WINDOW)]), masked, events)
        if not count:
            break
        start += count
    return start


def _may_be_small(view: memoryview, at: int) -> bool:
    """Before anything is copied."""
    code = view[at + 1] & 0x7F
    return code < 126 or (code == 126 and view[at + 2] << 8 <= SMALL)


def _take(data: bytes, masked: bool, events: list[Event]) -> int:
    """Do it with all of `data`, and say how many bytes were taken."""
    unmask, append = fastest(), events.append
    flag, head = (0x80, 6) if masked else (0, 2)
    at, end = 0, len(data)
    while at + 4 <= end:
        first, size = data[at], data[at + 1] ^ flag
        body = at + head
        if size > 125:
            if size > 126:
                break
            size = data[at + 2] << 8 | data[at + 3]
            body += 2
        stop = body + size
        if stop > end or size > SMALL or first not in _KIND_OF:
            break
        payload = data[body:stop]
        if masked:
            payload = unmask(payload, data[body - 4 : body])
        kind = _KIND_OF[first]
        if kind == _TEXT and not payload.isascii() and not _is_utf8(payload):
            break
        append((kind, payload, True))
        at = stop
    return at


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True

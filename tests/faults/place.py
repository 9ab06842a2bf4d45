"""Where in a stream a misfortune strikes: a byte, found by the frames around it and not by counting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from tests.support.websocket import sizes

__all__ = ("PARTS", "Place", "PlaceFinder")

Part = Literal["header", "payload", "end"]
FrameName = Literal["open", "data", "close", "goodbye"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True, slots=True)
class Place:
    """A byte of a sealed byte stream.

    open and close are the seal's text frames, goodbye is the WebSocket Close. `nth` counts data frames, which
    are text messages in a stream of messages. `fraction` (0 to 1) says how far into the part. `end` is behind
    the frame's last byte.
    """

    frame: FrameName
    part: Part
    nth: int = 0
    fraction: float = 0.5

    def __str__(self) -> str:
        number = f"[{self.nth}]" if self.frame == "data" else ""
        return f"{self.frame}{number}.{self.part}"

    def offset(self, header: int, payload: int) -> int:
        """In a frame with so many bytes of header and payload."""
        if self.part == "header":  # inside, never before its first byte
            return 1 + int(self.fraction * (header - 1))
        if self.part == "payload":
            return header + int(self.fraction * max(payload - 1, 0))
        return header + payload


class PlaceFinder:
    """Follows the frames of one direction, and says when the place has come."""

    def __init__(self, place: Place, messages: int = 0) -> None:
        """`messages`: how many text messages the stream has between open and close."""
        self._place = place
        self._messages = messages
        self._kept = b""  # the beginning of a header
        self._skip = 0  # payload bytes still to come
        self._left: int | None = None  # bytes before the place, once its frame has begun
        self._over = False
        self._seen = {"text": 0, "binary": 0}

    def feed(self, data: bytes) -> tuple[bytes, int | None]:
        """What may pass now, and where the place is in it, once; None while it lies further on.

        The beginning of a header is kept back until the whole header is there.
        """
        if self._over:
            return data, None
        data, self._kept = self._kept + data, b""
        at = 0
        while at < len(data) and self._left is None:
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            measured = sizes(data[at : at + 14])
            if measured is None:
                self._kept = data[at:]
                return data[:at], None
            self._begin(data[at] & 0x0F, at, *measured)
            self._skip = sum(measured)
        if self._left is None:
            return data, None
        if self._left > len(data):
            self._left -= len(data)
            return data, None
        self._over = True
        return data, self._left

    def _begin(self, opcode: int, at: int, header: int, payload: int) -> None:
        """Is it the frame of the place that begins here?"""
        name, nth = self._name(opcode)
        if name == self._place.frame and nth == (self._place.nth if name == "data" else 0):
            self._left = at + self._place.offset(header, payload)

    def _name(self, opcode: int) -> tuple[str, int]:
        if opcode not in (1, 2):
            return "goodbye" if opcode == 8 else "", 0
        kind = "text" if opcode == 1 else "binary"
        nth = self._seen[kind]
        self._seen[kind] += 1
        if kind == "binary":
            return "data", nth
        if nth == 0:
            return "open", 0
        return ("data", nth - 1) if nth <= self._messages else ("close", nth - 1 - self._messages)

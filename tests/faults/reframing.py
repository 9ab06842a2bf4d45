"""Other borders: what somebody on the way may do to the frames of a stream without touching its bytes."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

from tests.support.websocket import BINARY, NO_MASK, TEXT, frame, masked, sizes

__all__ = ("REFRAMINGS", "Reframer", "Reframing")

Reframing = Literal["empty-binary", "empty-text", "join", "halve", "swap"]
REFRAMINGS: tuple[Reframing, ...] = get_args(Reframing)


class _Frame(NamedTuple):
    opcode: int
    payload: bytes
    key: bytes | None  # that it is sent with: a client's frames are masked

    def encoded(self) -> bytes:
        return frame(self.opcode, self.payload, self.key)


class Reframer:
    """Takes the bytes behind a border of frames, and gives them back with other borders, once.

    empty-binary, empty-text: a frame without a payload is put in. join: the next two frames are one. halve:
    the next frame is two. swap: it is text where it was binary, or the other way round.
    """

    def __init__(self, act: Reframing) -> None:
        self._act = act
        self._wanted = 2 if act == "join" else 1
        self._kept = b""
        self._over = False

    def feed(self, data: bytes) -> bytes:
        """What may pass now. The frames that it is about are kept back until they are whole."""
        if self._over:
            return data
        self._kept += data
        frames, at = self._frames()
        if len(frames) < self._wanted:
            return b""
        self._over = True
        rest, self._kept = self._kept[at:], b""
        return b"".join(each.encoded() for each in self._changed(frames)) + rest

    def rest(self) -> bytes:
        """What is still kept back when no more comes."""
        kept, self._kept = self._kept, b""
        return kept

    def _frames(self) -> tuple[list[_Frame], int]:
        """The whole frames that are wanted, as far as they are there, and where they end."""
        frames: list[_Frame] = []
        at = 0
        while len(frames) < self._wanted:
            head = self._kept[at : at + 14]
            measured = sizes(head)
            if measured is None or len(self._kept) < at + sum(measured):
                break
            begin, end = at + measured[0], at + sum(measured)
            key = self._kept[begin - 4 : begin] if head[1] & 0x80 else None
            payload = masked(self._kept[begin:end], key)
            frames.append(_Frame(head[0] & 0x0F, payload, NO_MASK if key is not None else None))
            at = end
        return frames, at

    def _changed(self, frames: list[_Frame]) -> list[_Frame]:
        first, payload = frames[0], frames[0].payload
        match self._act:
            case "empty-binary":
                return [first._replace(opcode=BINARY, payload=b""), first]
            case "empty-text":
                return [first._replace(opcode=TEXT, payload=b""), first]
            case "join":
                return [first._replace(payload=payload + frames[1].payload)]
            case "halve":
                half = len(payload) // 2
                return [first._replace(payload=payload[:half]), first._replace(payload=payload[half:])]
            case "swap":
                return [first._replace(opcode=TEXT if first.opcode == BINARY else BINARY)]

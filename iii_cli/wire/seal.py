"""The frames of a seal as values (design.md section 4): open, beat, close, abort.

A seal frame is a text frame with a JSON object whose only key is `iii`. Which of the frames of a stream are
of its seal is for the reader to say (`iii_cli.wire.verdict`): the id decides.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from typing import Any, TypeAlias

from iii_cli.limits import limit
from iii_cli.wire.figures import DIGESTS, Figures, MalformedFigures, is_count
from iii_cli.wire.ref import ChannelRef, Direction, MalformedRef
from iii_cli.wire.value import Value

__all__ = (
    "BEAT_AFTER",
    "PEER_TIMEOUT",
    "RECEIPT_BEAT",
    "RECEIPT_TIMEOUT",
    "VERSION",
    "Abort",
    "Beat",
    "Close",
    "MalformedSeal",
    "Mode",
    "Open",
    "SealBody",
    "SealFrame",
    "decode",
    "encode",
    "looks_sealed",
)

VERSION = 1
BEAT_AFTER = limit("beat", 15.0)  # seconds without another frame before the writer sends a beat
PEER_TIMEOUT = limit("silence", 60.0)  # seconds without a byte before the reader calls the writer gone
RECEIPT_BEAT = limit("receipt_beat", 15.0)  # seconds between two words of a reader that owes a receipt
RECEIPT_BEAT_MAX = 3600.0  # seconds that a writer can mean
RECEIPT_TIMEOUT = limit("receipt", 60.0)  # seconds from our close, or the reader's last word, to the receipt

_LONGEST = 16 * 1024  # bytes; ours are below 2 KiB, and nothing longer is worth parsing
_ID = re.compile(r"[0-9a-f]{32}")
_CLAIM = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"iii"[ \t\r\n]*:[ \t\r\n]*\{[ \t\r\n]*"v"[ \t\r\n]*:')

looks_sealed = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"iii"').match
"""A fast look at a payload: None means that `decode` would say None. Otherwise ask `decode`."""


class Mode(StrEnum):
    """How the writer framed its data, so that a reader without a mode flag can follow."""

    BYTES = "bytes"
    LINES = "lines"
    TEXT = "text"
    RECORDS = "records"  # --jsonl: each frame is a record, and its borders are data
    JSONL = "jsonl"  # what earlier versions wrote for --jsonl: read by their rule, never written


class MalformedSeal(ValueError):
    """The frame claims to be of a seal and is not a right one."""


class Open(Value):
    """The first frame. `size` is a hint in bytes; `receipt` is the writer end of the receipt channel, on
    which the reader is asked for a word every `receipt_beat` seconds.
    """

    mode: Mode = Mode.BYTES
    digest: str = "xxh3_128"
    size: int | None = None
    receipt: ChannelRef | None = None
    receipt_beat: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Holds the receipt's access key: for the wire only."""
        value: dict[str, Any] = {"mode": self.mode.value, "digest": self.digest}
        if self.size is not None:
            value["size"] = self.size
        if self.receipt is not None:
            value["receipt"] = self.receipt.to_json()
        if self.receipt_beat is not None:
            value["receipt_beat"] = self.receipt_beat
        return value

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Open:
        """Unknown keys are hints of a later writer and are ignored. Raises MalformedSeal."""
        mode, digest, size = value.get("mode"), value.get("digest"), value.get("size")
        if not isinstance(mode, str) or mode not in set(Mode):
            raise MalformedSeal("the open frame names a mode that this version does not know")
        if not isinstance(digest, str) or digest not in DIGESTS:
            raise MalformedSeal("the open frame names a digest that this version does not know")
        if size is not None and not is_count(size):
            raise MalformedSeal("the open frame's size is not a count of bytes")
        beat = value.get("receipt_beat")
        if not isinstance(beat, (int, float)) or not 0 < beat <= RECEIPT_BEAT_MAX:
            beat = None
        return cls(Mode(mode), digest, size, _receipt_of(value.get("receipt")), beat)


class Beat(Value):
    """The writer lives, and has sent so many payload bytes so far."""

    bytes: int

    def to_json(self) -> dict[str, Any]:
        return {"bytes": self.bytes}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Beat:
        """Raises MalformedSeal."""
        if value.keys() != {"bytes"} or not is_count(value["bytes"]):
            raise MalformedSeal("a malformed beat frame")
        return cls(value["bytes"])


class Close(Value):
    """The writer meant to end here, and this is what it sent."""

    figures: Figures

    def to_json(self) -> dict[str, Any]:
        return self.figures.to_json()

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Close:
        """Raises MalformedSeal."""
        if value.keys() - {"frames"} != {"bytes", "digest", "messages", "messages_digest"}:
            raise MalformedSeal("a malformed close frame")
        try:
            return cls(Figures.from_json(value))
        except MalformedFigures as error:
            raise MalformedSeal(f"a malformed close frame: {error}") from None


class Abort(Value):
    """The writer failed. `code` is its exit status; `reason` is text of a stranger until made printable."""

    code: int
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, "reason": self.reason}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Abort:
        """Raises MalformedSeal."""
        code, reason = value.get("code"), value.get("reason")
        if value.keys() != {"code", "reason"} or type(code) is not int or not isinstance(reason, str):
            raise MalformedSeal("a malformed abort frame")
        if not is_count(abs(code)):
            raise MalformedSeal("a malformed abort frame: code is no exit status")
        return cls(code, reason)


SealBody: TypeAlias = "Open | Beat | Close | Abort"
_BODIES: dict[str, type[Open] | type[Beat] | type[Close] | type[Abort]] = {
    "open": Open,
    "beat": Beat,
    "close": Close,
    "abort": Abort,
}


class SealFrame(Value):
    """One frame of the seal whose stream has this id (32 lower-case hex digits)."""

    stream_id: str
    body: SealBody


def encode(frame: SealFrame) -> bytes:
    """The payload of the text frame. An open frame may hold the key of the receipt channel.

    Raises ValueError for an id that is none.
    """
    if not _ID.fullmatch(frame.stream_id):
        raise ValueError("the id of a stream is 32 lower-case hex digits")
    kind = type(frame.body).__name__.lower()
    body = {"v": VERSION, "id": frame.stream_id, kind: frame.body.to_json()}
    return json.dumps({"iii": body}, separators=(",", ":")).encode()


def decode(payload: bytes) -> SealFrame | None:
    """Read a text frame. None when it does not even claim to be of a seal: then it is a message.

    Raises MalformedSeal when it claims to (the only key `iii`, an object with `v` inside) and is not a right
    one. The error never repeats what was read, it may hold a key.
    """
    if len(payload) > _LONGEST or not looks_sealed(payload):
        return None
    try:
        value = json.loads(payload.decode(), object_pairs_hook=_without_twins)
    except (ValueError, RecursionError):
        if _CLAIM.match(payload):
            raise MalformedSeal("a seal frame that is not JSON") from None
        return None
    inner = value.get("iii")
    if len(value) != 1 or not isinstance(inner, dict) or "v" not in inner:
        return None
    if inner.keys() == {"v", "receipt"}:
        return None  # the one message of a receipt channel, which has no seal
    return _decode_inner(inner)


def _decode_inner(inner: dict[str, Any]) -> SealFrame:
    if type(inner["v"]) is not int or inner["v"] != VERSION:
        raise MalformedSeal("a seal of a version that this one does not know")
    kinds = inner.keys() - {"v", "id"}
    kind = kinds.pop() if len(kinds) == 1 else None
    stream_id, body = inner.get("id"), inner.get(kind or "")
    if kind not in _BODIES or not isinstance(body, dict):
        raise MalformedSeal("a seal frame of an unknown kind")
    if not isinstance(stream_id, str) or not _ID.fullmatch(stream_id):
        raise MalformedSeal("a seal frame without the id of its stream")
    return SealFrame(stream_id, _BODIES[kind].from_json(body))


def _receipt_of(value: Any) -> ChannelRef | None:
    if value is None:
        return None
    try:
        ref = ChannelRef.from_json(value)
    except MalformedRef:
        raise MalformedSeal("the open frame's receipt is not a ref") from None
    if ref.direction is not Direction.WRITE:
        raise MalformedSeal("the open frame's receipt is not the writer end of a channel")
    return ref


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers of the same key twice may see two different things."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key came twice")
    return value

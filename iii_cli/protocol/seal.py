"""The seal: frames around a stream that tell a whole one from a cut one."""

from __future__ import annotations

import json
import re
import struct
import unicodedata
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard

from msgspec import Struct
from msgspec.structs import replace

from iii_cli.errors import ContentDiffers, NotConfirmed
from iii_cli.limits import limit
from iii_cli.protocol.refs import ChannelRef, Direction, MalformedRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.errors import Failure
    from iii_cli.protocol.frames import Buffer

__all__ = (
    "BEAT_AFTER",
    "DIGESTS",
    "PEER_TIMEOUT",
    "RECEIPT_BEAT",
    "RECEIPT_TIMEOUT",
    "STDOUT",
    "STOPPED_EARLY",
    "VERSION",
    "Abort",
    "Beat",
    "Close",
    "Counter",
    "Digest",
    "Figures",
    "MalformedFigures",
    "MalformedSeal",
    "Mode",
    "Open",
    "Receipt",
    "ReceiptBeat",
    "SealBody",
    "SealFrame",
    "Sealer",
    "decode",
    "encode",
    "is_count",
    "looks_sealed",
    "new_digest",
    "printable",
    "read_receipt",
    "receipt_beat_frame",
    "receipt_frame",
)


# control, format (the bidirectional ones are among them), lone surrogates, private use, line ends
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def printable(text: str, limit: int = 500) -> str:
    """`text` on one line without control, bidirectional or other invisible characters, at most `limit` long.

    What is taken away leaves a space, so words do not run together. Longer text ends with an ellipsis.
    """
    if len(text) > 2 * limit:
        text = text[: 2 * limit]  # a bound on the work below
    clean = "".join(" " if unicodedata.category(c) in _HIDDEN else c for c in text)
    words = " ".join(clean.split())
    return words if len(words) <= limit else f"{words[: limit - 1]}…"


DIGESTS = ("xxh3_128", "sha256")
COUNT_END = 1 << 63  # above what a file offset can hold

_HEAD = struct.Struct(">QI")  # of a message: the byte offset at which it came, its length
_RECORD = struct.Struct(">BI")  # of a frame in mode `records`: its kind and its length
BINARY, TEXT = 0, 1  # kinds
_SMALL = 4096  # up to here one copy is cheaper than a second call


class Digest(Protocol):
    """What hashlib and xxhash have in common."""

    def update(self, data: Buffer, /) -> None: ...

    def hexdigest(self) -> str: ...


def new_digest(name: str) -> Digest:
    """A fresh digest. Raises ValueError for a name that is not in DIGESTS."""
    if name == "xxh3_128":
        from xxhash import xxh3_128

        return xxh3_128()
    if name == "sha256":
        from hashlib import sha256

        return sha256()
    raise ValueError(f"unknown digest {name!r}; known are {', '.join(DIGESTS)}")


def is_count(value: Any) -> TypeGuard[int]:
    """Can a peer have meant that many of something? JSON has integers of thousands of digits."""
    return type(value) is int and 0 <= value < COUNT_END  # type(): true is not a count


class MalformedFigures(ValueError):
    """The object does not hold the figures."""


class Figures(Struct, frozen=True):
    """What went through a stream: payload bytes and text messages, counted and digested (lower-case hex).

    `frames` is there in mode `records` only, where `digest` covers every frame with its kind and length.
    """

    bytes: int
    digest: str
    messages: int
    messages_digest: str
    frames: int | None = None

    def to_json(self) -> dict[str, int | str]:
        """As the close frame and the receipt carry them."""
        figures: dict[str, int | str] = {
            "bytes": self.bytes,
            "digest": self.digest,
            "messages": self.messages,
            "messages_digest": self.messages_digest,
        }
        return figures if self.frames is None else figures | {"frames": self.frames}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Figures:
        """Read the keys of a close frame or a receipt. Raises MalformedFigures."""
        count, messages = value.get("bytes"), value.get("messages")
        digest, messages_digest = value.get("digest"), value.get("messages_digest")
        if not is_count(count) or not is_count(messages):
            raise MalformedFigures("bytes and messages must be counts")
        if not isinstance(digest, str) or not isinstance(messages_digest, str):
            raise MalformedFigures("digest and messages_digest must be strings")
        frames = value.get("frames")
        if frames is not None and not is_count(frames):
            raise MalformedFigures("frames must be a count")
        return cls(count, digest, messages, messages_digest, frames)

    def difference(self, promised: Figures) -> str | None:
        """Which figure differs from the promised ones, for people. None when all are right."""
        if self.bytes != promised.bytes:
            return f"{promised.bytes} bytes were promised, {self.bytes} arrived"
        if self.frames != promised.frames:
            return f"{promised.frames} frames were promised, {self.frames} arrived"
        if self.digest != promised.digest:
            what = f"{self.bytes} bytes" if self.frames is None else f"{self.frames} frames"
            return f"the digest of the {what} differs"
        if self.messages != promised.messages:
            return f"{promised.messages} messages were promised, {self.messages} arrived"
        if self.messages_digest != promised.messages_digest:
            return f"the digest of the {self.messages} messages differs"
        return None


class Counter:
    """Counts the figures of one stream as it goes by. Keeps none of the data."""

    __slots__ = ("_digest", "_messages_digest", "bytes", "frames", "messages")

    def __init__(self, digest: str = "xxh3_128", *, records: bool = False) -> None:
        """`records`: the borders of frames are data (docs: seal, "Records")."""
        self._digest = new_digest(digest)
        self._messages_digest = new_digest(digest)
        self.bytes = 0
        self.messages = 0
        self.frames: int | None = 0 if records else None

    def chunk(self, data: Buffer) -> None:
        """Binary payload, whatever the frames; a whole frame of records. A memoryview is of single bytes."""
        if self.frames is not None:
            self._digest.update(_RECORD.pack(BINARY, len(data)))
            self.frames += 1
        self._digest.update(data)
        self.bytes += len(data)

    def message(self, text: bytes) -> None:
        """One text message at the present byte offset."""
        if self.frames is not None:
            self._digest.update(_RECORD.pack(TEXT, len(text)))
            self._digest.update(text)
            self.frames += 1
        head = _HEAD.pack(self.bytes, len(text))
        if len(text) <= _SMALL:
            self._messages_digest.update(head + text)
        else:
            self._messages_digest.update(head)
            self._messages_digest.update(text)
        self.messages += 1

    def message_batch(self, texts: Sequence[bytes]) -> None:
        """Text messages, all at the present byte offset. The same as `message` for each; copies them once."""
        if len(texts) == 1 or self.frames is not None:
            for text in texts:
                self.message(text)
            return
        pack, offset = _HEAD.pack, self.bytes
        heads = [pack(offset, len(text)) for text in texts]
        self._messages_digest.update(b"".join(chain.from_iterable(zip(heads, texts, strict=True))))
        self.messages += len(texts)

    @property
    def figures(self) -> Figures:
        """As they are now."""
        digest, messages_digest = self._digest.hexdigest(), self._messages_digest.hexdigest()
        return Figures(self.bytes, digest, self.messages, messages_digest, self.frames)


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


class Open(Struct, frozen=True):
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


class Beat(Struct, frozen=True):
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


class Close(Struct, frozen=True):
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


class Abort(Struct, frozen=True):
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


class SealFrame(Struct, frozen=True):
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


class Sealer:
    """Counts what a writer sends and makes the payloads of its seal frames.

    The open frame goes first, then everything sent is accounted for with `chunk` and `message`, then one of
    close and abort goes last. Account for what the frames will carry before or after sending it, but always
    before the next `beat_frame` or `close_frame`.
    """

    def __init__(
        self,
        stream_id: str,
        *,
        mode: Mode | str = Mode.BYTES,
        digest: str = "xxh3_128",
        size: int | None = None,
        receipt: ChannelRef | None = None,
        receipt_beat: float | None = None,
    ) -> None:
        """`stream_id` is 128 random bits as 32 lower-case hex digits, `size` a hint in bytes.

        Raises ValueError for an id, mode or digest that a reader would refuse, and for the old mode `jsonl`.
        """
        self.stream_id = stream_id
        self.opening = Open(Mode.BYTES, digest, size, receipt, receipt_beat)
        self.declare(mode)
        self._ended = False
        self._encode(self.opening)  # refuse a bad id here and not at the first frame

    def declare(self, mode: Mode | str) -> None:
        """Say how the data is framed, before the open frame is taken. Raises ValueError for a mode that
        nobody writes.
        """
        mode = Mode(mode)
        if mode is Mode.JSONL:
            raise ValueError("the mode jsonl is read and never written; `records` is its successor")
        self.opening = replace(self.opening, mode=mode)
        self._counter = Counter(self.opening.digest, records=mode is Mode.RECORDS)

    def chunk(self, data: Buffer) -> None:
        """Account for binary payload."""
        self._counter.chunk(data)

    def message(self, text: bytes) -> None:
        """Account for one text message, sent at the present byte offset."""
        self._counter.message(text)

    def message_batch(self, texts: Sequence[bytes]) -> None:
        """Account for text messages that are sent with no binary frame between them. Copies them once."""
        self._counter.message_batch(texts)

    @property
    def figures(self) -> Figures:
        """What was accounted for until now."""
        return self._counter.figures

    def open_frame(self) -> bytes:
        """The first frame. May hold the key of the receipt channel: for the wire only."""
        return self._encode(self.opening)

    def beat_frame(self) -> bytes:
        """Due when nothing was sent for BEAT_AFTER seconds."""
        return self._encode(Beat(self._counter.bytes))

    def close_frame(self) -> bytes:
        """The last frame of a stream that is whole. RuntimeError after another last frame."""
        return self._last(Close(self.figures))

    def abort_frame(self, code: int, reason: str) -> bytes:
        """The last frame of a stream that failed; `code` is our exit status.

        The reason is cut and stripped for printing. RuntimeError after another last frame.
        """
        return self._last(Abort(code, printable(reason)))

    @staticmethod
    def next_beat(last_frame: float) -> float:
        """When a beat is due, on the clock on which the last frame was sent (seconds)."""
        return last_frame + BEAT_AFTER

    def _last(self, body: SealBody) -> bytes:
        if self._ended:
            raise RuntimeError("the seal has ended already")
        self._ended = True
        return self._encode(body)

    def _encode(self, body: SealBody) -> bytes:
        return encode(SealFrame(self.stream_id, body))


STOPPED_EARLY = "stopped early"  # the reason of a reader whose consumer wanted no more, and that did not look
STDOUT = "stdout"  # the reason of a reader whose output is a pipe: it cannot know what became of the data


class Receipt(Struct, frozen=True):
    """`committed`: the data is on the reader's disk, or its consumer ended with 0. Else code and reason."""

    committed: bool
    figures: Figures
    code: int | None = None
    reason: str | None = None

    def failure(self, promised: Figures) -> Failure | None:
        """What a writer that promised these figures must raise: ContentDiffers, NotConfirmed or nothing.

        A reader that failed says so with the figures it got to, so they are compared only where it had
        everything: when it committed, or when only its output is a pipe.
        """
        if self.committed or self.reason == STDOUT:
            difference = self.figures.difference(promised)
            if difference is not None:
                return ContentDiffers(f"the reader's receipt does not match: {difference}")
        if self.committed:
            return None
        if self.reason == STDOUT:
            return NotConfirmed("the reader wrote to a pipe and cannot say that the data was kept")
        reason = printable(self.reason or "") or "no reason given"
        said = self.code is None or reason.endswith(f" exited {self.code}")
        code = "" if said else f" (exit {self.code})"
        return NotConfirmed(f"the reader did not keep the data: {reason}{code}")


class ReceiptBeat(Struct, frozen=True):
    """The reader lives, and has so many payload bytes. `will_confirm` False: it cannot, whatever comes."""

    bytes: int
    will_confirm: bool = True


def receipt_beat_frame(count: int, *, will_confirm: bool) -> bytes:
    """The payload of a text frame on the receipt channel, for writers that asked for it."""
    beat: dict[str, Any] = {"bytes": count} if will_confirm else {"bytes": count, "will_confirm": False}
    return _frame({"beat": beat})


def receipt_frame(
    committed: bool, figures: Figures, code: int | None = None, reason: str | None = None
) -> bytes:
    """The payload of the one text frame on the receipt channel. The reason is cut and made printable.

    `code` and `reason` belong to `committed=False`. Raises ValueError when they come with True.
    """
    if committed and (code is not None or reason is not None):
        raise ValueError("a committed receipt has no code and no reason")
    receipt: dict[str, Any] = {"committed": committed, **figures.to_json()}
    if code is not None:
        receipt["code"] = code
    if reason is not None:
        receipt["reason"] = printable(reason)
    return _frame(receipt)


def _frame(receipt: dict[str, Any]) -> bytes:
    return json.dumps({"iii": {"v": VERSION, "receipt": receipt}}, separators=(",", ":")).encode()


def read_receipt(payload: bytes) -> Receipt | ReceiptBeat:
    """Read a text frame of the receipt channel. Raises ContentDiffers when it is not a receipt of ours."""
    try:
        value = json.loads(payload.decode())
        inner = value["iii"]
        receipt = inner["receipt"]
        if len(value) != 1 or inner.keys() != {"v", "receipt"} or type(inner["v"]) is not int:
            raise ValueError
        if inner["v"] != VERSION:
            raise ValueError
        if receipt.keys() == {"beat"}:
            return _beat_of(receipt["beat"])
        if type(receipt["committed"]) is not bool:
            raise ValueError
        figures, code = Figures.from_json(receipt), receipt.get("code")
        if type(code) is int and not is_count(abs(code)):
            raise ValueError
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ContentDiffers("the reader's receipt is malformed") from None
    reason = receipt.get("reason")
    return Receipt(
        receipt["committed"],
        figures,
        code if type(code) is int else None,
        reason if isinstance(reason, str) else None,
    )


def _beat_of(beat: dict[str, Any]) -> ReceiptBeat:
    if type(beat["bytes"]) is not int or beat["bytes"] < 0:
        raise ValueError
    return ReceiptBeat(beat["bytes"], beat.get("will_confirm") is not False)

"""The seal: frames around a stream that tell a whole one from a cut one (docs: seal, "Frames")."""

from __future__ import annotations

import re
import struct
import unicodedata
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeAlias, TypeGuard

from msgspec import Meta, Struct, ValidationError, convert
from msgspec.json import Encoder
from msgspec.structs import replace

from iii_cli.errors import ContentDiffers, NotConfirmed
from iii_cli.limits import limit
from iii_cli.protocol.json_text import MalformedJson, parse_once
from iii_cli.protocol.refs import ChannelRef, Direction, MalformedRef, Secret

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
    "Abort",
    "Beat",
    "Close",
    "Counter",
    "Digest",
    "Figures",
    "MalformedSeal",
    "Mode",
    "Open",
    "Receipt",
    "ReceiptBeat",
    "SealBody",
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

VERSION = 1
DIGESTS = ("xxh3_128", "sha256")
COUNT_MAX = (1 << 63) - 1  # what a file offset can hold

BEAT_AFTER = limit("beat", 15.0)  # seconds without another frame before the writer sends a beat
PEER_TIMEOUT = limit("silence", 60.0)  # seconds without a byte before the reader calls the writer gone
RECEIPT_BEAT = limit("receipt_beat", 15.0)  # seconds between two words of a reader that owes a receipt
RECEIPT_BEAT_MAX = 3600.0  # seconds that a writer can mean
RECEIPT_TIMEOUT = limit("receipt", 60.0)  # seconds from our close, or the reader's last word, to the receipt

STOPPED_EARLY = "stopped early"  # the reason of a reader whose consumer wanted no more, and that did not look
STDOUT = "stdout"  # the reason of a reader whose output is a pipe: it cannot know what became of the data

# control, format (the bidirectional ones are among them), lone surrogates, private use, line ends
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def printable(text: str, limit: int = 500) -> str:
    """`text` on one line without control, bidirectional or other invisible characters, at most `limit` long.

    What is taken away leaves a space, so words do not run together. Longer text ends with an ellipsis.
    """
    text = text[: 2 * limit]  # a bound on the work below
    clean = "".join(" " if unicodedata.category(c) in _HIDDEN else c for c in text)
    words = " ".join(clean.split())
    return words if len(words) <= limit else f"{words[: limit - 1]}…"


def is_count(value: Any) -> TypeGuard[int]:
    """Can a peer have meant that many of something? JSON has integers of thousands of digits."""
    return type(value) is int and 0 <= value <= COUNT_MAX  # type(): true is not a count


# Totals (docs: seal, "Totals" and "Records")

Count: TypeAlias = Annotated[int, Meta(ge=0, le=COUNT_MAX)]

_HEAD = struct.Struct(">QI")  # of a message: the byte offset at which it came, its length
_RECORD = struct.Struct(">BI")  # of a frame in mode `records`: its kind and its length
_BINARY, _TEXT = 0, 1  # kinds
_SMALL = 4096  # bytes up to which one copy is cheaper than a second call


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


class Figures(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What went through a stream: payload bytes and text messages, counted and digested (lower-case hex).

    `frames` is there in mode `records` only, where `digest` covers every frame with its kind and length.
    """

    bytes: Count
    digest: str
    messages: Count
    messages_digest: str
    frames: Count | None = None

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
        """`records`: the borders of frames are data."""
        self._digest = new_digest(digest)
        self._messages_digest = new_digest(digest)
        self.bytes = 0
        self.messages = 0
        self.frames: int | None = 0 if records else None

    def chunk(self, data: Buffer) -> None:
        """Binary payload, whatever the frames; a whole frame of records. A memoryview is of single bytes."""
        if self.frames is not None:
            self._digest.update(_RECORD.pack(_BINARY, len(data)))
            self.frames += 1
        self._digest.update(data)
        self.bytes += len(data)

    def message(self, text: bytes) -> None:
        """One text message at the present byte offset."""
        if self.frames is not None:
            self._digest.update(_RECORD.pack(_TEXT, len(text)))
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


# Frames

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
    """The frame claims to be of a seal and is not a right one. Repeats nothing of it: it may hold a key."""


class Open(Struct, frozen=True, omit_defaults=True):
    """The first frame. `size` is a hint in bytes; `receipt` is the writer end of the receipt channel, on
    which the reader is asked for a word every `receipt_beat` seconds.
    """

    mode: Mode
    digest: str
    size: Count | None = None
    receipt: ChannelRef | None = None
    receipt_beat: float | None = None


class Beat(Struct, frozen=True, forbid_unknown_fields=True):
    """The writer lives, and has sent so many payload bytes so far."""

    bytes: Count


class Close(Struct, frozen=True):
    """The writer meant to end here, and this is what it sent."""

    figures: Figures


class Abort(Struct, frozen=True, forbid_unknown_fields=True):
    """The writer failed. `code` is its exit status; `reason` is text of a stranger until made printable."""

    code: Annotated[int, Meta(ge=-COUNT_MAX, le=COUNT_MAX)]
    reason: str


SealBody: TypeAlias = Open | Beat | Close | Abort


_KINDS: dict[str, type[SealBody]] = {"open": Open, "beat": Beat, "close": Close, "abort": Abort}


def encode(stream_id: str, body: SealBody) -> bytes:
    """The payload of the text frame of that stream. An open frame may hold the key of a receipt channel: for
    the wire only. Raises ValueError for an id that is none.
    """
    if not _ID.fullmatch(stream_id):
        raise ValueError("the id of a stream is 32 lower-case hex digits")
    kind = type(body).__name__.lower()
    return _written({"id": stream_id, kind: body.figures if isinstance(body, Close) else body})


def decode(payload: bytes) -> tuple[str, SealBody] | None:
    """Read a text frame: the id of its stream, and what it says. None when it does not even claim to be of a
    seal: then it is a message.

    Raises MalformedSeal when it claims to (the only key `iii`, an object with `v` inside) and is not a right
    one.
    """
    if len(payload) > _LONGEST or not looks_sealed(payload):
        return None
    try:
        value = parse_once(payload)
    except MalformedJson:
        if _CLAIM.match(payload):
            raise MalformedSeal("a seal frame that is not JSON") from None
        return None
    inner = value.get("iii")
    if len(value) != 1 or not isinstance(inner, dict) or "v" not in inner:
        return None
    if inner.keys() == {"v", "receipt"}:
        return None  # the one message of a receipt channel, which has no seal
    if type(inner["v"]) is not int or inner["v"] != VERSION:
        raise MalformedSeal("a seal of a version that this one does not know")
    kinds = inner.keys() - {"v", "id"}
    kind = kinds.pop() if len(kinds) == 1 else ""
    stream_id, body = inner.get("id"), inner.get(kind)
    if kind not in _KINDS or not isinstance(body, dict):
        raise MalformedSeal("a seal frame of an unknown kind")
    if not isinstance(stream_id, str) or not _ID.fullmatch(stream_id):
        raise MalformedSeal("a seal frame without the id of its stream")
    try:
        if kind == "open":
            return stream_id, _read_open(body)
        if body.get("frames", 0) is None:  # it may be absent, which is not the same
            raise MalformedSeal("a malformed close frame: its totals are none")
        return stream_id, convert({"figures": body} if kind == "close" else body, _KINDS[kind])
    except (ValidationError, UnicodeError):  # half of a surrogate pair is no key
        why = ": its totals are none" if kind == "close" else ""
        raise MalformedSeal(f"a malformed {kind} frame{why}") from None


def _read_open(body: dict[str, Any]) -> Open:
    """Raises MalformedSeal. Keys that are not known, and a beat that nobody can mean, are ignored."""
    if body.get("mode") not in list(Mode):
        raise MalformedSeal("the open frame names a mode that this version does not know")
    if body.get("digest") not in DIGESTS:
        raise MalformedSeal("the open frame names a digest that this version does not know")
    size, receipt, beat = body.get("size"), None, body.get("receipt_beat")
    if size is not None and not is_count(size):
        raise MalformedSeal("the open frame's size is not a count of bytes")
    if body.get("receipt") is not None:
        try:
            receipt = ChannelRef.from_json(body["receipt"])
        except MalformedRef:
            raise MalformedSeal("the open frame's receipt is not a ref") from None
        if receipt.direction is not Direction.WRITE:
            raise MalformedSeal("the open frame's receipt is not the writer end of a channel")
    if not isinstance(beat, int | float) or not 0 < beat <= RECEIPT_BEAT_MAX:
        beat = None
    return Open(Mode(body["mode"]), body["digest"], size, receipt, beat)


def _written(inner: dict[str, Any]) -> bytes:
    return _ENCODER.encode({"iii": {"v": VERSION} | inner})


_ENCODER = Encoder(enc_hook=Secret.reveal)  # the key of a receipt channel


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
        self.open_frame()  # refuse a bad id here and not at the first frame

    def declare(self, mode: Mode | str) -> None:
        """Say how the data is framed, before the open frame is taken. Raises ValueError for a mode that
        nobody writes.
        """
        mode = Mode(mode)
        if mode is Mode.JSONL:
            raise ValueError("the mode jsonl is read and never written; `records` is its successor")
        self.opening = replace(self.opening, mode=mode)
        self._counter = Counter(self.opening.digest, records=mode is Mode.RECORDS)
        self.chunk = self._counter.chunk
        self.message = self._counter.message
        self.message_batch = self._counter.message_batch

    @property
    def figures(self) -> Figures:
        """What was accounted for until now."""
        return self._counter.figures

    def open_frame(self) -> bytes:
        """The first frame. May hold the key of the receipt channel: for the wire only."""
        return encode(self.stream_id, self.opening)

    def beat_frame(self) -> bytes:
        """Due when nothing was sent for BEAT_AFTER seconds."""
        return encode(self.stream_id, Beat(self._counter.bytes))

    def close_frame(self) -> bytes:
        """The last frame of a stream that is whole. RuntimeError after another last frame."""
        return self._last(Close(self.figures))

    def abort_frame(self, code: int, reason: str) -> bytes:
        """The last frame of a stream that failed; `code` is our exit status.

        The reason is cut and stripped for printing. RuntimeError after another last frame.
        """
        return self._last(Abort(code, printable(reason)))

    def _last(self, body: SealBody) -> bytes:
        if self._ended:
            raise RuntimeError("the seal has ended already")
        self._ended = True
        return encode(self.stream_id, body)


# Receipts (docs: seal, "Receipts")


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


class ReceiptBeat(Struct, frozen=True, omit_defaults=True):
    """The reader lives, and has so many payload bytes. `will_confirm` False: it cannot, whatever comes."""

    bytes: Count
    will_confirm: bool = True


def receipt_beat_frame(count: int, *, will_confirm: bool) -> bytes:
    """The payload of a text frame on the receipt channel, for writers that asked for it."""
    return _written({"receipt": {"beat": ReceiptBeat(count, will_confirm)}})


def receipt_frame(
    committed: bool, figures: Figures, code: int | None = None, reason: str | None = None
) -> bytes:
    """The payload of the one text frame on the receipt channel. The reason is cut and made printable.

    `code` and `reason` belong to `committed=False`. Raises ValueError when they come with True.
    """
    if committed and (code is not None or reason is not None):
        raise ValueError("a committed receipt has no code and no reason")
    receipt = {
        "committed": committed,
        **{name: getattr(figures, name) for name in figures.__struct_fields__},
        "code": code,
        "reason": None if reason is None else printable(reason),
    }
    receipt = {name: value for name, value in receipt.items() if value is not None}
    return _written({"receipt": receipt})


def read_receipt(payload: bytes) -> Receipt | ReceiptBeat:
    """Read a text frame of the receipt channel. Raises ContentDiffers when it is not a receipt of ours."""
    try:
        receipt = convert(parse_once(payload), _Outer).iii.receipt
        if receipt.keys() == {"beat"}:
            beat = receipt["beat"]
            return ReceiptBeat(convert(beat["bytes"], Count), beat.get("will_confirm") is not False)
        committed = convert(receipt.get("committed"), bool)
        figures = convert({name: receipt.get(name) for name in Figures.__struct_fields__}, Figures)
        code, reason = receipt.get("code"), receipt.get("reason")
        if type(code) is int and not is_count(abs(code)):
            raise ValidationError
    except (MalformedJson, ValidationError, UnicodeError, LookupError, TypeError, AttributeError):
        raise ContentDiffers("the reader's receipt is malformed") from None
    said = code if type(code) is int else None, reason if isinstance(reason, str) else None
    return Receipt(committed, figures, *said)


class _Inner(Struct, forbid_unknown_fields=True):
    v: Literal[1]
    receipt: dict[str, Any]


class _Outer(Struct, forbid_unknown_fields=True):
    iii: _Inner

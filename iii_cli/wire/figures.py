"""The figures that a seal promises, and how they are counted (design.md section 4)."""

from __future__ import annotations

from itertools import chain
from struct import Struct
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.wire.frames import Buffer

__all__ = ("DIGESTS", "Counter", "Digest", "Figures", "MalformedFigures", "is_count", "new_digest")

DIGESTS = ("xxh3_128", "sha256")
COUNT_END = 1 << 63  # above what a file offset can hold

_HEAD = Struct(">QI")  # of a message: the byte offset at which it came, its length
_RECORD = Struct(">BI")  # of a frame in mode `records`: its kind and its length
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


class Figures(Value):
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

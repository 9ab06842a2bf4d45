"""The four figures that a seal promises, and how they are counted (design.md section 4)."""

from __future__ import annotations

from itertools import chain
from struct import Struct
from typing import TYPE_CHECKING, Any, Protocol

from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.wire.frames import Buffer

__all__ = ("DIGESTS", "Counter", "Digest", "Figures", "MalformedFigures", "new_digest")

DIGESTS = ("xxh3_128", "sha256")

_HEAD = Struct(">QI")  # of a message: the byte offset at which it came, its length
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


class MalformedFigures(ValueError):
    """The object does not hold four figures."""


class Figures(Value):
    """What went through a stream: payload bytes and text messages, counted and digested (lower-case hex)."""

    bytes: int
    digest: str
    messages: int
    messages_digest: str

    def to_json(self) -> dict[str, int | str]:
        """As the close frame and the receipt carry them."""
        return {
            "bytes": self.bytes,
            "digest": self.digest,
            "messages": self.messages,
            "messages_digest": self.messages_digest,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Figures:
        """Read the four keys of a close frame or a receipt. Raises MalformedFigures."""
        count, messages = value.get("bytes"), value.get("messages")
        digest, messages_digest = value.get("digest"), value.get("messages_digest")
        # type() and not isinstance(): true is not a count
        if type(count) is not int or type(messages) is not int or count < 0 or messages < 0:
            raise MalformedFigures("bytes and messages must be counts")
        if not isinstance(digest, str) or not isinstance(messages_digest, str):
            raise MalformedFigures("digest and messages_digest must be strings")
        return cls(count, digest, messages, messages_digest)

    def difference(self, promised: Figures) -> str | None:
        """Which figure differs from the promised ones, for people. None when all four are right."""
        if self.bytes != promised.bytes:
            return f"{promised.bytes} bytes were promised, {self.bytes} arrived"
        if self.digest != promised.digest:
            return f"the digest of the {self.bytes} bytes differs"
        if self.messages != promised.messages:
            return f"{promised.messages} messages were promised, {self.messages} arrived"
        if self.messages_digest != promised.messages_digest:
            return f"the digest of the {self.messages} messages differs"
        return None


class Counter:
    """Counts the figures of one stream as it goes by. Keeps none of the data."""

    __slots__ = ("_digest", "_messages_digest", "bytes", "messages")

    def __init__(self, digest: str = "xxh3_128") -> None:
        self._digest = new_digest(digest)
        self._messages_digest = new_digest(digest)
        self.bytes = 0
        self.messages = 0

    def chunk(self, data: Buffer) -> None:
        """Binary payload, whatever the frames. A memoryview must be of single bytes."""
        self._digest.update(data)
        self.bytes += len(data)

    def message(self, text: bytes) -> None:
        """One text message at the present byte offset."""
        head = _HEAD.pack(self.bytes, len(text))
        if len(text) <= _SMALL:
            self._messages_digest.update(head + text)
        else:
            self._messages_digest.update(head)
            self._messages_digest.update(text)
        self.messages += 1

    def message_batch(self, texts: Sequence[bytes]) -> None:
        """Text messages, all at the present byte offset. The same as `message` for each; copies them once."""
        if len(texts) == 1:
            self.message(texts[0])
            return
        pack, offset = _HEAD.pack, self.bytes
        heads = [pack(offset, len(text)) for text in texts]
        self._messages_digest.update(b"".join(chain.from_iterable(zip(heads, texts, strict=True))))
        self.messages += len(texts)

    @property
    def figures(self) -> Figures:
        """As they are now."""
        return Figures(self.bytes, self._digest.hexdigest(), self.messages, self._messages_digest.hexdigest())

"""Refs: the small serializable names of a channel's two ends (protocol.md 5.1, design.md section 3)."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from iii_cli.wire.secret import Secret
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("ChannelRef", "Direction", "MalformedRef", "is_ref")

SCHEME = "iii"


class MalformedRef(ValueError):
    """The text or object is not a ref. The message never repeats what was given: it may hold a key."""


class Direction(Enum):
    """Which end a ref names. The engine does not check it: either ref opens either end."""

    READ = "read"
    WRITE = "write"

    @property
    def noun(self) -> str:
        """`reader` or `writer`."""
        return "reader" if self is Direction.READ else "writer"


class ChannelRef(Value):
    """One end of one channel. Whoever holds it may open either end, without further authentication."""

    channel_id: str
    access_key: Secret
    direction: Direction

    def to_json(self) -> dict[str, str]:
        """The three string keys by which every SDK knows a ref."""
        return {
            "channel_id": self.channel_id,
            "access_key": self.access_key.reveal(),
            "direction": self.direction.value,
        }

    def to_token(self) -> str:
        """`iii:read:ID:KEY`, one shell-safe word."""
        channel_id, key = (quote(part, safe="") for part in (self.channel_id, self.access_key.reveal()))
        return f"{SCHEME}:{self.direction.value}:{channel_id}:{key}"

    def facing(self, direction: Direction) -> ChannelRef:
        """The same channel's end in `direction`."""
        return ChannelRef(self.channel_id, self.access_key, direction)

    @classmethod
    def from_json(cls, value: Any) -> ChannelRef:
        """Read the object that SDKs print and pass. Extra keys are allowed.

        Raises MalformedRef.
        """
        if not is_ref(value):
            raise MalformedRef("a ref needs the strings channel_id, access_key and direction")
        fields: Mapping[str, str] = value
        if not fields["channel_id"] or not fields["access_key"]:
            raise MalformedRef("the ref's channel_id or access_key is empty")
        if any("\ud800" <= c <= "\udfff" for c in fields["channel_id"] + fields["access_key"]):
            raise MalformedRef("the ref is not text: it holds half a surrogate pair")  # no URL can carry it
        try:
            direction = Direction(fields["direction"])
        except ValueError:
            raise MalformedRef("a ref's direction is `read` or `write`") from None
        return cls(fields["channel_id"], Secret(fields["access_key"]), direction)

    @classmethod
    def from_token(cls, text: str) -> ChannelRef:
        """Read `iii:read:ID:KEY` or `iii:write:ID:KEY`.

        Raises MalformedRef.
        """
        parts = text.split(":")
        if len(parts) != 4 or parts[0] != SCHEME:
            raise MalformedRef("a token has the form iii:read:ID:KEY or iii:write:ID:KEY")
        _, direction, channel_id, key = parts
        return cls.from_json(
            {"channel_id": unquote(channel_id), "access_key": unquote(key), "direction": direction}
        )


def is_ref(value: Any) -> bool:
    """Would an SDK take `value` for a ref? All three keys, all strings (protocol.md 5.1)."""
    return isinstance(value, dict) and all(
        isinstance(value.get(key), str) for key in ("channel_id", "access_key", "direction")
    )

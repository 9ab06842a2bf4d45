"""Refs as every SDK prints them, their tokens, and the request targets of the ends that they name."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

__all__ = ("Ref", "address_of", "ref_of", "target_of", "token_of")

Ref = dict[str, str]  # channel_id, access_key, direction


def target_of(ref: Ref, direction: str | None = None) -> str:
    """Where that end, or the channel's end in `direction`, is opened. Holds the key."""
    key = quote(ref["access_key"], safe="")
    return f"/ws/channels/{ref['channel_id']}?key={key}&dir={direction or ref['direction']}"


def token_of(ref: Ref) -> str:
    """`iii:read:ID:KEY`."""
    channel_id, key = (quote(ref[name], safe="") for name in ("channel_id", "access_key"))
    return f"iii:{ref['direction']}:{channel_id}:{key}"


def ref_of(token: str) -> Ref:
    """The ref that a token stands for."""
    scheme, direction, channel_id, key = token.split(":")
    assert scheme == "iii"
    return {"channel_id": unquote(channel_id), "access_key": unquote(key), "direction": direction}


def address_of(url: str) -> tuple[str, int]:
    """Host and port of an engine's URL."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port

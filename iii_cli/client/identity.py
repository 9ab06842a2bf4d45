"""Random names: invocation ids and the ids of sealed streams."""

from __future__ import annotations

import os

__all__ = ("new_stream_id", "new_uuid")


def new_uuid() -> str:
    """A random UUID (RFC 9562, version 4), without the price of importing `uuid`."""
    value = int.from_bytes(os.urandom(16), "big")
    value = value & ~(0xF << 76) | 4 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_stream_id() -> str:
    """128 random bits in hex, the name of one sealed stream (design.md section 4)."""
    return os.urandom(16).hex()

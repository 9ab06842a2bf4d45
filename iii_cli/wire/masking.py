"""Masking of frame payloads (RFC 6455 section 5.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("fastest", "mask", "prepare")

# Importing websockets costs more than everything else that a one-line command does, so payloads up to this
# size are masked by the integers of Python until something larger comes by.
SMALL = 4096

_fast: Callable[[bytes | bytearray | memoryview, bytes], bytes] | None = None


def mask(data: bytes | bytearray | memoryview, key: bytes) -> bytes:
    """XOR `data` with the four bytes of `key` repeated. The same call unmasks."""
    if _fast is not None:
        return _fast(data, key)
    size = len(data)
    if size > SMALL:
        return _load()(data, key)
    if not size:
        return b""
    pad = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(pad, "little")).to_bytes(size, "little")


def fastest() -> Callable[[bytes | bytearray | memoryview, bytes], bytes]:
    """What `mask` would call now: for loops over many small payloads, where a call more is felt."""
    return _fast or mask


def prepare() -> None:
    """Load the fast way now: a server masks all its life, and gains from the first frame on."""
    _load()


def _load() -> Callable[[bytes | bytearray | memoryview, bytes], bytes]:
    global _fast
    try:
        from websockets.speedups import apply_mask
    except ImportError:  # a platform without the C extension: right, only slower
        from websockets.utils import apply_mask
    _fast = apply_mask
    return apply_mask

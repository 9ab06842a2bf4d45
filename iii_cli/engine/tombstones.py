"""What is left of channels that are over: enough to tell a late end from a wrong one (protocol.md 4.5)."""

from __future__ import annotations

import hmac
from hashlib import sha256
from itertools import count

__all__ = ("Tombstones",)

HASH_BYTES = 16
RECORD_BYTES = 2 * HASH_BYTES


class Tombstones:
    """The last channels that ended, 32 bytes each.

    They lie in one piece of memory: a few strings for each, made while thousands of connections came and
    went, would keep the whole crowd's memory from going back to the system.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._records = bytearray()
        self._added = count()  # not an int: each would be made anew, amid the crowd (tidy.py)

    def __len__(self) -> int:
        return len(self._records) // RECORD_BYTES

    def add(self, channel_id: str, key: str) -> None:
        """Remember a channel, in the place of the oldest where there is no room."""
        if self._limit:
            at = next(self._added) % self._limit * RECORD_BYTES
            self._records[at : at + RECORD_BYTES] = _hash(channel_id) + _hash(key)

    def holds(self, channel_id: str, key: str) -> bool:
        """Was there such a channel, with that key?"""
        wanted, at = _hash(channel_id), -1
        while (at := self._records.find(wanted, at + 1)) >= 0:
            if at % RECORD_BYTES == 0:
                found = self._records[at + HASH_BYTES : at + RECORD_BYTES]
                return hmac.compare_digest(bytes(found), _hash(key))
        return False


def _hash(text: str) -> bytes:
    return sha256(text.encode()).digest()[:HASH_BYTES]

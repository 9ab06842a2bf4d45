"""Keys and tokens that must never be shown, and refs that hold one. No engine knows them."""

from __future__ import annotations

__all__ = ("JSON", "KEY", "READER", "TOKEN", "WRITER")

KEY = "k3y-that-nobody-may-see"
TOKEN = "t0ken-that-nobody-may-see"
READER, WRITER = f"iii:read:aaaa:{KEY}", f"iii:write:aaaa:{KEY}"
JSON = f'{{"channel_id":"aaaa","access_key":"{KEY}","direction":"read"}}'

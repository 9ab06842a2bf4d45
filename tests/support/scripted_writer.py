"""A writer that sent three bytes and a beat, and now nothing."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from websockets.sync.client import connect

from tests.support.refs import ref_of, target_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("silent_writer",)


@contextmanager
def silent_writer(url: str, token: str) -> Iterator[None]:
    """The stream is open, three bytes old and, by its beat, alive until the block ends."""
    with connect(f"{url}{target_of(ref_of(token))}", compression=None) as connection:
        seal = {"v": 1, "id": "00" * 16}
        opened = {"mode": "bytes", "digest": "xxh3_128"}
        connection.send(json.dumps({"iii": seal | {"open": opened}}, separators=(",", ":")))
        connection.send(b"abc")
        connection.send(json.dumps({"iii": seal | {"beat": {"bytes": 3}}}, separators=(",", ":")))
        yield

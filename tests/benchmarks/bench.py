"""What every measurement is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from tests.benchmarks.peers import Peer
    from tests.benchmarks.processes import Engine

__all__ = ("FULL", "TINY", "Bench", "Sizes")


class Sizes(NamedTuple):
    """How much of everything."""

    file: int  # bytes
    lines: int
    messages: int
    trips: int
    relay: int  # bytes
    starts: int
    scale: tuple[int, ...]  # bytes of each stream
    pairs: int
    pair: int  # bytes of each of them
    channels: int
    slow: int  # bytes a second that the slow reader takes


FULL = Sizes(
    file=1 << 30,
    lines=2_000_000,
    messages=500_000,
    trips=3000,
    relay=2 << 30,
    starts=15,
    scale=(1 << 20, 16 << 20, 256 << 20, 1 << 30, 10 << 30),
    pairs=100,
    pair=32 << 20,
    channels=500,
    slow=100 << 20,
)
TINY = Sizes(
    file=1 << 20,
    lines=1000,
    messages=100,
    trips=20,
    relay=1 << 20,
    starts=1,
    scale=(1 << 20, 2 << 20),
    pairs=2,
    pair=1 << 20,
    channels=4,
    slow=10 << 20,
)


class Bench(NamedTuple):
    """One run."""

    engine: Engine
    peers: list[Peer]  # ours first
    folder: Path  # for the files that are sent
    rounds: int
    sizes: Sizes

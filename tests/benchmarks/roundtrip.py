"""Lines of 64 bytes, one at a time, there and back through two channels: four processes and the engine."""

from __future__ import annotations

import os
import time
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

from tests.benchmarks.processes import reap, start, wait_connected
from tests.support.calls import create_channel

if TYPE_CHECKING:
    from tests.benchmarks.peers import Peer
    from tests.benchmarks.processes import Engine
    from tests.support.refs import Ref

__all__ = ("round_trips",)

LINE = b"x" * 63 + b"\n"
WARM_UP = 200


def round_trips(peer: Peer, engine: Engine, count: int) -> list[float]:
    """Seconds of each round trip, sorted."""
    there, back = create_channel(engine.url), create_channel(engine.url)

    def one(direction: str, ref: Ref, stdin: int | None, stdout: int | None) -> Popen[bytes]:
        return start(peer.command(direction, engine.url, ref, True), stdin, stdout, **peer.environ)

    last = one("read", back[1], None, PIPE)
    middle = one("read", there[1], None, PIPE)
    assert middle.stdout is not None
    between = one("write", back[0], middle.stdout.fileno(), None)
    middle.stdout.close()
    first = one("write", there[0], PIPE, None)
    wait_connected(last, middle)  # an SDK's writer connects at its first line
    assert first.stdin is not None
    assert last.stdout is not None
    times = [_one(first.stdin.fileno(), last.stdout.fileno()) for _ in range(WARM_UP + count)]
    first.stdin.close()
    while os.read(last.stdout.fileno(), 1 << 16):
        pass
    last.stdout.close()
    for process in (last, middle, between, first):
        reap(process)
    return sorted(times[WARM_UP:])


def _one(out: int, back: int) -> float:
    begun = time.perf_counter()
    os.write(out, LINE)
    got = b""
    while not got.endswith(b"\n"):
        piece = os.read(back, 1 << 16)
        if not piece:
            raise RuntimeError("the line did not come back")
        got += piece
    taken = time.perf_counter() - begun
    if got != LINE:
        raise RuntimeError(f"another line came back: {got!r}")
    return taken

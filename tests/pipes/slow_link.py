"""A TCP proxy that lets only so many bytes a second pass, and buffers next to nothing: a slow link."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("slow_link",)

BUFFER = 4 << 10  # of the proxy's sockets: what waits, waits at the sender


@contextmanager
def slow_link(
    url: str, up: float | None, down: float | None, passed: list[int] | None = None
) -> Iterator[str]:
    """The URL of an engine behind the link; bytes a second in each direction, None: as many as come.

    `passed` counts those of both directions.
    """
    counts = [0, 0] if passed is None else passed
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    parts = urlsplit(url)
    over = threading.Event()
    sockets = [listener]
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            engine = socket.socket()
            engine.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            engine.connect((parts.hostname, parts.port))
            sockets.extend((client, engine))
            ways = ((client, engine, up, 0), (engine, client, down, 1))
            for source, target, rate, way in ways:
                target.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
                threads.append(
                    threading.Thread(
                        target=_pass, args=(source, target, rate, over, counts, way), daemon=True
                    )
                )
                threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in (accepting, *threads):
            thread.join(5)
        for each in sockets:
            each.close()


def _pass(
    source: socket.socket,
    target: socket.socket,
    rate: float | None,
    over: threading.Event,
    counts: list[int],
    way: int,
) -> None:
    began, passed = time.monotonic(), 0
    with suppress(OSError):
        while not over.is_set() and (data := source.recv(1024 if rate else 1 << 16)):
            target.sendall(data)
            passed += len(data)
            counts[way] += len(data)  # connections take turns, as far as a count needs it
            if rate:
                late = began + passed / rate - time.monotonic()
                if late > 0:
                    time.sleep(late)
                elif late < -1:  # it was idle: no credit for that
                    began, passed = time.monotonic(), 0
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)

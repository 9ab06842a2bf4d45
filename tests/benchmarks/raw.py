"""The cheapest writer and reader there can be, so that what stands between them is measured: an engine,
socat.

    python -m tests.benchmarks.raw write|read HOST PORT BYTES [TARGET]

With a TARGET the connection is upgraded and carries frames of 1 MiB, all the same and masked beforehand;
without one it carries the same bytes as plain TCP. `listen` in its place waits to be connected to. What is
read is thrown away unseen. The reader says when it is there, and then how many seconds it took.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from contextlib import suppress

from tests.support.websocket import BINARY, CLOSE, connect, frame

CHUNK = 1 << 20


def dial(host: str, port: int, target: str | None) -> socket.socket:
    """A blocking socket, upgraded where there is a target."""
    if target == "listen":
        with socket.create_server((host, port)) as server:
            return server.accept()[0]
    if target is not None:
        return connect(host, port, target)
    for _ in range(200):
        with suppress(ConnectionRefusedError):
            connection = socket.create_connection((host, port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        time.sleep(0.01)
    raise TimeoutError(f"nothing listens at {host}:{port}")


def write(connection: socket.socket, size: int, framed: bool) -> None:
    """Send `size` bytes, as frames or bare, and end."""
    chunk = os.urandom(CHUNK)
    data = frame(BINARY, chunk, b"mask") if framed else chunk
    for _ in range(size // CHUNK):
        connection.sendall(data)
    if framed:
        connection.sendall(frame(CLOSE))
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(CHUNK):
        pass


def read(connection: socket.socket, size: int) -> float:
    """Take what comes until the end, and say how many seconds lie between the first byte and the last."""
    buffer, count = bytearray(CHUNK), len(connection.recv(1))
    begun = time.perf_counter()
    while received := connection.recv_into(buffer):
        count += received
    assert count >= size, f"{size - count} of {size} bytes are missing"
    return time.perf_counter() - begun


def main(direction: str, host: str, port: str, size: str, target: str | None = None) -> None:
    if direction == "read" and target == "listen":
        print("ready", flush=True)  # before it waits to be connected to
    connection = dial(host, int(port), target)
    if direction == "write":
        write(connection, int(size), target is not None)
        return
    if target != "listen":
        print("ready", flush=True)
    print(read(connection, int(size)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

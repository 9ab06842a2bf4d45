"""A server in a thread that upgrades every connection and then does what a test says."""

from __future__ import annotations

import re
import socket
import threading
from base64 import b64encode
from contextlib import contextmanager, suppress
from hashlib import sha1
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("answering", "receive_head", "upgrade")


@contextmanager
def answering(talk: Callable[[socket.socket], object]) -> Iterator[str]:
    """`talk` gets each connection in turn. Yields the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError):  # the client may leave
                    talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def receive_head(connection: socket.socket) -> bytes:
    """A whole request head."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        received = connection.recv(1)
        if not received:
            raise ConnectionResetError
        head += received
    return head


def upgrade(connection: socket.socket, *, behind: bytes = b"", accept: str | None = None) -> bytes:
    """Answer the request as a WebSocket server does, with the first frames `behind`; returns the request."""
    request = receive_head(connection)
    found = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
    assert found is not None
    digest = sha1(found[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
        b"Sec-WebSocket-Accept: "
        + (b64encode(digest).decode() if accept is None else accept).encode()
        + b"\r\n\r\n"
        + behind
    )
    return request

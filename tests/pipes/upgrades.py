"""An engine's port that is in our hands: the upgrade is answered when the test says so, or never."""

from __future__ import annotations

import base64
import hashlib
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("Port", "open_port")

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Port:
    """A listening socket."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.url = f"ws://127.0.0.1:{listener.getsockname()[1]}"

    @contextmanager
    def request(self) -> Iterator[tuple[socket.socket, bytes]]:
        """The next connection, its request read, and the answer that would accept it."""
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(10)
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(65536)
                assert data, "the client left"
                head += data
            lines = head.lower().split(b"\r\n")
            at = next(at for at, line in enumerate(lines) if line.startswith(b"sec-websocket-key"))
            key = head.split(b"\r\n")[at][18:].strip()
            accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
            yield (
                connection,
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n",
            )


@contextmanager
def open_port() -> Iterator[Port]:
    """One on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield Port(listener)

"""What listens at an engine's URL: hostile engines, gatekeepers, a port in the hand."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("REFUSALS", "Port", "gatekeeper", "listening", "open_port", "upgraded")

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
REFUSALS = ("401", "403", "error frame")


def head_of(connection: socket.socket) -> bytes:
    """The head of the request that comes. Raises EOFError where the client leaves first."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(65536)
        if not data:
            raise EOFError
        head += data
    return head


def acceptance(head: bytes) -> bytes:
    """The answer that upgrades a request with this head."""
    lines = (line.partition(b":") for line in head.split(b"\r\n"))
    key = next(value.strip() for name, _, value in lines if name.lower() == b"sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


def upgraded(connection: socket.socket) -> None:
    """A good handshake."""
    connection.sendall(acceptance(head_of(connection)))


@contextmanager
def listening(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of somebody who behaves so to everyone."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError, EOFError):
            behave(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def gatekeeper(refusal: str) -> Iterator[str]:
    """The URL of one that refuses everybody in that way, as a guarded engine or a gateway before it may."""
    with listening(partial(_refuse, refusal)) as url:
        yield url


def _refuse(refusal: str, connection: socket.socket) -> None:
    connection.settimeout(5)
    head = head_of(connection)
    if refusal != "error frame":
        body = b"go away, sk-hunter2"
        connection.sendall(
            b"HTTP/1.1 %s No\r\nContent-Length: %d\r\n\r\n%s" % (refusal.encode(), len(body), body)
        )
        return
    # (docs: protocol, "Error codes") the frame, then a Close without a code
    frame = json.dumps({"type": "error", "error": {"code": "AUTH_ERROR", "message": "no entry"}}).encode()
    connection.sendall(acceptance(head) + bytes([0x81, len(frame)]) + frame + b"\x88\x00")
    while connection.recv(65536):
        pass


class Port:
    """A listening socket whose upgrades are answered when the test says so, or never."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.url = f"ws://127.0.0.1:{listener.getsockname()[1]}"

    @contextmanager
    def request(self) -> Iterator[tuple[socket.socket, bytes]]:
        """The next connection, its request read, and the answer that would accept it."""
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(10)
            yield connection, acceptance(head_of(connection))


@contextmanager
def open_port() -> Iterator[Port]:
    """One on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield Port(listener)

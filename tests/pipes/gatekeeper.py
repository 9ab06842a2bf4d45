"""Engines that let nobody in: each kind of refusal that a guarded engine or a gateway before it may give."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("REFUSALS", "gatekeeper")

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
REFUSALS = ("401", "403", "error frame")


@contextmanager
def gatekeeper(refusal: str) -> Iterator[str]:
    """The URL of one that refuses everybody in that way."""
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_refuse_all, args=(listener, refusal), daemon=True)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


def _refuse_all(listener: socket.socket, refusal: str) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            try:
                _refuse(connection, refusal)
            except OSError:
                continue


def _refuse(connection: socket.socket, refusal: str) -> None:
    connection.settimeout(5)
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(65536)
        if not data:
            return
        head += data
    if refusal != "error frame":
        body = b"go away, sk-hunter2"
        connection.sendall(
            b"HTTP/1.1 %s No\r\nContent-Length: %d\r\n\r\n%s" % (refusal.encode(), len(body), body)
        )
        return
    key = next(
        line[18:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
    )
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
    # protocol.md 1.2 and 6: the frame, then a Close without a code
    frame = json.dumps({"type": "error", "error": {"code": "AUTH_ERROR", "message": "no entry"}}).encode()
    connection.sendall(bytes([0x81, len(frame)]) + frame + b"\x88\x00")
    while connection.recv(65536):
        pass

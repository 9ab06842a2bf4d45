"""A blocking WebSocket client for tests, and the bytes of frames. It shares no code with the product."""

from __future__ import annotations

import base64
import json
import os
import socket
from typing import TYPE_CHECKING, Any

from tests.support.refs import address_of

if TYPE_CHECKING:
    from typing import Self

__all__ = (
    "BINARY",
    "CLOSE",
    "CONT",
    "NO_MASK",
    "PING",
    "PONG",
    "TEXT",
    "WebSocket",
    "connect",
    "frame",
    "header",
    "masked",
    "sizes",
)

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NO_MASK = bytes(4)  # a key of zeros masks nothing, so large payloads need no work


def header(opcode: int, size: int, key: bytes | None = NO_MASK, *, fin: bool = True) -> bytes:
    """What stands before a payload of that size, the masking key included. None: an engine's, not masked."""
    first, bit = opcode | (0x80 if fin else 0), 0 if key is None else 0x80
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 1 << 16:
        head = bytes([first, bit | 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([first, bit | 127]) + size.to_bytes(8, "big")
    return head + (key or b"")


def frame(opcode: int, payload: bytes = b"", key: bytes | None = NO_MASK, *, fin: bool = True) -> bytes:
    """A whole frame."""
    return header(opcode, len(payload), key, fin=fin) + masked(payload, key)


def masked(payload: bytes, key: bytes | None) -> bytes:
    """The payload as it is on the wire; and, since it is the same, the other way round."""
    if not payload or key in (None, NO_MASK):
        return payload
    stream = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(len(payload), "big")


def sizes(head: bytes | bytearray) -> tuple[int, int] | None:
    """Bytes of the header and of the payload, when the header is complete."""
    if len(head) < 2:
        return None
    short, key = head[1] & 0x7F, 4 * (head[1] >> 7)
    extra = {126: 2, 127: 8}.get(short, 0)
    length = 2 + extra + key
    if len(head) < length:
        return None
    return length, int.from_bytes(head[2 : 2 + extra], "big") if extra else short


def connect(host: str, port: int, target: str, *headers: str, timeout: float | None = None) -> socket.socket:
    """A socket that has been upgraded. Raises AssertionError where the answer is another one."""
    connection = socket.create_connection((host, port), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        *headers,
    ]
    try:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            assert byte, "the engine hung up"
            head += byte
        assert head.startswith(b"HTTP/1.1 101"), head
    except BaseException:
        connection.close()
        raise
    return connection


class WebSocket:
    """One upgraded connection; whole messages, as an engine sends them: unmasked, in one frame each."""

    def __init__(self, url: str, target: str, *headers: str, timeout: float | None = 20.0) -> None:
        self.socket = connect(*address_of(url), target, *headers, timeout=timeout)
        self._kept = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, opcode: int, payload: bytes = b"") -> None:
        self.socket.sendall(frame(opcode, payload))

    def say(self, message: dict[str, Any]) -> None:
        """Send a message of the worker protocol, or of a seal."""
        self.send(TEXT, json.dumps(message, separators=(",", ":")).encode())

    def receive(self) -> list[tuple[int, bytes]]:
        """The frames that are there, one at least. Raises EOFError at the end of the connection."""
        found: list[tuple[int, bytes]] = []
        while not found:
            data = self.socket.recv(1 << 18)
            if not data:
                raise EOFError
            self._kept += data
            at = 0
            while (measured := sizes(self._kept[at : at + 14])) and at + sum(measured) <= len(self._kept):
                opcode, begin, at = self._kept[at] & 0x0F, at + measured[0], at + sum(measured)
                found.append((opcode, bytes(self._kept[begin:at])))
            del self._kept[:at]
        return found

    def hear(self) -> list[dict[str, Any]]:
        """The messages that are there, one at least."""
        return [json.loads(payload) for opcode, payload in self.receive() if opcode == TEXT]

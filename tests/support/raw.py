"""A WebSocket client that can misbehave. It shares no code with the product."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl

__all__ = ("BINARY", "CLOSE", "CONT", "PING", "PONG", "TEXT", "Dropped", "Frame", "RawSocket", "Refused")

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Dropped(Exception):
    """The connection ended without a Close frame: what clients call 1006."""


@dataclass
class Refused(Exception):
    """HTTP said no."""

    status: int
    headers: dict[str, str]
    body: str


class Frame(NamedTuple):
    """As it was on the wire."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0


class RawSocket:
    """One upgraded connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: dict[str, str]
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.headers = headers

    @classmethod
    async def open(
        cls,
        url: str,
        target: str,
        *headers: str,
        method: str = "GET",
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> RawSocket:
        """Upgrade on `target`. `headers` replace those of the same name. Raises Refused, Dropped."""
        parts = urlsplit(url)
        raw = socket.socket()
        if receive_buffer is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setblocking(False)
        host = parts.hostname or ""
        await asyncio.get_running_loop().sock_connect(raw, (host, parts.port or 80))
        name = host if tls else None
        reader, writer = await asyncio.open_connection(sock=raw, limit=1 << 26, ssl=tls, server_hostname=name)
        lines = {
            "host": f"Host: {parts.netloc}",
            "upgrade": "Upgrade: websocket",
            "connection": "Connection: Upgrade",
            "sec-websocket-version": "Sec-WebSocket-Version: 13",
            "sec-websocket-key": f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        }
        for header in headers:
            lines[header.split(":")[0].lower()] = header
        head = "\r\n".join(
            [f"{method} {target} HTTP/1.1", *(line for line in lines.values() if line[-1] != ":")]
        )
        writer.write(f"{head}\r\n\r\n".encode())
        try:
            return await cls._answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.transport.abort()
            raise Dropped from None
        except Refused:
            writer.transport.abort()
            raise

    @classmethod
    async def _answer(cls, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> RawSocket:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        if status != 101:
            body = await reader.readexactly(int(found.get("content-length", "0")))
            raise Refused(status, found, body.decode())
        return cls(reader, writer, found)

    def post(self, frame: Frame, *, masked: bool = True) -> None:
        """Send one frame without waiting."""
        size = len(frame.payload)
        head = bytes([(0x80 if frame.fin else 0) | frame.rsv << 4 | frame.opcode])
        bit = 0x80 if masked else 0
        if size < 126:
            head += bytes([bit | size])
        elif size < 65536:
            head += bytes([bit | 126]) + struct.pack("!H", size)
        else:
            head += bytes([bit | 127]) + struct.pack("!Q", size)
        # A key of zeros masks nothing, so large payloads need no work.
        self._writer.write(head + (b"\0\0\0\0" if masked else b""))
        self._writer.write(frame.payload)

    async def drain(self) -> None:
        """Wait until the kernel has nearly everything. Raises Dropped."""
        try:
            await self._writer.drain()
        except ConnectionError:
            raise Dropped from None

    async def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        """Send one ordinary frame. Raises Dropped."""
        self.post(Frame(opcode, payload, fin))
        await self.drain()

    def post_bytes(self, data: bytes) -> None:
        """Send bytes that are no frame at all."""
        self._writer.write(data)

    async def receive(self, within: float = 5.0) -> Frame:
        """The next frame. Raises Dropped, TimeoutError."""
        async with asyncio.timeout(within):
            try:
                first, second = await self._reader.readexactly(2)
                size = second & 0x7F
                if size == 126:
                    (size,) = struct.unpack("!H", await self._reader.readexactly(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self._reader.readexactly(8))
                assert not second & 0x80, "the engine masks"
                payload = await self._reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                raise Dropped from None
        return Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7)

    async def receive_close(self, within: float = 5.0) -> tuple[int | None, str]:
        """The code and reason of the Close frame that comes next. Raises Dropped, TimeoutError."""
        frame = await self.receive(within)
        assert frame.opcode == CLOSE, frame
        if not frame.payload:
            return None, ""
        return struct.unpack("!H", frame.payload[:2])[0], frame.payload[2:].decode()

    async def receive_end(self, within: float = 5.0) -> None:
        """The TCP stream ends. Raises TimeoutError, AssertionError where something else comes."""
        async with asyncio.timeout(within):
            try:
                rest = await self._reader.read(1 << 20)
            except ConnectionError:
                return
        assert rest == b"", rest[:100]

    async def receive_end_of_all(self, within: float = 5.0) -> None:
        """Receive until the TCP stream ends, whatever comes. Raises TimeoutError."""
        async with asyncio.timeout(within):
            with suppress(ConnectionError):
                while await self._reader.read(1 << 20):
                    pass

    def stop_reading(self) -> None:
        """What comes stays with the kernel, and then with the engine."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined] # a stream's transport can

    def half_close(self) -> None:
        """Send FIN and go on receiving."""
        self._writer.write_eof()

    def drop(self) -> None:
        """Let go of TCP without a word."""
        self._writer.close()

    def reset(self) -> None:
        """Let go of TCP with a reset."""
        raw = self._writer.get_extra_info("socket")
        with suppress(OSError, AttributeError):  # it may be closed already, or, behind TLS, be there no more
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

"""What listens at the URL is no engine, or means no good: every wait has an end, whatever it sends."""

from __future__ import annotations

import base64
import hashlib
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from tests.pipes.program import Program
from tests.pipes.test_refusals import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

COMMANDS = {
    "create": ("channel", "create"),
    "read": ("channel", "read", "iii:read:a:b"),
    "streams": ("trigger", "f", "--in", "stdin=/dev/null", "--out", "stdout=-"),
    "serve": ("serve", "f", "--", "cat"),
}


def silent(connection: socket.socket) -> None:
    connection.recv(1)
    time.sleep(30)


def one_byte_at_a_time(connection: socket.socket) -> None:
    """A head that never ends, and is never silent for long."""
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def headers_without_end(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
    while True:
        connection.sendall(b"a: b\r\n" * 100)


def upgraded(connection: socket.socket) -> None:
    """A good handshake."""
    head = connection.recv(65536).decode().split("\r\n")
    key = next(line.split(": ")[1] for line in head if line.lower().startswith("sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())
    connection.sendall(b"HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    connection.sendall(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")


def pings_without_end(connection: socket.socket) -> None:
    """So many pings that reading them is all that one can do."""
    upgraded(connection)
    while True:
        connection.sendall(b"\x89\x00" * 1000)
        time.sleep(0.005)


@contextmanager
def listening(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of somebody who behaves so to everyone."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
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


@pytest.mark.ci
@pytest.mark.parametrize("behave", [silent, one_byte_at_a_time])
@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_handshake_that_does_not_end(
    tmp_path: Path, behave: Callable[[socket.socket], None], words: tuple[str, ...]
) -> None:
    with listening(behave) as url:
        refused(Program(tmp_path, url).run("--connect-timeout", "500ms", *words), 3, "no answer within")


@pytest.mark.ci
def test_a_head_that_is_too_long(tmp_path: Path) -> None:
    with listening(headers_without_end) as url:
        refused(Program(tmp_path, url).run("channel", "create"), 3)


@pytest.mark.ci
@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("trigger", "f", "--timeout", "1s"), 124),
        (("trigger", "f", "--timeout", "1s", "--in", "stdin=/dev/null", "--out", "stdout=-"), 124),
        (("functions", "wait", "f", "--timeout", "1s"), 124),
        (("channel", "read", "iii:read:a:b", "--timeout", "1s"), 124),
        (("channel", "write", "iii:write:a:b", "--timeout", "1s"), 124),
        (("serve", "f", "--connect-timeout", "1s", "--", "cat"), 3),
    ],
    ids=["trigger", "streams", "wait", "read", "write", "serve"],
)
def test_time_limits_hold_in_a_flood_of_pings(tmp_path: Path, words: tuple[str, ...], status: int) -> None:
    """Before, a call with streams of --timeout 2s took a minute, and SIGTERM waited as long."""
    with listening(pings_without_end) as url:
        refused(Program(tmp_path, url).run(*words), status)

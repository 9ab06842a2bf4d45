"""What listens at the URL is no engine, or means no good: every wait has an end, whatever it sends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.listening import listening, upgraded
from tests.support.program import Program, refused

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
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


def pings_without_end(connection: socket.socket) -> None:
    """So many pings that reading them is all that one can do."""
    upgraded(connection)
    while True:
        connection.sendall(b"\x89\x00" * 1000)
        time.sleep(0.005)


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

"""What listens at the URL is no engine, or means no good: every wait has an end, whatever it sends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.listening import head_of, listening, upgraded
from tests.support.marks import in_ci, in_ci_but
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


NO_UPGRADES = {
    b"HTTP/1.1 401 No\r\n\r\n": (4, "refused us (401)"),
    b"HTTP/1.1 404 No\r\n\r\n": (3, "it answers HTTP 404"),
    b"HTTP/1.1 200 OK\r\n\r\n": (3, "it answers HTTP 200"),
    b"HTTP/1.1 101 X\r\n\r\n": (3, "not an upgrade"),
    b"\x15\x03\x01\x00\x02\x02\x0a": (3, "does not speak HTTP"),
    b"SSH-2.0-x\r\n\r\n": (3, "does not speak HTTP"),
    b"HTTP/1.1 101 X\r\nA: " + b"b" * (70 << 10): (3, "does not end"),
    b"HTTP/1.1 1": (3, "lost during the handshake: the connection was closed"),
    b"": (3, "lost during the handshake"),
}


@pytest.mark.parametrize("command", ["create", *in_ci("read")])
@pytest.mark.parametrize(
    "answer",
    in_ci_but([b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 1"], NO_UPGRADES),
    ids=lambda answer: repr(answer[:20]),
)
def test_what_is_no_upgrade(tmp_path: Path, answer: bytes, command: str) -> None:
    def talk(peer: socket.socket) -> None:
        head_of(peer)
        peer.sendall(answer)

    status, said = NO_UPGRADES[answer]
    if command == "read" and b" 404 " in answer:
        status, said = 5, "no such channel"
    with listening(talk) as url:
        refused(Program(tmp_path, url).run(*COMMANDS[command]), status, said)


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

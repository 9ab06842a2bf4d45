"""A call whose engine breaks the protocol ends with 8, or 3 where it was lost: 1 is a function's failure."""

from __future__ import annotations

import json
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from tests.support.listening import acceptance, head_of, listening
from tests.support.marks import in_ci_but
from tests.support.program import Program, refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Behaviour = Callable[[socket.socket], None]

TEXT = b"\x81"


def framed(payload: bytes, begin: bytes = TEXT) -> bytes:
    assert len(payload) < 65536
    return (
        begin
        + (bytes([len(payload)]) if len(payload) < 126 else b"\x7e" + struct.pack("!H", len(payload)))
        + payload
    )


def asked_of(connection: socket.socket) -> dict[str, str]:
    """The call that comes, after a good handshake."""
    connection.sendall(acceptance(head_of(connection)))
    connection.sendall(framed(b'{"type":"workerregistered","worker_id":"w"}'))
    data = b""
    while True:
        data += connection.recv(65536)
        size = data[1] & 0x7F
        begin, size = (4, struct.unpack("!H", data[2:4])[0]) if size == 126 else (2, size)
        if len(data) >= begin + 4 + size:
            key, body = data[begin : begin + 4], data[begin + 4 : begin + 4 + size]
            message: dict[str, str] = json.loads(bytes(at ^ key[n % 4] for n, at in enumerate(body)))
            return message


def says(*data: bytes) -> Behaviour:
    """After the call, these bytes, and it waits."""

    def behave(connection: socket.socket) -> None:
        asked_of(connection)
        connection.sendall(b"".join(data))
        while connection.recv(65536):
            pass

    return behave


def answers(text: str, behind: bytes = b"") -> Behaviour:
    """An answer to the call, with `ID` as its id, and at once what is `behind` it."""

    def behave(connection: socket.socket) -> None:
        call = asked_of(connection)
        connection.sendall(framed(text.replace("ID", call.get("invocation_id", "")).encode()) + behind)
        while connection.recv(65536):
            pass

    return behave


def leaves(*data: bytes, reset: bool = False) -> Behaviour:
    """After the call these bytes, and the connection is at its end."""

    def behave(connection: socket.socket) -> None:
        asked_of(connection)
        connection.sendall(b"".join(data))
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return behave


def greets(text: bytes) -> Behaviour:
    """The answer to the upgrade."""

    def behave(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(text)

    return behave


def upgrade(**changes: str) -> Behaviour:
    """A handshake that is good but for these headers."""

    def behave(connection: socket.socket) -> None:
        good = acceptance(head_of(connection)).decode().removesuffix("\r\n\r\n").split("\r\n")
        names = {name.replace("_", "-").lower(): value for name, value in changes.items()}
        kept = [line for line in good if line.partition(":")[0].lower() not in names]
        more = [f"{name}: {value}" for name, value in names.items() if value]
        connection.sendall("\r\n".join([*kept, *more, "", ""]).encode())
        connection.recv(65536)

    return behave


BROKEN = {
    "reserved bits": says(b"\xf1\x02{}"),
    "an unknown opcode": says(b"\x83\x02{}"),
    "a masked frame": says(b"\x81\x82\0\0\0\0{}"),
    "a frame of 2**63 bytes": says(b"\x81\x7f" + b"\xff" * 8),
    "a frame over the limit": says(b"\x81\x7f" + struct.pack("!Q", 1 << 40)),
    "text that is not UTF-8": says(framed(b'"\xff\xfe"')),
    "a control frame that is too long": says(b"\x89\x7e\x01\x00" + b"x" * 256),
    "a fragmented ping": says(b"\x09\x00"),
    "a continuation of nothing": says(b"\x80\x02{}"),
    "a message within a message": says(b"\x01\x01{" + framed(b"{}")),
    "a Close of one byte": says(b"\x88\x01x"),
    "a Close with a wrong code": says(b"\x88\x02" + struct.pack("!H", 1005)),
    "a text that is no JSON": says(framed(b"hello")),
    "half a JSON text": says(framed(b'{"type":"invocationresult","result":')),
    "JSON that is no object": says(framed(b"[1,2]")),
    "an answer cut short": answers('{"type":"invocationresult","invocation_id":"ID","result":{"a'),
    "an answer without its function": answers('{"type":"invocationresult","invocation_id":"ID"}'),
    "an error that is none": answers(
        '{"type":"invocationresult","invocation_id":"ID","function_id":"f","error":"oops"}'
    ),
    "an error with a number": answers(
        '{"type":"invocationresult","invocation_id":"ID","function_id":"f","error":{"code":7,"message":[]}}'
    ),
}
LOST = {
    "nothing, and the end": leaves(),
    "a reset": leaves(reset=True),
    "half a frame, and the end": leaves(b"\x81\x7e"),
    "half a message, and the end": leaves(b"\x01\x02{}"),
    "a Close": leaves(b"\x88\x00"),
    "a Close with a code": leaves(b"\x88\x02" + struct.pack("!H", 1011)),
    "no HTTP": greets(b"220 mail.example ESMTP\r\n\r\n"),
    "garbage": greets(bytes(range(256)) + b"\r\n\r\n"),
    "half a head": greets(b"HTTP/1.1 101 Switching"),
    "a page": greets(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    "a status of letters": greets(b"HTTP/1.1 abc No\r\n\r\n"),
    "a wrong key": upgrade(sec_websocket_accept="AAAA"),
    "no key": upgrade(sec_websocket_accept=""),
    "no upgrade": upgrade(upgrade="h2c"),
    "an extension": upgrade(sec_websocket_extensions="permessage-deflate"),
    "a subprotocol": upgrade(sec_websocket_protocol="mqtt"),
}
CASES = [(name, behave, 8) for name, behave in BROKEN.items()] + [
    (name, behave, 3) for name, behave in LOST.items()
]
QUICK = [
    case for case in CASES if case[0] in ("reserved bits", "a text that is no JSON", "a reset", "a wrong key")
]


@pytest.mark.parametrize(("name", "behave", "status"), in_ci_but(QUICK, CASES))
def test_a_call(tmp_path: Path, name: str, behave: Behaviour, status: int) -> None:
    with listening(behave) as url:
        done = Program(tmp_path, url).run("trigger", "f", "--timeout", "5s", limit=10)
    refused(done, status)
    assert b"bug" not in done.stderr, name


@pytest.mark.parametrize(
    "behind", [b"\x88\x00", framed(b"hello"), b"\xf1\x02{}"], ids=["close", "text", "frame"]
)
@pytest.mark.parametrize("words", ["trigger f", "trigger f --each"])
def test_an_answer_that_came_before_the_end_counts(tmp_path: Path, words: str, behind: bytes) -> None:
    answer = '{"type":"invocationresult","invocation_id":"ID","function_id":"f","result":7}'
    with listening(answers(answer, behind)) as url:
        done = Program(tmp_path, url).run(*words.split(), stdin=b"{}\n", limit=10)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout in (b"7\n", b'{"ok":true,"result":7}\n')


@pytest.mark.ci
@pytest.mark.parametrize(
    "words", ["trigger f --void", "functions ls", "channel create", "trigger f --out /dev/null"]
)
@pytest.mark.parametrize("name", ["a masked frame", "a text that is no JSON", "a reset"])
def test_what_else_calls(tmp_path: Path, words: str, name: str) -> None:
    with listening((BROKEN | LOST)[name]) as url:
        done = Program(tmp_path, url).run(*words.split(), limit=10)
    # A connection with streams on it is lost, whatever broke it.
    refused(done, 3 if name in LOST or "--out" in words else 8)


@pytest.mark.ci
def test_calls_for_each_line(tmp_path: Path) -> None:
    """The calls fail one by one, and none of them is said to be the function's failure."""
    with listening(BROKEN["a masked frame"]) as url:
        done = Program(tmp_path, url).run("trigger", "f", "--each", stdin=b"{}\n", limit=20)
    assert b"bug" not in done.stderr
    assert done.returncode in (3, 8)

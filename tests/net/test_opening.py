"""Opening a connection: one story, told by both drivers with the same end."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from iii_cli.net.blocking import BlockingWebSocket
from iii_cli.net.websocket import open_websocket
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.refs import Endpoint, EngineAddress, Secret
from tests.support.listening import acceptance, head_of, listening

if TYPE_CHECKING:
    from collections.abc import Callable

HELLO = b"\x81\x02hi"  # a text frame


def endpoint(url: str, **settings: Any) -> Endpoint:
    return Endpoint(EngineAddress.parse(url), **settings)


def upgrade(peer: socket.socket, behind: bytes = b"") -> None:
    """Answer the request, with the first frames `behind` the answer."""
    peer.sendall(acceptance(head_of(peer)) + behind)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


def blocking(to: Endpoint) -> bytes:
    """The payload of the first frame."""
    with BlockingWebSocket(to, "/x?a=b", what="engine") as websocket:
        return bytes(websocket.receive(None)[0][1])


def on_a_loop(to: Endpoint) -> bytes:
    async def body() -> bytes:
        websocket = await open_websocket(to, "/x?a=b", what="engine")
        try:
            return bytes((await websocket.receive())[0][1])
        finally:
            websocket.socket.close()

    return anyio.run(body)


@pytest.fixture(params=[blocking, on_a_loop], ids=["blocking", "on a loop"])
def first_frame(request: pytest.FixtureRequest) -> Callable[..., bytes]:
    opener: Callable[..., bytes] = request.param
    return opener


def test_the_request_and_a_frame_right_behind_the_answer(first_frame: Callable[..., bytes]) -> None:
    requests: list[bytes] = []

    def talk(peer: socket.socket) -> None:
        requests.append(head_of(peer))
        peer.sendall(acceptance(requests[0]) + HELLO)

    with listening(talk) as url:
        to = endpoint(url, token=Secret("t"), headers=(("X-A", Secret("b")),))
        assert first_frame(to) == b"hi"
    lines = requests[0].decode().split("\r\n")
    assert lines[0] == "GET /x?a=b HTTP/1.1"
    assert {"Authorization: Bearer t", "X-A: b", f"Host: {url[5:]}"} < set(lines)


def test_the_second_address_is_tried(
    first_frame: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(lambda peer: upgrade(peer, behind=HELLO)) as url:
        port = int(url.rpartition(":")[2])
        found = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", free_port())),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
        ]
        monkeypatch.setattr("socket.getaddrinfo", lambda *args, **others: found)
        assert first_frame(endpoint(f"ws://localhost:{port}")) == b"hi"


# The engine leaves Nagle's algorithm on: of two small frames the second waits until we acknowledge the first.

ROUNDS = 8


def two_frames_each(peer: socket.socket) -> None:
    upgrade(peer)
    for _ in range(ROUNDS):
        peer.recv(1 << 16)
        peer.send(HELLO)
        peer.send(HELLO)


def rounds_blocking(to: Endpoint) -> list[float]:
    took = []
    with BlockingWebSocket(to, "/", what="engine") as websocket:
        for _ in range(ROUNDS):
            began, frames = time.monotonic(), 0
            websocket.send(Opcode.TEXT, b"call", None)
            while frames < 2:
                frames += len(websocket.receive(None))
            took.append(time.monotonic() - began)
    return took


def rounds_on_a_loop(to: Endpoint) -> list[float]:
    async def body() -> list[float]:
        took = []
        websocket = await open_websocket(to, "/", what="engine")
        for _ in range(ROUNDS):
            began, frames = time.monotonic(), 0
            await websocket.send(Opcode.TEXT, b"call")
            while frames < 2:
                frames += len(await websocket.receive())
            took.append(time.monotonic() - began)
        websocket.socket.close()
        return took

    return anyio.run(body)


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="only Linux can acknowledge at once")
@pytest.mark.parametrize("rounds", [rounds_blocking, rounds_on_a_loop], ids=["blocking", "on a loop"])
def test_the_second_of_two_small_frames_does_not_wait_for_our_acknowledgement(
    rounds: Callable[[Endpoint], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quickest but one, so that a busy machine does not matter; 40 ms is what the system would delay."""
    with listening(two_frames_each) as url:
        assert sorted(rounds(endpoint(url)))[1] < 0.02
        monkeypatch.delattr(socket, "TCP_QUICKACK")
        assert sorted(rounds(endpoint(url)))[ROUNDS // 2] > 0.03  # the server does what it is here for

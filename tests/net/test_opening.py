"""Opening a connection: one story, told by both drivers with the same end."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from iii_cli.errors import EngineUnreachable, Failure, NotAuthorised, UnknownTarget
from iii_cli.net import trail
from iii_cli.net.blocking import BlockingWebSocket
from iii_cli.net.dialing import ConnectionLost
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


def silent(peer: socket.socket) -> None:
    """Says nothing for a while."""
    head_of(peer)
    time.sleep(0.4)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        return int(unused.getsockname()[1])


def blocking(to: Endpoint, what: str = "engine") -> bytes:
    """The payload of the first frame."""
    with BlockingWebSocket(to, "/x?a=b", what=what) as websocket:
        return bytes(websocket.receive(None)[0][1])


def on_a_loop(to: Endpoint, what: str = "engine") -> bytes:
    async def body() -> bytes:
        websocket = await open_websocket(to, "/x?a=b", what=what)
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


@pytest.mark.parametrize(
    ("answer", "what", "kind", "said"),
    [
        (b"HTTP/1.1 401 No\r\n\r\n", "engine", NotAuthorised, r"refused us \(401\)"),
        (b"HTTP/1.1 403 No\r\n\r\n", "engine", NotAuthorised, r"refused us \(403\)"),
        (b"HTTP/1.1 404 No\r\n\r\n", "channel", UnknownTarget, "no such channel"),
        (b"HTTP/1.1 404 No\r\n\r\n", "engine", EngineUnreachable, "it answers HTTP 404"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "engine", EngineUnreachable, "it answers HTTP 200"),
        (b"HTTP/1.1 101 X\r\n\r\n", "engine", EngineUnreachable, "not an upgrade"),
        (b"\x15\x03\x01\x00\x02\x02\x0a", "engine", EngineUnreachable, "does not speak HTTP"),
        (b"SSH-2.0-x\r\n\r\n", "engine", EngineUnreachable, "does not speak HTTP"),
        (b"HTTP/1.1 101 X\r\nA: " + b"b" * (70 << 10), "engine", EngineUnreachable, "does not end"),
        (b"HTTP/1.1 1", "engine", EngineUnreachable, "lost during the handshake: the connection was closed"),
        (b"", "engine", EngineUnreachable, "lost during the handshake"),
    ],
)
def test_what_is_no_upgrade(
    first_frame: Callable[..., bytes], answer: bytes, what: str, kind: type[Failure], said: str
) -> None:
    def talk(peer: socket.socket) -> None:
        head_of(peer)
        peer.sendall(answer)

    with listening(talk) as url, pytest.raises(kind, match=said):
        first_frame(endpoint(url), what)


def test_a_refused_connection_is_tried_again_for_as_long_as_asked(
    first_frame: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(trail, "_listener", told.append)
    to = endpoint(f"ws://127.0.0.1:{free_port()}", wait_engine=0.3)
    began = time.monotonic()
    with pytest.raises(EngineUnreachable, match="refused"):
        first_frame(to)
    assert 0.1 < time.monotonic() - began < 2
    assert len(told) >= 2
    assert all(line.endswith("; trying again") for line in told)
    told.clear()
    with pytest.raises(EngineUnreachable):
        first_frame(endpoint(to.address.url))
    assert told == []


def test_a_server_that_says_nothing(first_frame: Callable[..., bytes]) -> None:
    with listening(silent) as url:
        with pytest.raises(EngineUnreachable, match=r"no answer within 0\.2 s"):
            first_frame(endpoint(url, connect_timeout=0.2))


def test_the_whole_time_of_a_blocking_opening() -> None:
    with listening(silent) as url:
        with pytest.raises(TimeoutError):
            BlockingWebSocket(endpoint(url), "/", what="engine", deadline=time.monotonic() + 0.2)
    with pytest.raises(TimeoutError):  # between two attempts, too
        to = endpoint(f"ws://127.0.0.1:{free_port()}", wait_engine=60.0)
        BlockingWebSocket(to, "/", what="engine", deadline=time.monotonic() + 0.2)


async def test_cancelled_it_leaves_nothing_open() -> None:
    with listening(silent) as url:
        with anyio.move_on_after(0.1) as scope:
            await open_websocket(endpoint(url), "/", what="engine")
    assert scope.cancelled_caught  # an unclosed socket would be a ResourceWarning, which is an error here


def test_a_name_is_looked_up_beside_the_clock(
    first_frame: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(host: bytes, *args: Any, flags: int = 0, **others: Any) -> Any:
        assert host == b"far.example"
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not a number")
        time.sleep(0.5)
        raise socket.gaierror(socket.EAI_NONAME, "Name not known")

    monkeypatch.setattr("socket.getaddrinfo", look_up)
    with pytest.raises(EngineUnreachable, match=r"no answer within 0\.1 s"):
        first_frame(endpoint("ws://far.example", connect_timeout=0.1))
    with pytest.raises(EngineUnreachable, match=r"cannot resolve far\.example: name not known"):
        first_frame(endpoint("ws://far.example"))


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


def test_a_system_without_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "poll")
    with listening(lambda peer: upgrade(peer, behind=HELLO)) as url:
        assert blocking(endpoint(url)) == b"hi"
    with listening(silent) as url, pytest.raises(EngineUnreachable, match=r"no answer within 0\.2 s"):
        blocking(endpoint(url, connect_timeout=0.2))


def test_an_end_without_a_close_frame_is_a_loss(first_frame: Callable[..., bytes]) -> None:
    with listening(upgrade) as url, pytest.raises(ConnectionLost):
        first_frame(endpoint(url))


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

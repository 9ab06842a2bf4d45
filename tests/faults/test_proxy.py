"""The proxy of the fault suite does what it says: else a fault that never struck would look survived."""

from __future__ import annotations

import socket
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from tests.faults.place import FrameName, Place, PlaceFinder
from tests.faults.proxy import Act, Misfortune, Proxy
from tests.faults.reframing import Reframer
from tests.support.websocket import BINARY, CLOSE, NO_MASK, TEXT, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = b"GET /ws/channels/abc?key=k&dir=write HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
MASK = b"\1\2\3\4"
PARTS: list[tuple[FrameName, int, bytes]] = [
    ("open", TEXT, b"o" * 200),
    ("data", BINARY, b"d" * 70_000),
    ("data", BINARY, b""),
    ("data", BINARY, b"x" * 9),
    ("close", TEXT, b"c" * 100),
    ("goodbye", CLOSE, b"\3\xe8"),
]
FRAMES = [frame(opcode, payload, MASK) for _, opcode, payload in PARTS]
STREAM = b"".join(FRAMES)


class Engine:
    """Answers the request, and keeps what comes until the end."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.received = b""
        self.how = ""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with closing(connection):
            connection.settimeout(5)
            connection.sendall(ANSWER)
            try:
                while data := connection.recv(1 << 16):
                    self.received += data
                self.how = "fin"
            except ConnectionResetError:
                self.how = "reset"
            except TimeoutError:
                self.how = "stall"

    def end(self) -> None:
        self._thread.join(10)
        self._listener.close()


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.end()


def offset_of(place: Place) -> int:
    """By hand, from the frames as they were encoded."""
    index = [name for name, _, _ in PARTS].index(place.frame) + place.nth
    payload = len(PARTS[index][2])
    return len(b"".join(FRAMES[:index])) + place.offset(len(FRAMES[index]) - payload, payload)


PLACES = [
    Place(frame, part, nth, fraction)
    for frame in ("open", "data", "close", "goodbye")
    for part in ("header", "payload", "end")
    for nth in ((0, 1, 2) if frame == "data" else (0,))
    for fraction in (0.0, 0.6, 1.0)
]  # fmt: skip


@pytest.mark.parametrize("step", [7, 1000, 1 << 20])
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_place_is_found_however_the_stream_is_cut(place: Place, step: int) -> None:
    finder, passed, found = PlaceFinder(place), b"", []
    for start in range(0, len(STREAM), step):
        data, at = finder.feed(STREAM[start : start + step])
        if at is not None:
            found.append(len(passed) + at)
        passed += data
    assert found == [offset_of(place)]
    assert passed == STREAM


def test_messages_are_data_where_a_stream_has_them() -> None:
    frames = [frame(TEXT, payload, MASK) for payload in (b"open", b"one", b"", b"close")]
    stream = b"".join(frames)
    for place, before in (
        (Place("open", "end"), 1),
        (Place("data", "end", 0), 2),
        (Place("data", "end", 1), 3),
        (Place("close", "end"), 4),
    ):
        assert PlaceFinder(place, messages=2).feed(stream) == (stream, len(b"".join(frames[:before])))


def test_a_header_may_be_cut_after_its_first_byte_and_before_its_last() -> None:
    assert Place("open", "header", fraction=0.0).offset(6, 10) == 1
    assert Place("open", "header", fraction=0.99).offset(6, 10) == 5
    assert Place("open", "payload", fraction=1.0).offset(6, 10) == 15
    assert Place("open", "end").offset(6, 10) == 16


def send(engine: Engine, misfortune: Misfortune | None, *, wait: bool = True) -> tuple[bytes, str]:
    """What a client sees at its end: the answer, and how the connection ended."""
    with Proxy(engine.port, "abc", misfortune) as proxy, closing(dial(proxy.port)) as client:
        client.sendall(REQUEST)
        answer = client.recv(len(ANSWER), socket.MSG_WAITALL)
        with suppress(OSError):
            client.sendall(STREAM)
            client.shutdown(socket.SHUT_WR)
        if not wait:
            assert misfortune is not None
            assert misfortune.struck.wait(5)
            return b"", "stall"
        try:
            while data := client.recv(1 << 16):
                answer += data
        except ConnectionResetError:
            return answer, "reset"
    return answer, "fin"


def dial(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def test_without_a_misfortune_all_passes(engine: Engine) -> None:
    assert send(engine, None) == (ANSWER, "fin")
    engine.end()
    assert engine.received == REQUEST + STREAM


@pytest.mark.parametrize(
    ("act", "how"), [("fin", "fin"), ("half", "fin"), ("reset", "reset"), ("stall", "fin")]
)
def test_a_cut_passes_nothing_behind_its_place(engine: Engine, act: Act, how: str) -> None:
    place = Place("close", "header")
    send(engine, Misfortune("write", place, act), wait=act != "stall")
    engine.end()
    whole = REQUEST + STREAM[: offset_of(place)]
    assert engine.received == whole if act != "reset" else whole.startswith(engine.received)
    assert engine.how == how


@pytest.mark.parametrize("act", ["flip", "lose", "repeat", "delay", "split", "call"])
def test_the_rest_passes_the_byte_itself_may_not(engine: Engine, act: Act) -> None:
    place = Place("data", "payload", nth=0, fraction=0.5)
    called = threading.Event()
    assert send(engine, Misfortune("write", place, act, bit=3, amount=2, call=called.set)) == (ANSWER, "fin")
    engine.end()
    at = offset_of(place)
    head, tail = STREAM[:at], STREAM[at:]
    wanted = {
        "flip": head + bytes([tail[0] ^ 8]) + tail[1:],
        "lose": head + tail[2:],
        "repeat": head + tail[:2] + tail,
    }
    assert engine.received == REQUEST + wanted.get(act, STREAM)
    assert called.is_set() is (act == "call")


@pytest.mark.parametrize(
    ("act", "nth", "wanted"),
    [
        ("empty-binary", 1, [(BINARY, b""), (BINARY, b"x" * 9)]),
        ("empty-text", 1, [(TEXT, b""), (BINARY, b"x" * 9)]),
        ("join", 0, [(BINARY, b"x" * 9)]),
        ("join", 1, [(BINARY, b"x" * 9 + b"c" * 100)]),
        ("halve", 1, [(BINARY, b"x" * 4), (BINARY, b"x" * 5)]),
        ("swap", 1, [(TEXT, b"x" * 9)]),
    ],
)
def test_frames_get_other_borders(
    engine: Engine, act: Act, nth: int, wanted: list[tuple[int, bytes]]
) -> None:
    place = Place("data", "end", nth)
    assert send(engine, Misfortune("write", place, act)) == (ANSWER, "fin")
    engine.end()
    rest = FRAMES[5 if (act, nth) == ("join", 1) else 4 :]
    there = b"".join(frame(opcode, payload) for opcode, payload in wanted)
    assert engine.received == REQUEST + STREAM[: offset_of(place)] + there + b"".join(rest)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_frames_are_found_however_they_come(step: int) -> None:
    for key in (MASK, None):
        stream = b"".join(frame(BINARY, payload, key) for payload in (b"one", b"y" * 300, b"three"))
        reframer = Reframer("join")
        passed = b"".join(reframer.feed(stream[at : at + step]) for at in range(0, len(stream), step))
        sent = NO_MASK if key else None
        assert passed == frame(BINARY, b"one" + b"y" * 300, sent) + frame(BINARY, b"three", key)
        assert reframer.rest() == b""


def test_a_frame_that_never_becomes_whole_is_not_kept_for_ever() -> None:
    reframer = Reframer("swap")
    assert reframer.feed(FRAMES[3][:-1]) == b""
    assert reframer.rest() == FRAMES[3][:-1]


def test_only_the_end_that_is_meant_is_struck(engine: Engine) -> None:
    misfortune = Misfortune("read", Place("open", "end"), "reset")
    assert send(engine, misfortune) == (ANSWER, "fin")
    assert not misfortune.struck.is_set()

"""What one peer may take: where a limit ends its connection or its call, and the one line that says so."""

from __future__ import annotations

import errno
import json
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from iii_cli.engine import listening
from iii_cli.engine.model import Settings
from iii_cli.engine.server import EngineServer
from iii_cli.protocol.frames import ENGINE_FRAME_MAX
from tests.engine.bench import Bench
from tests.support.raw import BINARY, CONT, PING, PONG, TEXT, Dropped, RawSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT = 64 << 10
UNFINISHED = 2 << 20  # bytes beyond the first MiB, of each of some messages


@pytest.fixture
def anyio_backend() -> str:
    """RawSocket is asyncio's."""
    return "asyncio"


class Place:
    """An engine that takes little, what it says, and sockets to it."""

    server: EngineServer

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.url = ""
        self.open: list[RawSocket] = []

    def notice(self, event: str, /, **details: Any) -> None:
        self.said.append({"event": event, **details})

    def reasons(self, event: str) -> list[str]:
        return [line["reason"] for line in self.said if line["event"] == event]

    async def dial(self, target: str) -> RawSocket:
        self.open.append(await RawSocket.open(self.url, target))
        return self.open[-1]


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    place = Place()
    settings = Settings(max_outgoing_bytes=LIMIT, max_unfinished_bytes=4 * UNFINISHED)
    server = place.server = EngineServer(settings=settings, notice=place.notice)
    async with anyio.create_task_group() as tasks:
        place.url = await tasks.start(partial(server.serve, "127.0.0.1", 0, shutdown_timeout=0))
        yield place
        for raw in place.open:
            raw.drop()
        tasks.cancel_scope.cancel()


async def _until_dropped(raw: RawSocket) -> None:
    with pytest.raises(Dropped):
        while True:
            await raw.receive(5)


@pytest.mark.parametrize(("target", "event"), [("/", "worker dropped"), ("/otel", "telemetry dropped")])
async def test_a_frame_over_the_limit_ends_its_connection_before_it_came(
    place: Place, target: str, event: str
) -> None:
    raw = await place.dial(target)
    raw.post_bytes(b"\x82\xff" + (ENGINE_FRAME_MAX + 1).to_bytes(8, "big") + b"\0\0\0\0")
    await _until_dropped(raw)
    assert place.reasons(event) == ["a frame or message over the limit"]


async def _begin_message(raw: RawSocket, *, of_fragments: bool) -> None:
    """Send 3 MiB of one and wait until they were received."""
    size = (1 << 20) + UNFINISHED
    if of_fragments:
        await raw.send(BINARY, bytes(size // 2), fin=False)
        await raw.send(CONT, bytes(size // 2), fin=False)
        await raw.send(PING)
        assert (await raw.receive()).opcode == PONG
    else:  # a frame of which one byte is missing
        raw.post_bytes(b"\x82\xff" + size.to_bytes(8, "big") + bytes(4 + size - 1))
        await raw.drain()


@pytest.mark.parametrize("of_fragments", [True, False])
async def test_unfinished_messages_of_all_connections_count_together(
    place: Place, of_fragments: bool
) -> None:
    def held() -> int:
        return place.server.statistics()["unfinished_bytes"]

    async def until(size: int) -> None:
        with anyio.fail_after(10):
            while held() != size:
                await anyio.sleep(0.001)

    sockets = [await place.dial("/otel") for _ in range(6)]
    for number, raw in enumerate(sockets[:4], 1):
        await _begin_message(raw, of_fragments=of_fragments)
        await until(number * UNFINISHED)
    with pytest.raises((Dropped, ConnectionError)):
        await _begin_message(sockets[4], of_fragments=of_fragments)
        await sockets[4].receive()
    assert place.reasons("telemetry dropped") == ["the engine holds too much of unfinished messages"]
    await until(4 * UNFINISHED)
    await sockets[5].send(BINARY, bytes(1 << 20))  # what everybody may have goes on
    await sockets[5].send(PING)
    assert (await sockets[5].receive()).opcode == PONG
    if of_fragments:
        await sockets[0].send(CONT, b"")
        await until(3 * UNFINISHED)
    for raw in sockets[:4]:
        raw.drop()
    await until(0)


async def test_a_worker_that_does_not_read_is_dropped_and_that_is_said(place: Place) -> None:
    lazy = await place.dial("/")
    await lazy.send(TEXT, json.dumps({"type": "registerfunction", "id": "f"}).encode())
    caller = await place.dial("/")
    await caller.receive()
    announce = {"type": "invokefunction", "function_id": "engine::workers::register", "data": {}}
    await lazy.send(TEXT, json.dumps(announce).encode())
    call = {"type": "invokefunction", "function_id": "f", "data": "x" * (4 << 20)}
    text = json.dumps(call).encode()
    with anyio.fail_after(20):
        while not place.reasons("worker dropped"):
            await caller.send(TEXT, text)
            await anyio.sleep(0)
    assert place.reasons("worker dropped") == ["it does not read what is sent to it"]


def test_refused_channels_and_calls_are_said() -> None:
    bench = Bench(max_channels=1, max_in_flight=1)
    worker = bench.worker("w", "f")
    refs = worker.call("engine::channels::create")
    worker.refused("engine::channels::create")
    worker.invoke("f")
    worker.refused("f")
    said = [(event, details["reason"]) for event, details in bench.notices if "refused" in event]
    assert said == [
        ("channel refused", "the engine has 1 channels open, which is its limit"),
        ("call refused", "too many calls are in flight"),
    ]
    assert refs["reader"]["access_key"] not in repr(bench.notices)


class _Listener(socket.socket):
    """The system has no descriptors left, twice; then it has, and then not again."""

    def __init__(self) -> None:
        super().__init__()
        self.story = [errno.EMFILE, errno.EMFILE, 0, errno.ENFILE]

    def accept(self) -> tuple[socket.socket, Any]:
        if not self.story:
            raise BlockingIOError
        number = self.story.pop(0)
        if number:
            raise OSError(number, "")
        return super().accept()


async def test_that_descriptors_ran_out_is_said_once_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "SHORTAGE_PAUSE", 0)
    said: list[str] = []
    with _Listener() as listener, socket.socket() as client:
        listener.setblocking(False)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client.connect(listener.getsockname())
        welcomed: list[socket.socket] = []

        def welcome(raw: socket.socket) -> None:
            welcomed.append(raw)
            client.close()
            again.connect(listener.getsockname())

        with socket.socket() as again, anyio.move_on_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(listening.accept_all, listener, welcome, said.append)
                while len(said) < 2:
                    await anyio.sleep(0)
                tasks.cancel_scope.cancel()
        for raw in welcomed:
            raw.close()
    assert said == ["too many open files", "too many open files in system"]

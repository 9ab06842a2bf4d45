"""The engine on real sockets: start, limits, stop. What it says is held by tests/conformance."""

from __future__ import annotations

import errno
import json
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import iii_cli.engine.server
from iii_cli.engine.server import EngineServer
from iii_cli.errors import LocalProblem
from tests.engine.place import Place, opened
from tests.support.raw import BINARY, CLOSE, CONT, PING, PONG, TEXT, Dropped, RawSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LIMIT = 64 << 10
UNFINISHED = 2 << 20  # bytes beyond the first MiB, of each of some messages


@pytest.fixture
def anyio_backend() -> str:
    """RawSocket is asyncio's."""
    return "asyncio"


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    async with opened(max_outgoing_bytes=LIMIT, max_unfinished_bytes=4 * UNFINISHED) as place:
        yield place


# Start and stop


async def test_a_port_in_use_is_a_local_problem_with_a_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LocalProblem, match="--port 0"):
            await EngineServer().serve("127.0.0.1", taken.getsockname()[1])


async def _ends(place: Place) -> tuple[RawSocket, RawSocket, RawSocket]:
    """A worker, and the ends of a channel: writer and reader."""
    worker = await place.dial("/")
    await worker.receive()
    call = {"type": "invokefunction", "function_id": "engine::channels::create", "data": {}}
    call["invocation_id"] = "7d0e2c1a-0b1c-4d2e-8f3a-445566778899"
    await worker.send(TEXT, json.dumps(call).encode())
    refs = json.loads((await worker.receive()).payload)["result"]
    ends = [
        await place.dial(f"/ws/channels/{ref['channel_id']}?key={ref['access_key']}&dir={ref['direction']}")
        for ref in (refs["writer"], refs["reader"])
    ]
    return worker, ends[0], ends[1]


@pytest.mark.parametrize("patient", [True, False])
async def test_stopping_drops_the_workers_first_and_lets_channels_end(patient: bool) -> None:
    place = Place({})
    async with anyio.create_task_group() as tasks:
        timeout = 20 if patient else 0
        place.url = await tasks.start(partial(place.server.serve, "127.0.0.1", 0, shutdown_timeout=timeout))
        worker, writer, reader = await _ends(place)
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            with pytest.raises(Dropped):
                await worker.receive()
            if patient:
                await writer.send(TEXT, b"the last words")
                assert (await reader.receive()).payload == b"the last words"
                await writer.send(CLOSE)
                assert (await reader.receive()).opcode == CLOSE
            else:
                for end in (writer, reader):
                    with pytest.raises(Dropped):
                        await end.receive()
            for raw in place.sockets:
                raw.drop()
    core = place.server.core
    assert (len(core.registry.workers), len(core.channels), core.channels.buffered_bytes) == (0, 0, 0)


async def test_a_bug_in_one_connection_is_not_the_others_affair(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, other = await place.dial("/"), await place.dial("/")
    for raw in (worker, other):
        await raw.receive()
    monkeypatch.setattr(place.server.core, "received", None)
    await other.send(TEXT, b"{}")
    with pytest.raises(Dropped):
        await other.receive()
    monkeypatch.undo()
    await worker.send(TEXT, b'{"type":"ping"}')
    assert json.loads((await worker.receive()).payload) == {"type": "pong"}
    assert "internal error" in [line["event"] for line in place.said]


# Limits


async def _until_dropped(raw: RawSocket) -> None:
    with pytest.raises(Dropped):
        while True:
            await raw.receive(5)


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
    async def until(size: int) -> None:
        with anyio.fail_after(10):
            while place.server.unfinished_bytes != size:
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
    text = json.dumps({"type": "invokefunction", "function_id": "f", "data": "x" * (4 << 20)}).encode()
    with anyio.fail_after(20):
        while not place.reasons("worker dropped"):
            await caller.send(TEXT, text)
            await anyio.sleep(0)
    assert place.reasons("worker dropped") == ["it does not read what is sent to it"]


async def test_that_descriptors_ran_out_is_said_once_each_time(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iii_cli.engine.server, "SHORTAGE_PAUSE", 0)
    story = [errno.EMFILE, errno.EMFILE, 0, 0, errno.ENFILE, 0]
    accept = socket.socket.accept

    def short_of_descriptors(listener: socket.socket) -> Any:
        number = story.pop(0) if story else 0
        if number:
            raise OSError(number, "")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", short_of_descriptors)
    for _ in range(2):
        await (await place.dial("/")).receive()
    assert place.reasons("connections wait") == ["too many open files", "too many open files in system"]


async def test_connections_beyond_the_limit_are_closed_and_said() -> None:
    async with opened(max_connections=2) as place:
        workers = [await place.dial("/") for _ in range(2)]
        with pytest.raises(Dropped):
            await place.dial("/")
        assert place.reasons("connection refused") == ["too many connections"]
        for worker in workers:
            assert json.loads((await worker.receive()).payload)["type"] == "workerregistered"

"""The engine on real sockets: start, serve, stop. What it says is held by tests/conformance."""

from __future__ import annotations

import json
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from iii_cli.engine.server import EngineServer, serve_engine
from iii_cli.errors import LocalProblem
from iii_cli.net.dialing import ConnectionLost
from iii_cli.net.websocket import WebSocket, open_websocket
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.refs import ChannelRef, Endpoint, EngineAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Dialler:
    """Opens sockets and closes them all in the end."""

    def __init__(self) -> None:
        self._sockets: list[WebSocket] = []

    async def __call__(self, url: str, ref: ChannelRef | None = None) -> WebSocket:
        address = EngineAddress.parse(url)
        target = address.worker_target() if ref is None else address.channel_target(ref)
        websocket = await open_websocket(Endpoint(address), target, what="engine")
        self._sockets.append(websocket)
        return websocket

    def close(self) -> None:
        for websocket in self._sockets:
            websocket.socket.close()


@pytest.fixture
async def dial() -> AsyncIterator[Dialler]:
    dialler = Dialler()
    yield dialler
    dialler.close()


async def _hear(worker: WebSocket) -> dict[str, Any]:
    ((opcode, payload, _),) = await worker.receive()
    assert opcode == Opcode.TEXT
    message: dict[str, Any] = json.loads(bytes(payload))
    return message


async def _make_channel(worker: WebSocket) -> dict[str, ChannelRef]:
    call = {"type": "invokefunction", "function_id": "engine::channels::create", "data": {}}
    call["invocation_id"] = "7d0e2c1a-0b1c-4d2e-8f3a-445566778899"
    await worker.send(Opcode.TEXT, json.dumps(call).encode())
    answer = await _hear(worker)
    return {end: ChannelRef.from_json(ref) for end, ref in answer["result"].items()}


async def test_localhost_is_loopback_in_every_family_on_one_port() -> None:
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(_serve("localhost"))
        port = EngineAddress.parse(url).port
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as probe:
                assert probe.connect_ex((host, port)) == 0
        tasks.cancel_scope.cancel()


async def test_a_port_in_use_is_a_local_problem_with_a_way_out() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LocalProblem, match="--port 0"):
            await serve_engine("127.0.0.1", taken.getsockname()[1])


NOTHING = dict.fromkeys(
    ("connections", "workers", "channel_ends", "channels", "buffered_bytes", "unfinished_bytes"), 0
)


async def test_stopping_drops_the_workers_first_and_lets_channels_end(dial: Dialler) -> None:
    server = EngineServer()
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(_serve("127.0.0.1", server, shutdown_timeout=20))
        worker = await dial(url)
        await _hear(worker)
        refs = await _make_channel(worker)
        writer, reader = [await dial(url, refs[end]) for end in ("writer", "reader")]
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            with pytest.raises(ConnectionLost):
                await worker.receive()
            await writer.send(Opcode.TEXT, b"the last words")
            assert await reader.receive() == [(Opcode.TEXT, b"the last words", True)]
            await writer.send(Opcode.CLOSE, b"")
            assert await reader.receive() == [(Opcode.CLOSE, b"", True)]
    assert server.statistics() == NOTHING


async def test_channels_that_do_not_end_are_dropped_without_a_close(dial: Dialler) -> None:
    server = EngineServer()
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(_serve("127.0.0.1", server))
        worker = await dial(url)
        await _hear(worker)
        refs = await _make_channel(worker)
        ends = [await dial(url, refs[end]) for end in ("writer", "reader")]
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            for end in ends:
                with pytest.raises(ConnectionLost):
                    await end.receive()
    assert server.statistics() == NOTHING


async def test_a_bug_in_one_connection_is_not_the_others_affair(
    dial: Dialler, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    server = EngineServer(notice=lambda event, /, **details: heard.append(event))
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(_serve("127.0.0.1", server))
        worker = await dial(url)
        await _hear(worker)
        monkeypatch.setattr(server.core, "received", None)
        other = await dial(url)
        await _hear(other)
        await other.send(Opcode.TEXT, b"{}")
        with pytest.raises(ConnectionLost):
            await other.receive()
        monkeypatch.undo()
        await worker.send(Opcode.TEXT, b'{"type":"ping"}')
        assert await _hear(worker) == {"type": "pong"}
        tasks.cancel_scope.cancel()
    assert "internal error" in heard


def _serve(host: str, server: EngineServer | None = None, *, shutdown_timeout: float = 0) -> partial[Any]:
    return partial((server or EngineServer()).serve, host, 0, shutdown_timeout=shutdown_timeout)

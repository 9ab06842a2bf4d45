"""A socket on the event loop: waiting, closing under a waiter, silence, and giving way."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import uvloop

from iii_cli.net.sockets import ConnectionLost, Socket
from iii_cli.net.websocket import WebSocket
from iii_cli.protocol.frames import FrameDecoder, Opcode

if TYPE_CHECKING:
    from collections.abc import Iterator

BACKENDS: list[Any] = [("asyncio", {"loop_factory": uvloop.new_event_loop}), ("asyncio", {}), ("trio", {})]


@pytest.fixture(params=BACKENDS, ids=["uvloop", "asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def ends() -> Iterator[tuple[Socket, socket.socket]]:
    """Ours, and the peer's, which blocks."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield Socket(ours), theirs


async def test_what_is_sent_comes_in_order_though_a_flush_was_cancelled(
    ends: tuple[Socket, socket.socket],
) -> None:
    ours, theirs = ends
    websocket = WebSocket(ours, FrameDecoder(masked=False), masking=False)
    payload = bytes(range(256)) * 20_000
    websocket.post(Opcode.BINARY, payload)
    with anyio.move_on_after(0.02):
        await websocket.flush()
    assert 0 < websocket.unsent_bytes < len(payload)
    assert not websocket.flush_now()
    websocket.post_many(Opcode.TEXT, [b"a", b"b"])
    received = bytearray()
    wanted = 10 + len(payload) + 6
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(websocket.flush)
        tasks.start_soon(websocket.flush)
        while len(received) < wanted:
            received += await anyio.to_thread.run_sync(theirs.recv, 1 << 16)
    assert bytes(received[10:]) == payload + b"\x81\x01a\x81\x01b"
    assert websocket.unsent_bytes == 0
    ours.close()


async def test_closing_wakes_who_waits_and_leaves_the_next_socket_of_that_number_alone(
    ends: tuple[Socket, socket.socket],
) -> None:
    ours, _ = ends
    woken: list[str] = []

    async def wait() -> None:
        with pytest.raises(ConnectionLost, match="closed by this side"):
            await ours.receive_into(memoryview(bytearray(1)))
        woken.append("old")

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            ours.close()
            ours.close()
            raw, peer = socket.socketpair()  # perhaps of the same number
            raw.setblocking(False)
            following = Socket(raw)
            tasks.start_soon(following.receive_into, memoryview(bytearray(1)))
            await anyio.sleep(0.02)
            peer.send(b"x")
    assert woken == ["old"]
    following.close()
    peer.close()
    with pytest.raises(ConnectionLost):
        await ours.receive_into(memoryview(bytearray(1)))

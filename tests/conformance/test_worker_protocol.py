"""The worker protocol, through real sockets and with a clock that obeys."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.conformance import tracing_scripts, trigger_scripts, worker_scripts
from tests.conformance.rows import covers
from tests.support.raw import BINARY, CLOSE, PING, PONG, TEXT, Dropped, Refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.stage import Stage

    Conversation = Callable[[Stage], Awaitable[None]]

SCRIPTS = (*worker_scripts.SCRIPTS, *tracing_scripts.SCRIPTS, *trigger_scripts.SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
@pytest.mark.timeout(60)
async def test_on_sockets(script: Conversation, sockets: Stage) -> None:
    await script(sockets)


async def test_a_ping_of_either_kind_is_answered(sockets: Stage) -> None:
    for path in ("/", "/otel"):
        raw = await sockets.open(path)
        if path == "/":
            await raw.receive()
        await raw.send(PING, b"are you there")
        answer = await raw.receive()
        assert (answer.opcode, answer.payload) == (PONG, b"are you there")


async def test_telemetry_has_a_socket_of_its_own(sockets: Stage) -> None:
    raw = await sockets.open("/otel?token=x")
    await raw.send(TEXT, b'{"type":"ping"}')
    await raw.send(BINARY, b'OTLP{"resourceSpans":[]}')
    await raw.send(BINARY, b"\x00\x01")
    await raw.send(PING)
    assert (await raw.receive()).opcode == PONG


@covers("closing a worker")
async def test_a_close_is_not_echoed(sockets: Stage) -> None:
    for path in ("/", "/otel"):
        raw = await sockets.open(path)
        if path == "/":
            await raw.receive()
        await raw.send(CLOSE, b"\x03\xe8bye")
        await raw.receive_end()


async def test_a_frame_that_breaks_the_protocol_ends_the_connection_without_a_close(
    sockets: Stage,
) -> None:
    raw = await sockets.open("/")
    await raw.receive()
    raw.post_bytes(b"\x81\x01x")  # unmasked
    with pytest.raises(Dropped):
        await raw.receive()


async def test_the_greeting_carries_no_header_that_the_real_engine_does_not_send(
    sockets: Stage,
) -> None:
    raw = await sockets.open(
        "/?token=a&token=b",
        "Sec-WebSocket-Extensions: permessage-deflate",
        "Sec-WebSocket-Protocol: chat",
        "Authorization: Bearer x",
        "X-Anything: goes",
    )
    assert raw.headers.keys() == {"connection", "upgrade", "sec-websocket-accept", "date"}


@pytest.mark.parametrize(
    "target", ["/nope", "/otel/", "//", "/ws", "/ws/channels", "/ws/channels/", "/index.html"]
)
async def test_other_paths_are_404_without_a_body(sockets: Stage, target: str) -> None:
    with pytest.raises(Refused) as refused:
        await sockets.open(target)
    assert (refused.value.status, refused.value.body) == (404, "")


@pytest.mark.parametrize(
    ("header", "method", "status"),
    [
        ("Connection:", "GET", 400),
        ("Upgrade: h2c", "GET", 400),
        ("Sec-WebSocket-Version: 12", "GET", 400),
        ("Sec-WebSocket-Key:", "GET", 400),
        ("X: y", "POST", 405),
    ],
)
async def test_what_is_no_upgrade_is_refused(sockets: Stage, header: str, method: str, status: int) -> None:
    with pytest.raises(Refused) as refused:
        await sockets.open("/", header, method=method)
    assert refused.value.status == status


@pytest.mark.ci
@pytest.mark.skipif("III_CONFORMANCE_URL" in os.environ, reason="ours only: the real one buffers as it likes")
async def test_a_worker_that_does_not_read_is_dropped_and_delays_nobody(sockets: Stage) -> None:
    lazy, caller, other = await sockets.worker(), await sockets.worker(), await sockets.worker()
    f, g = sockets.name("f"), sockets.name("g")
    await lazy.register(f)
    await lazy.quiet()
    await other.register(g)
    await other.quiet()
    lazy.raw.stop_reading()
    payload = "x" * (8 << 20)
    for _ in range(20):
        await caller.invoke(f, payload)
    call_id = await caller.invoke(g, 1)
    await other.hear("invokefunction", invocation_id=call_id, function_id=g, data=1)
    for _ in range(20):
        answer = await caller.next(20)
        assert answer["error"]["code"] in ("invocation_stopped", "function_not_found")

"""Refusals through real sockets: what the client gets, what the log says, and that nobody else is hurt."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import iii_cli.engine.server
from iii_cli.engine.guard import Guard
from iii_cli.engine.model import Settings
from iii_cli.engine.server import EngineServer
from iii_cli.errors import UsageProblem
from iii_cli.protocol.refs import Secret
from tests.support.raw import TEXT, Dropped, RawSocket, Refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "0123456789abcdef0123"


@pytest.fixture
def anyio_backend() -> str:
    """RawSocket is asyncio's."""
    return "asyncio"


class Place:
    """An engine, what it says, and sockets to it."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []
        self.url = ""
        self.open: list[RawSocket] = []

    def notice(self, event: str, /, **details: Any) -> None:
        self.said.append({"event": event, **details})

    async def dial(self, target: str, *headers: str) -> RawSocket:
        socket = await RawSocket.open(self.url, target, *headers)
        self.open.append(socket)
        return socket

    async def refused(self, target: str, *headers: str) -> tuple[int, str]:
        """The status and the one line in the log."""
        before = len(self.said)
        with pytest.raises(Refused) as refusal:
            await self.dial(target, *headers)
        assert refusal.value.body.count("\n") == 0
        (line,) = self.said[before:]
        assert (line["event"], line["status"]) == ("request refused", refusal.value.status)
        assert TOKEN not in json.dumps(line)
        if line["status"] == 401:
            assert refusal.value.headers["www-authenticate"] == "Bearer"
        return refusal.value.status, line["reason"]

    async def channel(self, *headers: str) -> dict[str, Any]:
        worker = await self.dial("/", *headers)
        await worker.receive()
        call = {"type": "invokefunction", "function_id": "engine::channels::create", "data": {}}
        call["invocation_id"] = "7d0e2c1a-0b1c-4d2e-8f3a-445566778899"
        await worker.send(TEXT, json.dumps(call).encode())
        answer = json.loads((await worker.receive()).payload)
        result: dict[str, Any] = answer["result"]
        return result


async def _place(guard: Guard | None, settings: Settings | None = None) -> AsyncIterator[Place]:
    place = Place()
    server = EngineServer(guard=guard, settings=settings, notice=place.notice)
    async with anyio.create_task_group() as tasks:
        place.url = await tasks.start(partial(server.serve, "127.0.0.1", 0, shutdown_timeout=0))
        yield place
        for socket in place.open:
            socket.drop()
        tasks.cancel_scope.cancel()


@pytest.fixture
async def usual() -> AsyncIterator[Place]:
    async for place in _place(None):
        yield place


@pytest.fixture
async def guarded() -> AsyncIterator[Place]:
    async for place in _place(Guard(Secret(TOKEN), frozenset(["http://app.test"]), frozenset(["engine"]))):
        yield place


def target_of(ref: dict[str, str], key: str | None = None, extra: str = "") -> str:
    key = ref["access_key"] if key is None else key
    return f"/ws/channels/{ref['channel_id']}?{extra}key={key}&dir={ref['direction']}"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:49134", "10.1.2.3"])
async def test_programs_are_let_in_as_ever(usual: Place, host: str) -> None:
    worker = await usual.dial("/", f"Host: {host}", "Authorization: Bearer whatever")
    assert json.loads((await worker.receive()).payload)["type"] == "workerregistered"


async def test_a_program_that_names_what_it_dialled_is_let_in(usual: Place) -> None:
    await usual.dial("/", f"Origin: {usual.url.replace('ws:', 'http:')}")


@pytest.mark.parametrize("header", ["Origin: http://evil.test", "Origin: null", "Host: evil.test:49134"])
@pytest.mark.parametrize("target", ["/", "/otel", "channel", "/no/such/path"])
async def test_no_page_gets_any_socket(usual: Place, header: str, target: str) -> None:
    if target == "channel":
        target = target_of((await usual.channel())["reader"])
    assert (await usual.refused(target, header))[0] == 403


async def test_a_refused_page_does_not_use_up_the_end_of_a_channel(usual: Place) -> None:
    refs = await usual.channel()
    await usual.refused(target_of(refs["writer"]), "Origin: http://evil.test")
    writer = await usual.dial(target_of(refs["writer"]))
    reader = await usual.dial(target_of(refs["reader"]))
    await writer.send(TEXT, b"still there")
    assert (await reader.receive()).payload == b"still there"


@pytest.mark.parametrize("target", ["/", "/otel", "/?key=x"])
async def test_worker_and_telemetry_sockets_need_the_token(guarded: Place, target: str) -> None:
    assert await guarded.refused(target) == (401, "a token is needed: Authorization: Bearer, or ?token=")
    assert await guarded.refused(target, "Authorization: Bearer nope") == (401, "the token is wrong")
    assert await guarded.refused(f"{target}{'&' if '?' in target else '?'}token=no") == (
        401,
        "the token is wrong",
    )
    await guarded.dial(target, f"Authorization: Bearer {TOKEN}")
    await guarded.dial(f"{target}{'&' if '?' in target else '?'}token={TOKEN}")


async def test_the_key_suffices_on_channel_sockets_but_a_wrong_token_does_not_help(guarded: Place) -> None:
    refs = await guarded.channel(f"Authorization: Bearer {TOKEN}")
    writer, reader = refs["writer"], refs["reader"]
    assert (await guarded.refused(target_of(writer), "Authorization: Bearer nope"))[0] == 401
    assert (await guarded.refused(target_of(writer, extra="token=nope&")))[0] == 401
    assert await guarded.refused(target_of(writer, key="nope")) == (404, "Channel not found")
    await guarded.dial(target_of(writer))
    await guarded.dial(target_of(reader, extra=f"token={TOKEN}&"), f"Authorization: Bearer {TOKEN}")


async def test_an_allowed_page_still_needs_the_token(guarded: Place) -> None:
    headers = ("Host: engine:49134", "Origin: http://app.test")
    assert (await guarded.refused("/", *headers))[0] == 401
    await guarded.dial(f"/?token={TOKEN}", *headers)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_beyond_loopback_only_with_a_token(host: str) -> None:
    with pytest.raises(UsageProblem, match="other machines"):
        await EngineServer().serve(host, 0)
    server = EngineServer(guard=Guard(Secret(TOKEN)))
    async with anyio.create_task_group() as tasks:
        try:
            await tasks.start(partial(server.serve, host, 0, shutdown_timeout=0))
        finally:
            tasks.cancel_scope.cancel()


async def _speak(place: Place, data: bytes) -> bytes:
    """Everything that comes back for bytes that may be no request, until the engine hangs up."""
    port = int(place.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
        (b"GET /" + b"a" * (66 << 10), 431),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01 and no end", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
        (b"GET //[/ws/channels/x?key=1&dir=read HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /%00%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    ],
)
async def test_bytes_that_are_no_good_request(usual: Place, data: bytes, status: int) -> None:
    answer = await _speak(usual, data)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert [line["event"] for line in usual.said[1:]] == ["request refused"]


async def test_a_request_that_never_ends_is_not_waited_for(
    usual: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iii_cli.engine.server, "HANDSHAKE_TIMEOUT", 0.05)
    assert await _speak(usual, b"GET / HTTP/1.1\r\n") == b""
    assert usual.said[-1]["reason"] == "no whole request within 0.05 s"


async def test_connections_beyond_the_limit_are_closed_and_said() -> None:
    async for place in _place(None, Settings(max_connections=2)):
        workers = [await place.dial("/") for _ in range(2)]
        with pytest.raises(Dropped):
            await place.dial("/")
        assert place.said[-1] == {"event": "connection refused", "reason": "too many connections"}
        for worker in workers:
            assert json.loads((await worker.receive()).payload)["type"] == "workerregistered"

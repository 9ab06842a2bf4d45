"""Who may come in, what for, and how the others are refused."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from websockets.datastructures import Headers

from iii_cli.engine.channels import ChannelTable
from iii_cli.engine.door import (
    Guard,
    HeadParser,
    MalformedOrigin,
    Purpose,
    Refused,
    admit,
    origin_of,
)
from iii_cli.engine.model import Settings
from iii_cli.engine.spans import SpanStore
from iii_cli.protocol.refs import Secret
from tests.engine.bench import uuid
from tests.engine.place import Place, opened
from tests.support.raw import TEXT, Dropped
from tests.support.raw import Refused as RefusedSocket

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "0123456789abcdef0123"


@pytest.fixture
def anyio_backend() -> str:
    """RawSocket is asyncio's."""
    return "asyncio"


# The route, the query, the upgrade, the channel

UPGRADE = (
    "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
)
ids = count(1)
TABLE = ChannelTable(lambda: uuid(next(ids)), Settings(), SpanStore(lambda: "", 1))
CHANNEL = TABLE.create(None, 0)
ID, KEY = CHANNEL.id, CHANNEL.key.reveal()
PATH = f"/ws/channels/{ID}"
QUERY = "Failed to deserialize query string: "


def _ask(target: str, *, method: str = "GET", headers: str = UPGRADE, http: str = "1.1") -> Purpose:
    head = f"{method} {target} HTTP/{http}\r\nHost: localhost\r\n{headers}\r\n".encode()
    parser = HeadParser()
    assert parser.feed(head[:9]) is None
    request = parser.feed(head[9:] + b"rest")
    assert request is not None
    assert parser.rest == b"rest"
    purpose, answer = admit(request, TABLE, Guard())
    assert answer.startswith(b"HTTP/1.1 101 ")
    return purpose


@pytest.mark.parametrize(
    ("target", "changed", "status", "body"),
    [
        ("/nope", {"headers": ""}, 404, ""),
        ("/nope", {"method": "POST"}, 404, ""),
        (f"{PATH}/?key={KEY}&dir=read", {}, 404, ""),
        (f"{PATH}?key={KEY}", {"method": "POST"}, 405, "Request method must be `GET`"),
        (f"{PATH}?key={KEY}", {"headers": ""}, 400, QUERY + "missing field `dir`"),
        (f"{PATH}?dir=read", {"headers": ""}, 400, QUERY + "missing field `key`"),
        (f"{PATH}?key=a&key=b&dir=read", {"headers": ""}, 400, QUERY + "duplicate field `key`"),
        (f"{PATH}?key=nope&dir=read", {"headers": ""}, 400, "missing Connection header"),
        (f"{PATH}?key=nope&dir=read", {}, 404, "Channel not found"),
        (f"/ws/channels/nope?key={KEY}&dir=read", {}, 404, "Channel not found"),
        ("/", {"headers": ""}, 400, "missing Connection header"),
        ("/", {"method": "DELETE"}, 405, "Request method must be `GET`"),
        ("/", {"method": "HEAD"}, 405, ""),
        ("/", {"http": "1.0"}, 426, "WebSocket needs HTTP/1.1"),
        ("/", {"headers": UPGRADE.replace("13", "12")}, 400, "invalid Sec-WebSocket-Version header: 12"),
        ("/%6ftel", {}, 404, ""),
        (f"/%77s/channels/{ID}?key={KEY}&dir=read", {}, 404, ""),
    ],
)
def test_why_it_is_refused(target: str, changed: dict[str, str], status: int, body: str) -> None:
    with pytest.raises(Refused) as refused:
        _ask(target, **changed)
    assert (refused.value.status, refused.value.body) == (status, body)


# The guard


def _headers(**headers: str) -> Headers:
    return Headers(headers)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:49134", "LOCALHOST:1", "localhost.", "127.0.0.1:49134", "[::1]:49134"),
        *("192.168.1.7:49134", "[fe80::1%eth0]:80", "engine", "engine:49134", "ENGINE."),
    ],
)
def test_addresses_localhost_and_allowed_names_are_ours(host: str) -> None:
    Guard(hosts=frozenset(["engine"])).check_page(_headers(host=host))


@pytest.mark.parametrize(
    "host",
    [
        *("", "evil.example", "evil.example:49134", "localhost.evil.example", "127.0.0.1.evil.example", "["),
        *("localhost@evil.example", "evil.example#localhost", "localhost, evil.example", "localhost:x"),
        *("2130706433", "sub.localhost", "engine2", "evil.example/localhost", "localhost?", "local\thost"),
        *("localhost evil.example", "l\xf6calhost"),
    ],
)
def test_every_other_name_may_be_a_rebinding(host: str) -> None:
    with pytest.raises(Refused, match="--allow-host") as refused:
        Guard(hosts=frozenset(["engine", ""])).check_page(_headers(host=host))
    assert refused.value.status == 403


def test_a_second_host_or_origin_does_not_hide_behind_the_first() -> None:
    for name, values in (
        ("Host", ("localhost", "evil.test")),
        ("Origin", ("http://app.test", "http://evil.test")),
    ):
        headers = Headers([(name, value) for value in values])
        with pytest.raises(Refused):
            Guard(origins=frozenset(["http://app.test"])).check_page(headers)


@pytest.mark.parametrize("origin", ["http://localhost:5173", "HTTP://LOCALHOST:5173", "https://app.example"])
def test_an_allowed_origin_is_in(origin: str) -> None:
    allowed = frozenset(map(origin_of, ["http://localhost:5173/", "https://App.example:443"]))
    Guard(origins=allowed).check_page(_headers(host="localhost", origin=origin))


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        *(("localhost", origin) for origin in ("null", "", "http://localhost", "http://localhost:49134")),
        *(("localhost", origin) for origin in ("https://localhost:5173", "http://localhost:5173, x")),
        ("localhost:5174", "http://localhost:5174"),  # another port: a gateway's, where there may be pages
        ("localhost:49134", "http://localhost:5174"),
        ("localhost:49134", "http://127.0.0.1:49134"),
        ("localhost:49134", "https://localhost:49134"),
        ("evil.test:49134", "http://evil.test:49134"),
        ("localhost:149134", "http://localhost:149134"),
    ],
)
def test_no_other_page_is_in_not_even_one_of_this_machine(host: str, origin: str) -> None:
    with pytest.raises(Refused) as refused:
        Guard(origins=frozenset(["http://localhost:5173"]), port=49134).check_page(
            _headers(host=host, origin=origin)
        )
    assert refused.value.status == 403


@pytest.mark.parametrize("host", ["localhost:49134", "127.0.0.1:49134", "[::1]:49134", "LOCALHOST:49134"])
def test_a_program_may_name_what_it_dialled_or_nothing(host: str) -> None:
    """websocket-client for Python does; no page has the engine's own address, as it serves none."""
    Guard(port=49134).check_page(_headers(host=host, origin=f"http://{host}"))
    Guard().check_page(_headers())


@pytest.mark.parametrize(
    "text", ["*", "null", "localhost:5173", "http://", "://x", "http://a/b", "http://u@a"]
)
def test_what_is_no_origin_is_not_taken_for_one(text: str) -> None:
    with pytest.raises(MalformedOrigin):
        origin_of(text)


GUARDED = Guard(Secret(TOKEN))


@pytest.mark.parametrize(
    ("authorization", "tokens", "right"),
    [
        (f"Bearer {TOKEN}", [], True),
        (f"bearer  {TOKEN}", [], True),
        (None, [TOKEN], True),
        (f"Bearer {TOKEN}", [TOKEN], True),
        ("Basic of-a-gateway", [TOKEN], True),
        (f"Bearer {TOKEN}x", [], False),
        ("Bearer \xe4", [], False),
        ("Bearer", [], False),
        (None, [""], False),
        (None, [TOKEN, "x"], False),
        ("Bearer x", [TOKEN], False),
    ],
)
@pytest.mark.parametrize("needed", [True, False])
def test_every_token_must_be_right(
    authorization: str | None, tokens: list[str], right: bool, needed: bool
) -> None:
    headers = Headers() if authorization is None else _headers(authorization=authorization)
    parameters = [("token", token) for token in tokens]
    if right:
        GUARDED.check_token(headers, parameters, needed=needed)
    else:
        with pytest.raises(Refused, match="wrong") as refused:
            GUARDED.check_token(headers, parameters, needed=needed)
        assert (refused.value.status, TOKEN in str(refused.value)) == (401, False)


def test_none_is_out_only_where_one_is_needed() -> None:
    GUARDED.check_token(Headers(), [], needed=False)
    for headers in (Headers(), _headers(authorization="Basic x")):
        with pytest.raises(Refused, match="needed"):
            GUARDED.check_token(headers, [], needed=True)
    Guard().check_token(_headers(authorization="Bearer x"), [], needed=True)
    assert TOKEN not in repr(GUARDED)


# On sockets: what the client gets, what the log says, and that nobody else is hurt


@pytest.fixture
async def usual() -> AsyncIterator[Place]:
    async with opened() as place:
        yield place


@pytest.fixture
async def guarded() -> AsyncIterator[Place]:
    async with opened(Guard(Secret(TOKEN), frozenset(["http://app.test"]), frozenset(["engine"]))) as place:
        yield place


async def _refused(place: Place, target: str, *headers: str) -> tuple[int, str]:
    """The status and the one line in the log."""
    before = len(place.said)
    with pytest.raises(RefusedSocket) as refusal:
        await place.dial(target, *headers)
    assert refusal.value.body.count("\n") == 0
    (line,) = place.said[before:]
    assert (line["event"], line["status"]) == ("request refused", refusal.value.status)
    assert TOKEN not in json.dumps(line)
    if line["status"] == 401:
        assert refusal.value.headers["www-authenticate"] == "Bearer"
    return refusal.value.status, line["reason"]


async def _channel(place: Place, *headers: str) -> dict[str, Any]:
    worker = await place.dial("/", *headers)
    await worker.receive()
    call = {"type": "invokefunction", "function_id": "engine::channels::create", "data": {}}
    call["invocation_id"] = "7d0e2c1a-0b1c-4d2e-8f3a-445566778899"
    await worker.send(TEXT, json.dumps(call).encode())
    result: dict[str, Any] = json.loads((await worker.receive()).payload)["result"]
    return result


def _target(ref: dict[str, str], key: str | None = None, extra: str = "") -> str:
    key = ref["access_key"] if key is None else key
    return f"/ws/channels/{ref['channel_id']}?{extra}key={key}&dir={ref['direction']}"


@pytest.mark.parametrize("header", ["Origin: http://evil.test", "Origin: null", "Host: evil.test:49134"])
@pytest.mark.parametrize("target", ["/", "/otel", "channel", "/no/such/path"])
async def test_no_page_gets_any_socket(usual: Place, header: str, target: str) -> None:
    if target == "channel":
        target = _target((await _channel(usual))["reader"])
    assert (await _refused(usual, target, header))[0] == 403


async def test_the_token_is_needed_but_where_the_key_suffices(
    guarded: Place,
) -> None:
    for target in ("/?", "/otel?", "/?key=x&"):
        needed = (401, "a token is needed: Authorization: Bearer, or ?token=")
        page = ("Host: engine:49134", "Origin: http://app.test")
        assert await _refused(guarded, target) == await _refused(guarded, target, *page) == needed
        assert await _refused(guarded, f"{target}token=no") == (401, "the token is wrong")
        await guarded.dial(f"{target}token={TOKEN}", *page)
    refs = await _channel(guarded, f"Authorization: Bearer {TOKEN}")
    writer, reader = refs["writer"], refs["reader"]
    assert (await _refused(guarded, _target(writer), "Authorization: Bearer nope"))[0] == 401
    assert (await _refused(guarded, _target(writer, extra="token=nope&")))[0] == 401
    assert await _refused(guarded, _target(writer, key="nope")) == (404, "Channel not found")
    await guarded.dial(_target(writer))
    await guarded.dial(_target(reader, extra=f"token={TOKEN}&"), f"Authorization: Bearer {TOKEN}")


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
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * (66 << 10), 431),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01 and no end", 400),
        (b"GET / HTTP/2\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        (b"GET /%00%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (
            b"GET /" + b"a" * (30 << 10) + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            404,
        ),  # long, but not too long
    ],
)
async def test_bytes_that_are_no_good_request(usual: Place, data: bytes, status: int) -> None:
    answer = await _speak(usual, data)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert [line["event"] for line in usual.said[1:]] == ["request refused"]


async def test_connections_beyond_the_limit_are_closed_and_said() -> None:
    async with opened(max_connections=2) as place:
        workers = [await place.dial("/") for _ in range(2)]
        with pytest.raises(Dropped):
            await place.dial("/")
        assert place.said[-1] == {"event": "connection refused", "reason": "too many connections"}
        for worker in workers:
            assert json.loads((await worker.receive()).payload)["type"] == "workerregistered"

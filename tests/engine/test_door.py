"""Who may come in, what for, and how the others are refused."""

from __future__ import annotations

from itertools import count

import pytest
from websockets.datastructures import Headers

from iii_cli.engine.channels import ChannelTable
from iii_cli.engine.door import (
    ChannelEnd,
    Guard,
    HeadParser,
    MalformedOrigin,
    Refused,
    Route,
    admit,
    origin_of,
)
from iii_cli.engine.model import Settings
from iii_cli.engine.spans import SpanStore
from iii_cli.protocol.refs import Direction, Secret
from tests.engine.bench import uuid

TOKEN = "0123456789abcdef0123"


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


def _head(target: str, headers: str = UPGRADE, *, method: str = "GET", http: str = "1.1") -> bytes:
    return f"{method} {target} HTTP/{http}\r\nHost: localhost\r\n{headers}\r\n".encode()


def _ask(head: bytes, guard: Guard | None = None) -> Route | ChannelEnd:
    """What a request is let in for. It comes in two parts, and something is behind it."""
    parser = HeadParser()
    assert parser.feed(head[:3]) is None
    request = parser.feed(head[3:] + b"rest")
    assert request is not None
    assert parser.rest == b"rest"
    purpose, answer = admit(request, TABLE, guard or Guard())
    assert answer.startswith(b"HTTP/1.1 101 ")
    return purpose


def _refused(head: bytes, guard: Guard | None = None) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        _ask(head, guard)
    refusal = refused.value
    assert refusal.response().startswith(f"HTTP/1.1 {refusal.status} ".encode())
    assert (b"\r\nwww-authenticate: Bearer\r\n" in refusal.response()) is (refusal.status == 401)
    return refusal.status, refusal.body


@pytest.mark.parametrize(
    ("head", "status", "body"),
    [
        (_head("/nope", ""), 404, ""),
        (_head("/nope", method="POST"), 404, ""),
        (_head(f"{PATH}/?key={KEY}&dir=read"), 404, ""),
        (_head(f"{PATH}?key={KEY}", method="POST"), 405, "Request method must be `GET`"),
        (_head(f"{PATH}?key={KEY}", ""), 400, QUERY + "missing field `dir`"),
        (_head(f"{PATH}?dir=read", ""), 400, QUERY + "missing field `key`"),
        (_head(f"{PATH}?key=a&key=b&dir=read", ""), 400, QUERY + "duplicate field `key`"),
        (_head(f"{PATH}?key=nope&dir=read", ""), 400, "missing Connection header"),
        (_head(f"{PATH}?key=nope&dir=read"), 404, "Channel not found"),
        (_head(f"/ws/channels/nope?key={KEY}&dir=read"), 404, "Channel not found"),
        (_head("/", ""), 400, "missing Connection header"),
        (_head("/", method="DELETE"), 405, "Request method must be `GET`"),
        (_head("/", method="HEAD"), 405, ""),
        (_head("/", http="1.0"), 426, "WebSocket needs HTTP/1.1"),
        (_head("/", http="2"), 400, ""),
        (_head("/", UPGRADE.replace("13", "12")), 400, "invalid Sec-WebSocket-Version header: 12"),
        (_head("/%6ftel"), 404, ""),
        (_head(f"/%77s/channels/{ID}?key={KEY}&dir=read"), 404, ""),
        (_head("http://["), 400, ""),
        (_head("/%00%ff"), 404, ""),
        (_head("/" + "a" * (30 << 10)), 404, ""),  # long, but not too long
        (_head("/" + "a" * (66 << 10)), 431, ""),
        (_head("/", "X: " + "y" * (66 << 10)), 431, ""),
        (_head("/", "X: y\r\n" * 101), 431, ""),
        (_head("/", "no header\r\n"), 400, ""),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * (66 << 10), 431, ""),
        (b"\x16\x03\x01\x02\x00\x01 and no end", 400, ""),
        (b"get / HTTP/1.1", 400, ""),
    ],
)
def test_why_it_is_refused(head: bytes, status: int, body: str) -> None:
    assert _refused(head) == (status, body)


def test_what_is_asked_for() -> None:
    assert _ask(_head("/?token=x&token=y")) is Route.WORKER
    assert _ask(_head("/otel?x")) is Route.TELEMETRY
    odd = f"%{ord(ID[0]):02x}{ID[1:]}?key={KEY}&dir=write"
    for target in (f"{PATH}?dir=write&x=&key={KEY}&x=1", f"/ws/channels/{odd}"):
        assert _ask(_head(target)) == ChannelEnd(ID, Direction.WRITE)


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


# Both


@pytest.mark.parametrize("header", ["Origin: http://evil.test", "Origin: null", "Host: evil.test:49134"])
@pytest.mark.parametrize("target", ["/", "/otel", f"{PATH}?key={KEY}&dir=read", "/no/such/path"])
def test_no_page_gets_any_socket(header: str, target: str) -> None:
    assert _refused(_head(target, f"{header}\r\n{UPGRADE}"))[0] == 403


def test_the_token_is_needed_but_where_the_key_suffices() -> None:
    guard = Guard(Secret(TOKEN), frozenset(["http://app.test"]))
    page, bearer = f"Origin: http://app.test\r\n{UPGRADE}", f"Authorization: Bearer %s\r\n{UPGRADE}"
    for target in ("/?", "/otel?", "/?key=x&"):
        needed = (401, "a token is needed: Authorization: Bearer, or ?token=")
        assert _refused(_head(target), guard) == _refused(_head(target, page), guard) == needed
        assert _refused(_head(f"{target}token=no"), guard) == (401, "the token is wrong")
        _ask(_head(f"{target}token={TOKEN}", page), guard)
    end = f"{PATH}?dir=read&key="
    assert _refused(_head(end + KEY, bearer % "nope"), guard) == (401, "the token is wrong")
    assert _refused(_head(f"{end}{KEY}&token=nope"), guard) == (401, "the token is wrong")
    assert _refused(_head(f"{end}nope"), guard) == (404, "Channel not found")
    _ask(_head(end + KEY), guard)
    _ask(_head(f"{end}{KEY}&token={TOKEN}", bearer % TOKEN), guard)

"""What a request asks for, and in which order it is refused (protocol.md 4.1)."""

from __future__ import annotations

from itertools import count

import pytest

from iii_cli.engine.channels import ChannelTable
from iii_cli.engine.front import ForChannel, ForTelemetry, ForWorker, Purpose, purpose_of
from iii_cli.engine.guard import Guard
from iii_cli.engine.model import Settings
from iii_cli.engine.spans import SpanStore
from iii_cli.protocol.handshake import BadRequest, parse_request
from iii_cli.protocol.refs import Direction
from tests.engine.bench import uuid

UPGRADE = (
    "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: k\r\n"
)
ids = count(1)
TABLE = ChannelTable(lambda: uuid(next(ids)), Settings(), SpanStore(lambda: "", max_spans=1, max_bytes=1))
CHANNEL = TABLE.create(None, 0)
ID, KEY = CHANNEL.id, CHANNEL.key.reveal()
PATH = f"/ws/channels/{ID}"
QUERY = "Failed to deserialize query string: "


def _ask(target: str, *, method: str = "GET", headers: str = UPGRADE) -> Purpose:
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
    return purpose_of(parse_request(head.encode()), TABLE, Guard())


@pytest.mark.parametrize(
    ("target", "purpose"),
    [
        ("/", ForWorker()),
        ("/?token=x&token=y", ForWorker()),
        ("/otel", ForTelemetry()),
        ("/otel?x", ForTelemetry()),
        (f"{PATH}?key={KEY}&dir=read", ForChannel(ID, Direction.READ)),
        (f"{PATH}?dir=write&x=&key={KEY}&x=1", ForChannel(ID, Direction.WRITE)),
        (f"/ws/channels/%{ord(ID[0]):02x}{ID[1:]}?key={KEY}&dir=read", ForChannel(ID, Direction.READ)),
    ],
)
def test_what_is_asked_for(target: str, purpose: Purpose) -> None:
    assert _ask(target) == purpose


@pytest.mark.parametrize(
    ("target", "method", "headers", "status", "body"),
    [
        ("/nope", "GET", "", 404, ""),
        ("/nope", "POST", UPGRADE, 404, ""),
        (f"{PATH}/?key={KEY}&dir=read", "GET", UPGRADE, 404, ""),
        (f"{PATH}?key={KEY}", "POST", UPGRADE, 405, "Request method must be `GET`"),
        (f"{PATH}?key={KEY}", "GET", "", 400, QUERY + "missing field `dir`"),
        (f"{PATH}?dir=read", "GET", "", 400, QUERY + "missing field `key`"),
        (f"{PATH}?key=a&key=b&dir=read", "GET", "", 400, QUERY + "duplicate field `key`"),
        (f"{PATH}?key=nope&dir=read", "GET", "", 400, "Connection header did not include 'upgrade'"),
        (f"{PATH}?key=nope&dir=read", "GET", UPGRADE, 404, "Channel not found"),
        (f"/ws/channels/nope?key={KEY}&dir=read", "GET", UPGRADE, 404, "Channel not found"),
        ("/", "GET", "", 400, "Connection header did not include 'upgrade'"),
        ("/", "DELETE", UPGRADE, 405, "Request method must be `GET`"),
        ("/", "HEAD", UPGRADE, 405, ""),
        ("/%6ftel", "GET", UPGRADE, 404, ""),
        (f"/%77s/channels/{ID}?key={KEY}&dir=read", "GET", UPGRADE, 404, ""),
    ],
)
def test_why_it_is_refused(target: str, method: str, headers: str, status: int, body: str) -> None:
    with pytest.raises(BadRequest) as refused:
        _ask(target, method=method, headers=headers)
    assert (refused.value.status, refused.value.body) == (status, body)


def test_an_upgrade_needs_http_1_1() -> None:
    head = f"GET / HTTP/1.0\r\nHost: localhost\r\n{UPGRADE}\r\n"
    with pytest.raises(BadRequest) as refused:
        purpose_of(parse_request(head.encode()), TABLE, Guard())
    assert refused.value.status == 426

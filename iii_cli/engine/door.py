"""Who may come in, and what for: the HTTP head of a connection (docs: protocol, "Listener").

`websockets` parses the head and answers the upgrade. What is decided here is which requests are welcome.

A web page in the developer's own browser can reach loopback, so being there protects nothing from it. Two
things give a page away, and it can leave out neither: browsers set `Origin` on every WebSocket, and `Host` is
the name in the page's URL. A page elsewhere has a foreign origin. A page whose own name was made to point at
us (DNS rebinding) has the origin that fits, but the host is a name that is not ours; it is never a bare
address, because an address needs no DNS. Programs outside browsers dial addresses or `localhost`, and send no
`Origin`, or (websocket-client for Python, Go's x/net) the address that they dialled. No page has that one:
the engine serves none on its port.

A token is for engines that other machines reach. A channel's key is enough on channel sockets, as SDKs
before 0.25 send no headers there; but a token that is sent must be right.
"""

from __future__ import annotations

import ipaddress
from enum import Enum, auto
from hmac import compare_digest
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from msgspec import Struct
from websockets.datastructures import Headers
from websockets.exceptions import HeaderLineTooLong, RequestLineTooLong, TooManyHeaders
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

from iii_cli.protocol.handshake import HEAD_BYTES_MAX, HEADERS_MAX
from iii_cli.protocol.refs import Direction

if TYPE_CHECKING:
    from collections.abc import Generator

    from iii_cli.engine.channels import ChannelTable
    from iii_cli.protocol.refs import Secret

__all__ = (
    "ChannelEnd",
    "Guard",
    "HeadParser",
    "MalformedOrigin",
    "Purpose",
    "Refused",
    "Route",
    "admit",
    "host_name",
    "is_loopback",
    "origin_of",
)

SHOWN_MAX = 100  # characters of a foreign header that a log line repeats


class Refused(Exception):
    """The request is not answered with an upgrade, and the connection is closed."""

    def __init__(self, status: int, body: str = "") -> None:
        super().__init__(body)
        self.status = status
        self.body = body

    def response(self) -> bytes:
        """The HTTP answer."""
        payload = self.body.encode()
        headers = Headers({"connection": "close", "content-length": str(len(payload))})
        if payload:
            headers["content-type"] = "text/plain; charset=utf-8"
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"  # RFC 9110 15.5.2 wants one
        return Response(self.status, HTTPStatus(self.status).phrase, headers, payload).serialize()


# The head


class HeadParser:
    """The request head of one connection, as its bytes come."""

    def __init__(self) -> None:
        self._reader = StreamReader()
        self._parsing = Request.parse(self._read_line)
        self._received = 0

    def feed(self, data: bytes) -> Request | None:
        """The request, once the head is complete. Raises Refused for what is none, or is too long.

        What cannot become one, TLS for instance, is not waited for.
        """
        if not self._received and not data[:1].isupper():  # GET, POST, ...
            raise Refused(400)
        self._received += len(data)
        self._reader.feed_data(data)
        try:
            next(self._parsing)
        except StopIteration as parsed:
            request: Request = parsed.value
            if len(list(request.headers.raw_items())) > HEADERS_MAX:
                raise Refused(431) from None
            return request
        except (RequestLineTooLong, HeaderLineTooLong, TooManyHeaders):
            raise Refused(431) from None
        except (ValueError, EOFError, NotImplementedError):  # websockets' words for what is no request
            raise Refused(400) from None
        if self._received > HEAD_BYTES_MAX:
            raise Refused(431)
        return None

    @property
    def rest(self) -> bytes:
        """What came behind the head."""
        return bytes(self._reader.buffer)

    def _read_line(self, limit: int, error: type[Exception]) -> Generator[None, None, bytearray]:
        return self._reader.read_line(HEAD_BYTES_MAX, error)  # a long line is as good as many short ones


# What is asked for


class Route(Enum):
    """The sockets of which there is one path each."""

    WORKER = auto()  # GET /
    TELEMETRY = auto()  # GET /otel


class ChannelEnd(Struct, frozen=True):
    """`GET /ws/channels/ID`, with a key that is right."""

    channel_id: str
    direction: Direction


Purpose: TypeAlias = Route | ChannelEnd


def admit(request: Request, channels: ChannelTable, guard: Guard) -> tuple[Purpose, bytes]:
    """What the request wants, and the 101 that it gets: first whether it may, then in the order in which the
    real engine looks at it: the route, the query, the upgrade, the channel.

    Raises Refused.
    """
    path, _, query = request.path.partition("?")
    parameters = parse_qsl(query, keep_blank_values=True)
    guard.check_page(request.headers)
    guard.check_token(request.headers, parameters, needed=not path.startswith("/ws/channels/"))
    purpose: Purpose
    key = ""
    match path.split("/"):
        case ["", ""]:
            purpose = Route.WORKER
        case ["", "otel"]:
            purpose = Route.TELEMETRY
        case ["", "ws", "channels", channel_id] if channel_id:
            if request.method != "GET":
                raise _not_get(request)
            key, direction = _read_query(parameters)
            purpose = ChannelEnd(unquote(channel_id), direction)
        case ["", *_]:
            raise Refused(404)
        case _:  # not a path
            raise Refused(400)
    answer = _upgrade(request)
    if isinstance(purpose, ChannelEnd) and not channels.exists(purpose.channel_id, key):
        raise Refused(404, "Channel not found")
    return purpose, answer


def _upgrade(request: Request) -> bytes:
    if request.method != "GET":
        raise _not_get(request)
    if request.protocol != "HTTP/1.1":
        raise Refused(426, "WebSocket needs HTTP/1.1")
    protocol = ServerProtocol()
    response = protocol.accept(request)
    if response.status_code != 101:
        raise Refused(400, str(protocol.handshake_exc))
    return response.serialize()


def _not_get(request: Request) -> Refused:
    return Refused(405, "" if request.method == "HEAD" else "Request method must be `GET`")


def _read_query(parameters: list[tuple[str, str]]) -> tuple[str, Direction]:
    """Unknown parameters are ignored, `dir` is lower-case only."""
    given: dict[str, str] = {}
    for name, value in parameters:
        if name not in ("key", "dir"):
            continue
        if name in given:
            raise _bad_query(f"duplicate field `{name}`")
        if name == "dir" and value not in ("read", "write"):
            raise _bad_query(f"dir: unknown variant `{value}`, expected `read` or `write`")
        given[name] = value
    for name in ("key", "dir"):
        if name not in given:
            raise _bad_query(f"missing field `{name}`")
    return given["key"], Direction(given["dir"])


def _bad_query(why: str) -> Refused:
    return Refused(400, f"Failed to deserialize query string: {why}")


# Who may


class MalformedOrigin(ValueError):
    """The text is not the origin of a web page."""


class Guard(Struct, frozen=True):
    """What a request must show. The default is for loopback: no token, no web page."""

    token: Secret | None = None
    origins: frozenset[str] = frozenset()  # as `origin_of` writes them
    hosts: frozenset[str] = frozenset()  # names beside addresses and localhost, as `host_name` writes them
    port: int | None = None  # that the engine listens on
    scheme: str = "http"  # of a page that it would serve

    def check_page(self, headers: Headers) -> None:
        """Is this no web page, or one that may? Raises Refused 403."""
        host, origin = _header(headers, "Host"), _header(headers, "Origin")
        if host is not None and not self._knows(host):
            raise Refused(403, f"host {host[:SHOWN_MAX]} is not ours; see --allow-host")
        if origin is None or origin.lower() in self.origins:
            return
        dialled = (host or "").lower()
        if not dialled.endswith(f":{self.port}") or origin.lower() != f"{self.scheme}://{dialled}":
            raise Refused(403, f"web pages of {origin[:SHOWN_MAX]} may not; see --allow-origin")

    def check_token(self, headers: Headers, parameters: list[tuple[str, str]], *, needed: bool) -> None:
        """Is every token that was sent right, and is one there if `needed`? Raises Refused 401.

        Tokens are the bearer's and every `?token=`. Other schemes belong to a gateway before us.
        """
        if self.token is None:
            return
        shown = [value for name, value in parameters if name == "token"]
        scheme, _, token = (_header(headers, "Authorization") or "").partition(" ")
        if scheme.lower() == "bearer":
            shown.append(token.strip())
        if needed and not shown:
            raise Refused(401, "a token is needed: Authorization: Bearer, or ?token=")
        expected = self.token.reveal().encode()
        if not all(compare_digest(expected, token.encode()) for token in shown):
            raise Refused(401, "the token is wrong")

    def _knows(self, host: str) -> bool:
        name = host_name(host)
        return bool(name) and (name == "localhost" or name in self.hosts or _address_of(name) is not None)


def _header(headers: Headers, name: str) -> str | None:
    """Its value; those of repeated ones are joined with a comma."""
    return ", ".join(headers.get_all(name)) if name in headers else None


def host_name(host: str) -> str:
    """The name or address in `HOST[:PORT]`, in lower case, without a final dot or an address's brackets."""
    if not host.isprintable() or " " in host:  # urlsplit leaves some of these out
        return ""
    try:
        parts = urlsplit(f"//{host}")
        name = parts.hostname or ""
        fits = parts.port is None or parts.port >= 0
    except ValueError:
        return ""
    clean = parts.path == "" and "@" not in host and "?" not in host and "#" not in host
    return name.removesuffix(".") if clean and fits else ""


def origin_of(text: str) -> str:
    """`SCHEME://HOST[:PORT]` as browsers write it, for `Guard.origins`.

    Raises MalformedOrigin, also for `*` and `null`: every page can be `null`, by way of a sandboxed frame.
    """
    scheme, separator, host = text.strip().lower().removesuffix("/").partition("://")
    if not separator or not scheme.isalnum() or not host_name(host):
        raise MalformedOrigin("the origin of a web page is written like https://app.example.com:8080")
    standard = {"http": ":80", "https": ":443"}.get(scheme)
    return f"{scheme}://{host.removesuffix(standard) if standard else host}"


def is_loopback(address: str) -> bool:
    """Is this numeric address only for this machine?"""
    found = _address_of(address)
    return found is not None and found.is_loopback


def _address_of(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None

"""The opening handshake, both sides, without I/O (RFC 6455 section 4; protocol.md 1.1 and 4.1)."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import parse_qsl

from msgspec import Struct

from iii_cli.errors import PeerMisbehaved

__all__ = (
    "HEAD_BYTES_MAX",
    "BadRequest",
    "Request",
    "Response",
    "accept_response",
    "check_accepted",
    "parse_request",
    "parse_response",
    "plain_response",
    "upgrade_request",
)


try:  # hashlib brings OpenSSL, which takes longer to load than a one-line command takes to connect
    from _sha1 import sha1  # type: ignore[import-not-found, unused-ignore]
except ImportError:  # a Python without its own
    from hashlib import sha1


HEAD_BYTES_MAX = 64 << 10  # no SDK or gateway comes near; more is an attack or not HTTP
HEADERS_MAX = 100  # hyper's own limit, which the real engine stands on
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_REASONS = {
    101: "Switching Protocols",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    426: "Upgrade Required",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class BadRequest(ValueError):
    """The peer's head is not HTTP/1.1, or not the request it should be. `status` is what to answer."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(body)
        self.status = status
        self.body = body


class Request(Struct, frozen=True):
    """An HTTP request head. Header names are lower-case; repeated ones are joined with a comma."""

    method: str
    target: str
    headers: dict[str, str]
    version: str = "HTTP/1.1"

    @property
    def path(self) -> str:
        """The path as it was sent, not decoded."""
        return self.target.partition("?")[0]  # urlsplit would keep the target, key and all, in its cache

    @property
    def query(self) -> list[tuple[str, str]]:
        """The decoded query parameters, in order, blank ones kept."""
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    def segments(self) -> list[str]:
        """The segments of the path, not decoded: `/ws/channels/a` is `["ws", "channels", "a"]`."""
        return self.path.split("/")[1:]

    def upgrade_fault(self) -> BadRequest | None:
        """Why this is not a WebSocket upgrade; None when it is one. The texts are the real engine's."""
        if self.method != "GET":
            return BadRequest(405, "Request method must be `GET`" if self.method != "HEAD" else "")
        if self.version != "HTTP/1.1":
            return BadRequest(426, "WebSocket needs HTTP/1.1")
        if "upgrade" not in _tokens(self.headers.get("connection", "")):
            return BadRequest(400, "Connection header did not include 'upgrade'")
        if "websocket" not in _tokens(self.headers.get("upgrade", "")):
            return BadRequest(400, "`Upgrade` header did not include 'websocket'")
        if self.headers.get("sec-websocket-version", "").strip() != "13":
            return BadRequest(400, "`Sec-WebSocket-Version` header did not include '13'")
        if not self.headers.get("sec-websocket-key"):
            return BadRequest(400, "`Sec-WebSocket-Key` header missing")
        return None


class Response(Struct, frozen=True):
    """An HTTP response head."""

    status: int
    headers: dict[str, str]


def upgrade_request(authority: str, target: str, nonce: bytes, headers: list[tuple[str, str]]) -> bytes:
    """The client's request. `nonce` is 16 random bytes.

    Raises ValueError for a header that could not be sent as it is.
    """
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {authority}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {b64encode(nonce).decode()}",
        "Sec-WebSocket-Version: 13",
    ]
    for name, value in headers:
        if not name or any(c in " \t:\r\n\0" for c in name) or any(c in "\r\n\0" for c in value):
            raise ValueError(f"the header {name!r} cannot be sent")
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")


def accept_response(key: str, date: str) -> bytes:
    """The server's 101, with no header that the real engine does not send (protocol.md 1.1)."""
    return (
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        f"sec-websocket-accept: {_accept_key(key)}\r\ndate: {date}\r\n\r\n"
    ).encode()


def plain_response(status: int, body: str = "") -> bytes:
    """An HTTP answer that is not an upgrade, after which the connection is closed."""
    head = f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\n"
    if body:
        head += "content-type: text/plain; charset=utf-8\r\n"
    if status == 401:
        head += "www-authenticate: Bearer\r\n"  # RFC 9110 15.5.2 wants one
    payload = body.encode()
    return f"{head}connection: close\r\ncontent-length: {len(payload)}\r\n\r\n".encode() + payload


def parse_request(head: bytes) -> Request:
    """Read the request head up to and with its blank line.

    Raises BadRequest.
    """
    first, headers = _parse_head(head)
    parts = first.split(" ")
    if len(parts) != 3 or not parts[1] or parts[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise BadRequest(400, "")
    if not parts[1].startswith("/") or "[" in parts[1].partition("?")[0]:
        raise BadRequest(400, "")
    return Request(parts[0], parts[1], headers, parts[2])


def parse_response(head: bytes) -> Response:
    """Read the response head up to and with its blank line.

    Raises PeerMisbehaved where that is not HTTP.
    """
    try:
        first, headers = _parse_head(head)
        version, status, *_ = first.split(" ")
        if not version.startswith("HTTP/1.") or len(status) != 3:
            raise ValueError
        return Response(int(status), headers)
    except ValueError:
        raise PeerMisbehaved("what answers there does not speak HTTP") from None


def check_accepted(response: Response, nonce: bytes) -> None:
    """Is this 101 the answer to our request?

    Raises PeerMisbehaved where it is not.
    """
    headers = response.headers
    expected = _accept_key(b64encode(nonce).decode())
    if "websocket" not in _tokens(headers.get("upgrade", "")) or "upgrade" not in _tokens(
        headers.get("connection", "")
    ):
        raise PeerMisbehaved("the answer to our upgrade request is not an upgrade")
    if headers.get("sec-websocket-accept", "").strip() != expected:
        raise PeerMisbehaved("the answer to our upgrade request carries the wrong key")
    if headers.get("sec-websocket-extensions") or headers.get("sec-websocket-protocol"):
        raise PeerMisbehaved("the engine chose an extension or subprotocol that was not offered")


def _parse_head(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    if len(lines) > HEADERS_MAX:
        raise BadRequest(431, "")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest(400, "")
        name = name.lower()
        value = value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return first, headers


def _tokens(value: str) -> list[str]:
    return [token.strip().lower() for token in value.split(",")]


def _accept_key(key: str) -> str:
    return b64encode(sha1(key.strip().encode() + _GUID, usedforsecurity=False).digest()).decode()

"""The opening handshake, the client's side, without I/O (RFC 6455 section 4; docs: protocol, "Listener")."""

from __future__ import annotations

from base64 import b64encode

from msgspec import Struct

from iii_cli.errors import PeerMisbehaved

__all__ = (
    "HEADERS_MAX",
    "HEAD_BYTES_MAX",
    "Response",
    "check_accepted",
    "parse_response",
    "upgrade_request",
)


try:  # hashlib brings OpenSSL, which takes longer to load than a one-line command takes to connect
    from _sha1 import sha1  # type: ignore[import-not-found, unused-ignore]
except ImportError:  # a Python without its own
    from hashlib import sha1


HEAD_BYTES_MAX = 64 << 10  # no SDK or gateway comes near; more is an attack or not HTTP
HEADERS_MAX = 100  # hyper's own limit, which the real engine stands on
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Response(Struct, frozen=True):
    """An HTTP response head. Names of headers are in lower case, repeated ones are joined with a comma."""

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


def parse_response(head: bytes) -> Response:
    """Read the response head up to and with its blank line.

    Raises PeerMisbehaved where that is not HTTP.
    """
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    headers: dict[str, str] = {}
    try:
        version, status, *_ = first.split(" ")
        if not version.startswith("HTTP/1.") or len(status) != 3 or len(lines) > HEADERS_MAX:
            raise ValueError
        for line in lines:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise ValueError
            name, value = name.lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return Response(int(status), headers)
    except ValueError:
        raise PeerMisbehaved("what answers there does not speak HTTP") from None


def check_accepted(response: Response, nonce: bytes) -> None:
    """Is this 101 the answer to our request?

    Raises PeerMisbehaved where it is not.
    """
    headers = response.headers
    accept = b64encode(sha1(b64encode(nonce) + _GUID, usedforsecurity=False).digest()).decode()
    if "websocket" not in _tokens(headers.get("upgrade", "")) or "upgrade" not in _tokens(
        headers.get("connection", "")
    ):
        raise PeerMisbehaved("the answer to our upgrade request is not an upgrade")
    if headers.get("sec-websocket-accept", "").strip() != accept:
        raise PeerMisbehaved("the answer to our upgrade request carries the wrong key")
    if headers.get("sec-websocket-extensions") or headers.get("sec-websocket-protocol"):
        raise PeerMisbehaved("the engine chose an extension or subprotocol that was not offered")


def _tokens(value: str) -> list[str]:
    return [token.strip().lower() for token in value.split(",")]

"""Who may knock: checks of an upgrade request before anything else is looked at.

Theory of operation. A web page in the developer's own browser can reach loopback, so being there protects
nothing from it. Two things give a page away, and it can leave out neither: browsers set `Origin` on every
WebSocket, and `Host` is the name in the page's URL. A page elsewhere has a foreign origin. A page whose own
name was made to point at us (DNS rebinding) has the origin that fits, but the host is a name that is not
ours; it is never a bare address, because an address needs no DNS. Programs outside browsers dial addresses or
`localhost`, and send no `Origin`, or (websocket-client for Python, Go's x/net) the address that they dialled.
No page has that one: the engine serves none on its port.

A token is for engines that other machines reach. A channel's key is enough on channel sockets, as SDKs
before 0.25 send no headers there (protocol.md 11); but a token that is sent must be right.
"""

from __future__ import annotations

import ipaddress
from hmac import compare_digest
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from iii_cli.protocol.handshake import BadRequest

if TYPE_CHECKING:
    from iii_cli.protocol.handshake import Request
    from iii_cli.protocol.refs import Secret

__all__ = ("Guard", "MalformedOrigin", "host_name", "is_loopback", "origin_of")

SHOWN_MAX = 100  # characters of a foreign header that a log line repeats


class MalformedOrigin(ValueError):
    """The text is not the origin of a web page."""


class Guard(Struct, frozen=True):
    """What a request must show. The default is for loopback: no token, no web page."""

    token: Secret | None = None
    origins: frozenset[str] = frozenset()  # as `origin_of` writes them
    hosts: frozenset[str] = frozenset()  # names beside addresses and localhost, as `host_name` writes them
    port: int | None = None  # that the engine listens on
    scheme: str = "http"  # of a page that it would serve

    def at(self, port: int, *, secure: bool = False) -> Guard:
        """The same guard on that port, perhaps behind TLS."""
        return Guard(self.token, self.origins, self.hosts, port, "https" if secure else "http")

    def check_page(self, request: Request) -> None:
        """Is this no web page, or one that may? Raises BadRequest 403."""
        headers = request.headers
        if "host" in headers and not self._knows(headers["host"]):
            raise BadRequest(403, f"host {headers['host'][:SHOWN_MAX]} is not ours; see --allow-host")
        origin = headers.get("origin", "").lower()
        if "origin" in headers and origin not in self.origins and not self._is_dialled(origin, headers):
            raise BadRequest(403, f"web pages of {headers['origin'][:SHOWN_MAX]} may not; see --allow-origin")

    def check_token(self, request: Request, *, needed: bool) -> None:
        """Is every token that was sent right, and is one there if `needed`? Raises BadRequest 401."""
        if self.token is None:
            return
        shown = _tokens_of(request)
        if needed and not shown:
            raise BadRequest(401, "a token is needed: Authorization: Bearer, or ?token=")
        expected = self.token.reveal().encode()
        if not all(compare_digest(expected, token.encode()) for token in shown):
            raise BadRequest(401, "the token is wrong")

    def _is_dialled(self, origin: str, headers: dict[str, str]) -> bool:
        host = headers.get("host", "").lower()
        return origin == f"{self.scheme}://{host}" and host.endswith(f":{self.port}")

    def _knows(self, host: str) -> bool:
        name = host_name(host)
        return bool(name) and (name == "localhost" or name in self.hosts or _address_of(name) is not None)


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


def _tokens_of(request: Request) -> list[str]:
    """The bearer token and every `?token=`. Other schemes belong to a gateway before us."""
    found = [value for name, value in request.query if name == "token"]
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        found.append(token.strip())
    return found

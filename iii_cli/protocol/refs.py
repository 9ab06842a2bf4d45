"""Refs: what names one end of a channel, and where its engine is."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING, Any, final
from urllib.parse import quote, unquote, urlsplit

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = (
    "DEFAULT_URL",
    "ChannelRef",
    "Direction",
    "Endpoint",
    "EngineAddress",
    "MalformedAddress",
    "MalformedRef",
    "Secret",
    "TlsFiles",
    "is_ref",
    "secrets_in",
    "without_secrets",
)


@final
class Secret:
    """An access key or a token: `repr`, `str` and formatting mask it, only `reveal()` reads it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The secret itself. Call this only where it goes onto the wire or into a 0600 file."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)


SCHEME = "iii"


class MalformedRef(ValueError):
    """The text or object is not a ref. The message never repeats what was given: it may hold a key."""


class Direction(Enum):
    """Which end a ref names. The engine does not check it: either ref opens either end."""

    READ = "read"
    WRITE = "write"

    @property
    def noun(self) -> str:
        """`reader` or `writer`."""
        return "reader" if self is Direction.READ else "writer"


class ChannelRef(Struct, frozen=True):
    """One end of one channel. Whoever holds it may open either end, without further authentication."""

    channel_id: str
    access_key: Secret
    direction: Direction

    def to_json(self) -> dict[str, str]:
        """The three string keys by which every SDK knows a ref."""
        return {
            "channel_id": self.channel_id,
            "access_key": self.access_key.reveal(),
            "direction": self.direction.value,
        }

    def to_token(self) -> str:
        """`iii:read:ID:KEY`, one shell-safe word."""
        channel_id, key = (quote(part, safe="") for part in (self.channel_id, self.access_key.reveal()))
        return f"{SCHEME}:{self.direction.value}:{channel_id}:{key}"

    def facing(self, direction: Direction) -> ChannelRef:
        """The same channel's end in `direction`."""
        return ChannelRef(self.channel_id, self.access_key, direction)

    @classmethod
    def from_json(cls, value: Any) -> ChannelRef:
        """Read the object that SDKs print and pass. Extra keys are allowed.

        Raises MalformedRef.
        """
        if not is_ref(value):
            raise MalformedRef("a ref needs the strings channel_id, access_key and direction")
        fields: Mapping[str, str] = value
        if not fields["channel_id"] or not fields["access_key"]:
            raise MalformedRef("the ref's channel_id or access_key is empty")
        if any("\ud800" <= c <= "\udfff" for c in fields["channel_id"] + fields["access_key"]):
            raise MalformedRef("the ref is not text: it holds half a surrogate pair")  # no URL can carry it
        try:
            direction = Direction(fields["direction"])
        except ValueError:
            raise MalformedRef("a ref's direction is `read` or `write`") from None
        return cls(fields["channel_id"], Secret(fields["access_key"]), direction)

    @classmethod
    def from_token(cls, text: str) -> ChannelRef:
        """Read `iii:read:ID:KEY` or `iii:write:ID:KEY`.

        Raises MalformedRef.
        """
        parts = text.split(":")
        if len(parts) != 4 or parts[0] != SCHEME:
            raise MalformedRef("a token has the form iii:read:ID:KEY or iii:write:ID:KEY")
        _, direction, channel_id, key = parts
        return cls.from_json(
            {"channel_id": unquote(channel_id), "access_key": unquote(key), "direction": direction}
        )


def is_ref(value: Any) -> bool:
    """Would an SDK take `value` for a ref? All three keys, all strings (docs: protocol, "Refs")."""
    return isinstance(value, dict) and all(
        isinstance(value.get(key), str) for key in ("channel_id", "access_key", "direction")
    )


DEFAULT_PORT = 49134
DEFAULT_URL = f"ws://localhost:{DEFAULT_PORT}"
# Words of the names under which gateways look for a secret in a query; our own engine takes `token`.
_SECRET_WORDS = frozenset(
    {"token", "key", "apikey", "secret", "password", "auth", "authorization", "jwt", "sig", "signature"}
)


class MalformedAddress(ValueError):
    """The text is not the URL of an engine."""


class EngineAddress(Struct, frozen=True):
    """An engine's URL in parts. The path has no trailing slash; the query is kept as it was written."""

    secure: bool
    host: str
    port: int
    path: str = ""
    query: str = ""  # gateways put tokens here

    def __repr__(self) -> str:
        return f"EngineAddress({self.url!r})"

    @classmethod
    def parse(cls, url: str) -> EngineAddress:
        """Read `ws://HOST[:PORT][/PATH][?QUERY]` or `wss://…`. A bare `HOST:PORT` is taken for `ws`.

        Without a port: 49134 for `ws`, 443 for `wss`. Raises MalformedAddress.
        """
        text = url.strip()
        if not text or " " in text or not text.isprintable():  # half of a surrogate pair is not either
            raise MalformedAddress("an engine URL has the form ws://HOST:PORT or wss://HOST[:PORT][/PATH]")
        if "://" not in text:
            text = f"ws://{text}"
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:  # whose text repeats what stands where the port should: maybe a password
            raise MalformedAddress("an engine URL has the form ws://HOST:PORT, the port a number") from None
        if parts.scheme not in ("ws", "wss"):
            raise MalformedAddress(f"an engine URL begins with ws:// or wss://, not {parts.scheme}://")
        if not parts.hostname:
            raise MalformedAddress("an engine URL needs a host: ws://HOST:PORT")
        if parts.username is not None or parts.password is not None:
            raise MalformedAddress("no user or password in an engine URL; use III_TOKEN or a token file")
        secure = parts.scheme == "wss"
        if port is None:
            port = 443 if secure else DEFAULT_PORT
        path = quote(parts.path, safe="/%:@!$&'()*+,;=~-._").rstrip("/")
        query = quote(parts.query, safe="/%:@!$&'()*+,;=~-._?")
        return cls(secure, parts.hostname, port, path, query)

    @property
    def authority(self) -> str:
        """`HOST:PORT`, as the Host header wants it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """For people: without the query, which may hold a token."""
        return f"{'wss' if self.secure else 'ws'}://{self.authority}{self.path}"

    @property
    def full_url(self) -> str:
        """With the query. Not for people."""
        return f"{self.url}?{self.query}" if self.query else self.url

    @property
    def is_loopback(self) -> bool:
        """Does the name say that the engine is on this machine?"""
        numbers = self.host.replace(".", "").isdigit()  # 127.0.0.1.example.org is somewhere else
        return self.host in ("localhost", "::1") or (self.host.startswith("127.") and numbers)

    def worker_target(self) -> str:
        """The request target of the worker socket."""
        return f"{self.path or ''}/" + (f"?{self.query}" if self.query else "")

    def channel_target(self, ref: ChannelRef) -> str:
        """The request target of the ref's end. Holds the access key: never for people."""
        extra = f"{self.query}&" if self.query else ""
        key = quote(ref.access_key.reveal(), safe="")
        channel = quote(ref.channel_id, safe="")
        return f"{self.path}/ws/channels/{channel}?{extra}key={key}&dir={ref.direction.value}"

    def __str__(self) -> str:
        return self.url


class TlsFiles(Struct, frozen=True):
    """What `wss://` needs beyond the system's trust. Paths of PEM files."""

    ca_file: str | None = None
    certificate: str | None = None
    key: str | None = None
    server_name: str | None = None


class Endpoint(Struct, frozen=True):
    """An address and everything a connection to it must carry."""

    address: EngineAddress
    token: Secret | None = None
    headers: tuple[tuple[str, Secret], ...] = ()
    tls: TlsFiles = TlsFiles()
    connect_timeout: float | None = 10.0  # seconds; None waits for ever
    wait_engine: float | None = None  # seconds to retry a refused connection; None: not at all

    def request_headers(self) -> list[tuple[str, str]]:
        """The headers of the upgrade request, the bearer token among them. Holds secrets."""
        lines = [(name, value.reveal()) for name, value in self.headers]
        if self.token and not any(name.lower() == "authorization" for name, _ in lines):
            lines.append(("Authorization", f"Bearer {self.token.reveal()}"))
        return lines


def without_secrets(url: str) -> str:
    """The URL without the parameters of its query that are secrets by their names, such as `?token=`."""
    base, mark, query = url.partition("?")
    kept = [part for part in query.split("&") if not _is_secret(part.partition("=")[0])]
    return base + (mark + "&".join(kept) if kept else "")


def secrets_in(url: str) -> list[str]:
    """What `without_secrets` takes away: the values."""
    parts = [part.partition("=") for part in url.partition("?")[2].split("&")]
    return [value for name, _, value in parts if _is_secret(name)]


def _is_secret(name: str) -> bool:
    return not _SECRET_WORDS.isdisjoint(re.split(r"[^a-z]+", unquote(name).lower()))

"""What the fields of messages hold, and how strictly each is read (protocol.md section 2)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "Action",
    "Enqueue",
    "ErrorBody",
    "HttpInvocation",
    "MalformedMessage",
    "Uuid",
    "Void",
    "parse_uuid",
    "reader_of",
)

Uuid: TypeAlias = str  # hyphenated, lower case
HttpInvocation: TypeAlias = dict[str, Any]  # 2.1: where and how the engine calls a function over HTTP


class MalformedMessage(ValueError):
    """The text is not a message of the protocol."""


class ErrorBody(Value):
    """What went wrong, wherever the protocol says so. `stacktrace` is the language's own."""

    code: str
    message: str
    stacktrace: str | None = None

    def to_json(self) -> dict[str, str]:
        """The object on the wire."""
        body = {"code": self.code, "message": self.message}
        if self.stacktrace is not None:
            body["stacktrace"] = self.stacktrace
        return body


class Void(Value):
    """Run it, and let nobody hear how it went."""

    def to_json(self) -> dict[str, str]:
        """The object on the wire."""
        return {"type": "void"}


class Enqueue(Value):
    """Put the call into a queue; the answer is the message's receipt id."""

    queue: str

    def to_json(self) -> dict[str, str]:
        """The object on the wire."""
        return {"type": "enqueue", "queue": self.queue}


Action: TypeAlias = Void | Enqueue


def reader_of(annotation: str) -> Callable[[str, Any], Any]:
    """What reads a field of that type: (name, a value that is not None) -> the value.

    What it returns raises MalformedMessage.
    """
    return _READERS[annotation.removesuffix(" | None")]


def _any(name: str, value: Any) -> Any:
    return value


def _string(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise MalformedMessage(f"`{name}` is not a string")
    return value


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedMessage(f"`{name}` is not an object")
    return value


_HEX_GROUPS = "-".join(f"[0-9a-f]{{{n}}}" for n in (8, 4, 4, 4, 12))
_UUID = re.compile(_HEX_GROUPS)
_OTHER_UUID = re.compile(
    rf"(?P<simple>[0-9a-f]{{32}})|(?-i:urn:uuid:)?(?P<plain>{_HEX_GROUPS})|\{{(?P<braced>{_HEX_GROUPS})\}}",
    re.IGNORECASE,
)


def parse_uuid(text: str) -> str | None:
    """The hyphenated lower-case form of a UUID in any form the engine reads; None if it is none."""
    if _UUID.fullmatch(text):
        return text
    match = _OTHER_UUID.fullmatch(text)
    if match is None:
        return None
    simple = match["simple"]
    if simple:
        simple = simple.lower()
        return f"{simple[:8]}-{simple[8:12]}-{simple[12:16]}-{simple[16:20]}-{simple[20:]}"
    return (match["plain"] or match["braced"]).lower()


def _uuid(name: str, value: Any) -> str:
    uuid = parse_uuid(value) if isinstance(value, str) else None
    if uuid is None:
        raise MalformedMessage(f"`{name}` is not a UUID")
    return uuid


def _error(name: str, value: Any) -> ErrorBody:
    body = _object(name, value)
    code, message, stacktrace = body.get("code"), body.get("message"), body.get("stacktrace")
    if not isinstance(code, str) or not isinstance(message, str):
        raise MalformedMessage("an error needs the strings code and message")
    return ErrorBody(code, message, None if stacktrace is None else _string("stacktrace", stacktrace))


def _action(name: str, value: Any) -> Action:
    body = _object(name, value)
    match body.get("type"):
        case "void":
            return Void()
        case "enqueue":
            return Enqueue(_string("queue", body.get("queue")))
        case _:
            raise MalformedMessage("no such action")


def _http_invocation(name: str, value: Any) -> HttpInvocation:
    body = _object(name, value)
    auth, headers, timeout = body.get("auth"), body.get("headers"), body.get("timeout_ms")
    _string("url", body.get("url"))
    if body.get("method") is not None:
        _string("method", body["method"])
    if timeout is not None and (type(timeout) is not int or timeout < 0):
        raise MalformedMessage("`timeout_ms` is not a number of milliseconds")
    for header in () if headers is None else _object("headers", headers).values():
        _string("headers", header)
    if auth is not None:
        kind = _string("auth.type", _object("auth", auth).get("type"))
        if kind not in _AUTH_FIELDS:
            raise MalformedMessage("no such auth")
        for field in _AUTH_FIELDS[kind]:
            _string(field, auth.get(field))
    return body


_AUTH_FIELDS = {"bearer": ("token_key",), "hmac": ("secret_key",), "api_key": ("header", "value_key")}
_READERS: dict[str, Callable[[str, Any], Any]] = {
    "Any": _any,
    "str": _string,
    "dict[str, Any]": _object,
    "Uuid": _uuid,
    "ErrorBody": _error,
    "Action": _action,
    "HttpInvocation": _http_invocation,
}

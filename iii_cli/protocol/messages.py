"""The engine's messages."""

from __future__ import annotations

import json
import json.encoder
import math
import re
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, get_args

from msgspec import NODEFAULT as REQUIRED
from msgspec import Struct

from iii_cli.errors import Failure, FunctionFailed, PeerMisbehaved

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "NESTING_MAX",
    "Action",
    "Enqueue",
    "ErrorBody",
    "ErrorMessage",
    "HttpInvocation",
    "InvocationResult",
    "InvokeFunction",
    "MalformedJson",
    "MalformedMessage",
    "Message",
    "Ping",
    "Pong",
    "Reattach",
    "RegisterFunction",
    "RegisterService",
    "RegisterTrigger",
    "RegisterTriggerType",
    "RegistrationRejected",
    "TriggerRegistrationResult",
    "UnregisterFunction",
    "UnregisterTrigger",
    "UnregisterTriggerType",
    "Uuid",
    "Void",
    "WorkerRegistered",
    "decode",
    "encode",
    "encode_as_engine",
    "failure_of",
    "parse",
    "parse_uuid",
    "read_message",
    "reader_of",
    "render",
    "render_sorted",
    "unreadable_answer",
)


NESTING_MAX = 127  # the engine's decoder gives up beyond this; ours must not run out of stack either
_INTEGERS = range(-(2**63), 2**64)  # of the engine: signed or unsigned, in 64 bits
_SHORT = 18  # characters: integers of no more are among them
_LONG_INTEGER = re.compile(r"[0-9]{19}")
_SMALL = 1024  # characters of a text: it is cheaper to look at each integer than to look for long ones
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class MalformedJson(ValueError):
    """The text is not JSON, or not JSON that every peer can read."""


def parse(text: str | bytes, *, rounding: bool = False) -> Any:
    """The value of one JSON text.

    `rounding`: integers of more than 64 bits become floats, as they do in the engine. Raises MalformedJson
    for what its decoder refuses: NaN and infinities, numbers beyond a double, lone surrogates, nesting beyond
    NESTING_MAX, bytes that are not UTF-8.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode()
        decoder = _ROUNDING if rounding else _EXACT
        if len(text) > _SMALL and not _LONG_INTEGER.search(text):
            decoder = _DECODER
        value, end = decoder.raw_decode(text) if text[:1] in ("{", "[") else (None, -1)
        if end != len(text):  # white space around it, a bare value, or something behind it
            value = decoder.decode(text)
        if _SURROGATE_ESCAPE.search(text):
            render(value).encode()
    except (ValueError, RecursionError) as error:
        raise MalformedJson(f"not JSON: {_brief(error)}") from None
    if text.count("[") + text.count("{") > NESTING_MAX and _is_too_deep(value):
        raise MalformedJson(f"not JSON: nested more than {NESTING_MAX} deep")
    return value


def render(value: Any) -> str:
    """Compact JSON with UTF-8 text as it is.

    Raises ValueError for NaN and infinities, and TypeError for what is not a JSON value.
    """
    return _render(value)


def render_sorted(value: Any) -> str:
    """`render` with the keys of every object in order, as the engine writes what passes through it."""
    return _render_sorted(value)


def _brief(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos}"
    if isinstance(error, RecursionError):
        return "nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "invalid UTF-8"
    if isinstance(error, UnicodeEncodeError):
        return "a lone surrogate"
    return str(error)[:80]


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(NESTING_MAX):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number beyond a double")
    return number


def _integer(digits: str) -> int:
    if len(digits) > _SHORT:
        _finite(digits)
    return int(digits)


def _rounded(digits: str) -> int | float:
    number = _integer(digits)
    return number if len(digits) <= _SHORT or number in _INTEGERS else float(digits)


def _decoder(parse_int: Callable[[str], Any] | None) -> json.JSONDecoder:
    return json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, parse_int=parse_int)


_DECODER, _EXACT, _ROUNDING = _decoder(None), _decoder(_integer), _decoder(_rounded)


def _renderer(sort: bool) -> Callable[[Any], str]:
    """JSONEncoder builds its C encoder anew for every text, which takes longer than a small message does."""
    encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=sort)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return encoder.encode
    chunks = make(None, encoder.default, json.encoder.encode_basestring, None, ":", ",", sort, False, False)
    return lambda value: "".join(chunks(value, 0))


_render, _render_sorted = _renderer(sort=False), _renderer(sort=True)


Uuid: TypeAlias = str  # hyphenated, lower case
HttpInvocation: TypeAlias = dict[str, Any]  # 2.1: where and how the engine calls a function over HTTP


class MalformedMessage(ValueError):
    """The text is not a message of the protocol."""


class ErrorBody(Struct, frozen=True):
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


class Void(Struct, frozen=True):
    """Run it, and let nobody hear how it went."""

    def to_json(self) -> dict[str, str]:
        """The object on the wire."""
        return {"type": "void"}


class Enqueue(Struct, frozen=True):
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


class RegisterFunction(Struct, frozen=True):
    """2.1, worker to engine. `invocation` makes it a function that the engine calls over HTTP."""

    id: str
    description: str | None = None
    request_format: Any = None
    response_format: Any = None
    metadata: Any = None
    invocation: HttpInvocation | None = None


class UnregisterFunction(Struct, frozen=True):
    """2.2, worker to engine."""

    id: str


class InvokeFunction(Struct, frozen=True):
    """2.3, both ways. Without `invocation_id` it is fire and forget.

    `action` and `namespace` go to the engine only. `data` may be null, but must be there.
    """

    function_id: str
    data: Any
    invocation_id: Uuid | None = None
    action: Action | None = None
    metadata: Any = None
    namespace: str | None = None
    traceparent: str | None = None
    baggage: str | None = None


class InvocationResult(Struct, frozen=True):
    """2.4, both ways. An absent `error` means success, whatever `result` is."""

    invocation_id: Uuid
    function_id: str
    result: Any = None
    error: ErrorBody | None = None
    traceparent: str | None = None
    baggage: str | None = None


class RegistrationRejected(Struct, frozen=True):
    """2.6, engine to worker. Exactly one of `worker_name` and `function_id` is set."""

    code: str
    namespace: str
    owner_worker_id: str
    worker_name: str | None = None
    function_id: str | None = None


class RegisterTriggerType(Struct, frozen=True):
    """2.7, worker to engine."""

    id: str
    description: str
    trigger_request_format: Any = None
    call_request_format: Any = None
    namespace: str | None = None


class UnregisterTriggerType(Struct, frozen=True):
    """2.7, worker to engine. The real engine does not know it, though its SDKs send it."""

    id: str
    namespace: str | None = None


class RegisterTrigger(Struct, frozen=True):
    """2.7, worker to engine, and engine to the provider of the trigger type."""

    id: str
    trigger_type: str
    function_id: str
    config: Any
    metadata: Any = None
    namespace: str | None = None
    trigger_namespace: str | None = None


class UnregisterTrigger(Struct, frozen=True):
    """2.7, worker to engine, and engine to the provider of the trigger type."""

    id: str
    trigger_type: str | None = None


class TriggerRegistrationResult(Struct, frozen=True):
    """2.7, provider to engine, and engine to the registrant when it failed."""

    id: str
    trigger_type: str
    function_id: str
    error: ErrorBody | None = None


class RegisterService(Struct, frozen=True):
    """2.8, worker to engine: bookkeeping for a dashboard."""

    id: str
    name: str = ""
    description: str | None = None
    parent_service_id: str | None = None


class WorkerRegistered(Struct, frozen=True):
    """2.9, engine to worker, first of all. `features` is what newer engines negotiate (section 11)."""

    worker_id: str
    reattach_token: str | None = None
    features: Any = None


class Reattach(Struct, frozen=True):
    """2.9, worker to engine, first of all on a reconnect."""

    previous_worker_id: str
    reattach_token: str | None = None


class Ping(Struct, frozen=True):
    """2.9, both ways."""


class Pong(Struct, frozen=True):
    """2.9, both ways."""


class ErrorMessage(Struct, frozen=True):
    """1.2, engine to worker, before it closes: the session was refused."""

    error: ErrorBody


Message: TypeAlias = (
    RegisterFunction
    | UnregisterFunction
    | InvokeFunction
    | InvocationResult
    | RegistrationRejected
    | RegisterTriggerType
    | UnregisterTriggerType
    | RegisterTrigger
    | UnregisterTrigger
    | TriggerRegistrationResult
    | RegisterService
    | WorkerRegistered
    | Reattach
    | Ping
    | Pong
    | ErrorMessage
)


def decode(text: str | bytes) -> Message:
    """The message that one frame holds. UUIDs come out in the hyphenated lower-case form.

    Raises MalformedMessage.
    """
    try:
        document = parse(text, rounding=True)
    except MalformedJson as error:
        raise MalformedMessage(str(error)) from None
    if not isinstance(document, dict):
        raise MalformedMessage("a message is a JSON object")
    kind = document.get("type")
    shape = _BY_TYPE.get(kind) if isinstance(kind, str) else None
    if shape is None:
        raise MalformedMessage("no such type of message")
    values = list(shape.defaults)
    for name, value in document.items():
        field = shape.by_name.get(name)
        if field is not None and (value is not None or field.nullable):
            values[field.at] = None if value is None else field.read(name, value)
    if REQUIRED in values:
        name = shape.names[values.index(REQUIRED)]
        raise MalformedMessage(f"{kind}: `{name}` is missing")
    message: Message = shape.make(*values)
    return message


def encode(message: Message) -> str:
    """The message's JSON text. Optional fields without a value are left out.

    Raises ValueError or TypeError when a value in it is not JSON.
    """
    return render(_document_of(message, {"type": _BY_CLASS[type(message)].kind}))


def encode_as_engine(message: Message) -> str:
    """As the engine writes it: `type` first, and the keys of what passes through it are in order."""
    document = _document_of(message, {})
    kind = f'{{"type":"{_BY_CLASS[type(message)].kind}"'
    return f"{kind},{render_sorted(document)[1:]}" if document else f"{kind}}}"


def _document_of(message: Message, document: dict[str, Any]) -> dict[str, Any]:
    shape = _BY_CLASS[type(message)]
    for name, value, default in zip(shape.names, shape.values(message), shape.defaults, strict=True):
        if value is None:
            if default is REQUIRED:
                document[name] = None
        elif type(value) in _STRUCTURED:
            document[name] = value.to_json()
        else:
            document[name] = value
    return document


class _Field(NamedTuple):
    at: int
    read: Callable[[str, Any], Any]
    nullable: bool  # required, but null is a value


class _Shape(NamedTuple):
    kind: str
    make: Callable[..., Any]
    names: tuple[str, ...]
    defaults: tuple[Any, ...]  # REQUIRED: required
    by_name: dict[str, _Field]
    values: Callable[[Any], tuple[Any, ...]]


def _shape_of(message_class: type[Struct]) -> _Shape:
    kinds, defaults = message_class.__annotations__, message_class.__struct_defaults__
    required = (REQUIRED,) * (len(message_class.__struct_fields__) - len(defaults))
    rows = [
        (name, kinds[name], default)
        for name, default in zip(message_class.__struct_fields__, required + defaults, strict=True)
    ]
    names = tuple(name for name, _, _ in rows)
    return _Shape(
        message_class.__name__.removesuffix("Message").lower(),
        message_class,
        names,
        tuple(default for _, _, default in rows),
        {
            name: _Field(at, reader_of(kind), kind == "Any" and default is REQUIRED)
            for at, (name, kind, default) in enumerate(rows)
        },
        attrgetter(*names) if len(names) > 1 else lambda message: tuple(getattr(message, n) for n in names),
    )


_STRUCTURED = frozenset({ErrorBody, Void, Enqueue})
_BY_CLASS = {message_class: _shape_of(message_class) for message_class in get_args(Message)}
_BY_TYPE = {shape.kind: shape for shape in _BY_CLASS.values()}


CODE = "unreadable_answer"

_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"(\s*+:)?|[{}\[\]]', re.DOTALL)
_UUID_SHAPE = re.compile(rb'"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"')


def read_message(payload: bytes) -> Message | None:
    """The message, or the answer that cannot be read as one that failed.

    None for anything else: the engine's next version may say more than we know.
    """
    try:
        return decode(payload)
    except MalformedMessage as fault:
        return unreadable_answer(payload, fault)


def unreadable_answer(payload: bytes, fault: MalformedMessage) -> InvocationResult | None:
    """The answer as one that failed; None for what is no answer, or does not say to which call."""
    fields = _top_strings(payload)
    invocation_id = _UUID_SHAPE.fullmatch(fields.get(b'"invocation_id"', b""))
    if fields.get(b'"type"') != b'"invocationresult"' or invocation_id is None:
        return None
    error = ErrorBody(CODE, f"the answer cannot be read: {fault}")
    return InvocationResult(invocation_id[1].decode().lower(), "", error=error)


def failure_of(error: ErrorBody) -> Failure:
    """What a caller raises for the error of an answer."""
    if error.code == CODE:
        return PeerMisbehaved(error.message)
    return FunctionFailed.of(error.code, error.message, error.stacktrace)


def _top_strings(payload: bytes) -> dict[bytes, bytes]:
    """The strings that are values of the outermost object, by their keys, both as they are written."""
    depth, key = 0, b""
    found: dict[bytes, bytes] = {}
    for token in _TOKEN.finditer(payload):
        text = token[0]
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and token[1] is not None:
            key = text[: -len(token[1])]
        elif depth == 1:
            found.setdefault(key, text)
            key = b""
    return found

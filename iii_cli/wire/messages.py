"""The messages of the worker socket (protocol.md section 2): values, and their JSON text.

Every message is one JSON object in one text frame; `type` names it. `decode` is as strict as the engine: a
required key must be there, an optional one may be absent or null, an unknown one is ignored. The classes
are the table that it goes by: a field without a default is required.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, get_args

from iii_cli.wire.fields import (
    Action,
    Enqueue,
    ErrorBody,
    HttpInvocation,
    MalformedMessage,
    Uuid,
    Void,
    parse_uuid,
    reader_of,
)
from iii_cli.wire.strict_json import MalformedJson, parse, render, render_sorted
from iii_cli.wire.value import REQUIRED, Value, fields_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "Action",
    "Enqueue",
    "ErrorBody",
    "ErrorMessage",
    "InvocationResult",
    "InvokeFunction",
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
    "Void",
    "WorkerRegistered",
    "decode",
    "encode",
    "encode_as_engine",
    "parse_uuid",
)


class RegisterFunction(Value):
    """2.1, worker to engine. `invocation` makes it a function that the engine calls over HTTP."""

    id: str
    description: str | None = None
    request_format: Any = None
    response_format: Any = None
    metadata: Any = None
    invocation: HttpInvocation | None = None


class UnregisterFunction(Value):
    """2.2, worker to engine."""

    id: str


class InvokeFunction(Value):
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


class InvocationResult(Value):
    """2.4, both ways. An absent `error` means success, whatever `result` is."""

    invocation_id: Uuid
    function_id: str
    result: Any = None
    error: ErrorBody | None = None
    traceparent: str | None = None
    baggage: str | None = None


class RegistrationRejected(Value):
    """2.6, engine to worker. Exactly one of `worker_name` and `function_id` is set."""

    code: str
    namespace: str
    owner_worker_id: str
    worker_name: str | None = None
    function_id: str | None = None


class RegisterTriggerType(Value):
    """2.7, worker to engine."""

    id: str
    description: str
    trigger_request_format: Any = None
    call_request_format: Any = None
    namespace: str | None = None


class UnregisterTriggerType(Value):
    """2.7, worker to engine. The real engine does not know it, though its SDKs send it."""

    id: str
    namespace: str | None = None


class RegisterTrigger(Value):
    """2.7, worker to engine, and engine to the provider of the trigger type."""

    id: str
    trigger_type: str
    function_id: str
    config: Any
    metadata: Any = None
    namespace: str | None = None
    trigger_namespace: str | None = None


class UnregisterTrigger(Value):
    """2.7, worker to engine, and engine to the provider of the trigger type."""

    id: str
    trigger_type: str | None = None


class TriggerRegistrationResult(Value):
    """2.7, provider to engine, and engine to the registrant when it failed."""

    id: str
    trigger_type: str
    function_id: str
    error: ErrorBody | None = None


class RegisterService(Value):
    """2.8, worker to engine: bookkeeping for a dashboard."""

    id: str
    name: str = ""
    description: str | None = None
    parent_service_id: str | None = None


class WorkerRegistered(Value):
    """2.9, engine to worker, first of all. `features` is what newer engines negotiate (section 11)."""

    worker_id: str
    reattach_token: str | None = None
    features: Any = None


class Reattach(Value):
    """2.9, worker to engine, first of all on a reconnect."""

    previous_worker_id: str
    reattach_token: str | None = None


class Ping(Value):
    """2.9, both ways."""


class Pong(Value):
    """2.9, both ways."""


class ErrorMessage(Value):
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


def _shape_of(message_class: type[Value]) -> _Shape:
    rows = fields_of(message_class)
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

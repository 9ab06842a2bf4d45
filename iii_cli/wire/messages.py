"""The messages of the worker socket (protocol.md section 2): values, and their JSON text.

Every message is one JSON object in one text frame; `type` names it. `decode` is as strict as the engine: a
required key must be there, an optional one may be absent or null, an unknown one is ignored. The dataclasses
are the table that it goes by: a field without a default is required.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, get_args

from iii_cli.wire.fields import (
    Action,
    Enqueue,
    ErrorBody,
    MalformedMessage,
    Uuid,
    Void,
    parse_uuid,
    reader_of,
)
from iii_cli.wire.strict_json import MalformedJson, parse, render

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
    "parse_uuid",
)


@dataclass(frozen=True, slots=True)
class RegisterFunction:
    """2.1, worker to engine. `invocation` makes it a function that the engine calls over HTTP."""

    id: str
    description: str | None = None
    request_format: Any = None
    response_format: Any = None
    metadata: Any = None
    invocation: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class UnregisterFunction:
    """2.2, worker to engine."""

    id: str


@dataclass(frozen=True, slots=True)
class InvokeFunction:
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


@dataclass(frozen=True, slots=True)
class InvocationResult:
    """2.4, both ways. An absent `error` means success, whatever `result` is."""

    invocation_id: Uuid
    function_id: str
    result: Any = None
    error: ErrorBody | None = None
    traceparent: str | None = None
    baggage: str | None = None


@dataclass(frozen=True, slots=True)
class RegistrationRejected:
    """2.6, engine to worker. Exactly one of `worker_name` and `function_id` is set."""

    code: str
    namespace: str
    owner_worker_id: str
    worker_name: str | None = None
    function_id: str | None = None


@dataclass(frozen=True, slots=True)
class RegisterTriggerType:
    """2.7, worker to engine."""

    id: str
    description: str
    trigger_request_format: Any = None
    call_request_format: Any = None
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class UnregisterTriggerType:
    """2.7, worker to engine. The real engine does not know it, though its SDKs send it."""

    id: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class RegisterTrigger:
    """2.7, worker to engine, and engine to the provider of the trigger type."""

    id: str
    trigger_type: str
    function_id: str
    config: Any
    metadata: Any = None
    namespace: str | None = None
    trigger_namespace: str | None = None


@dataclass(frozen=True, slots=True)
class UnregisterTrigger:
    """2.7, worker to engine, and engine to the provider of the trigger type."""

    id: str
    trigger_type: str | None = None


@dataclass(frozen=True, slots=True)
class TriggerRegistrationResult:
    """2.7, provider to engine, and engine to the registrant when it failed."""

    id: str
    trigger_type: str
    function_id: str
    error: ErrorBody | None = None


@dataclass(frozen=True, slots=True)
class RegisterService:
    """2.8, worker to engine: bookkeeping for a dashboard."""

    id: str
    name: str = ""
    description: str | None = None
    parent_service_id: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerRegistered:
    """2.9, engine to worker, first of all. `features` is what newer engines negotiate (section 11)."""

    worker_id: str
    reattach_token: str | None = None
    features: Any = None


@dataclass(frozen=True, slots=True)
class Reattach:
    """2.9, worker to engine, first of all on a reconnect."""

    previous_worker_id: str
    reattach_token: str | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    """2.9, both ways."""


@dataclass(frozen=True, slots=True)
class Pong:
    """2.9, both ways."""


@dataclass(frozen=True, slots=True)
class ErrorMessage:
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
        document = parse(text)
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
    if MISSING in values:
        name = shape.names[values.index(MISSING)]
        raise MalformedMessage(f"{kind}: `{name}` is missing")
    message: Message = shape.make(*values)
    return message


def encode(message: Message) -> str:
    """The message's JSON text. Optional fields without a value are left out.

    Raises ValueError or TypeError when a value in it is not JSON.
    """
    shape = _BY_CLASS[type(message)]
    document: dict[str, Any] = {"type": shape.kind}
    for name, value, default in zip(shape.names, shape.values(message), shape.defaults, strict=True):
        if value is None:
            if default is MISSING:
                document[name] = None
        elif type(value) in _STRUCTURED:
            document[name] = value.to_json()
        else:
            document[name] = value
    return render(document)


class _Field(NamedTuple):
    at: int
    read: Callable[[str, Any], Any]
    nullable: bool  # required, but null is a value


class _Shape(NamedTuple):
    kind: str
    make: Callable[..., Any]
    names: tuple[str, ...]
    defaults: tuple[Any, ...]  # MISSING: required
    by_name: dict[str, _Field]
    values: Callable[[Any], tuple[Any, ...]]


def _shape_of(message_class: type) -> _Shape:
    rows = fields(message_class)
    names = tuple(row.name for row in rows)
    return _Shape(
        message_class.__name__.removesuffix("Message").lower(),
        message_class,
        names,
        tuple(row.default for row in rows),
        {
            row.name: _Field(index, reader_of(str(row.type)), row.type == "Any" and row.default is MISSING)
            for index, row in enumerate(rows)
        },
        attrgetter(*names) if len(names) > 1 else lambda message: tuple(getattr(message, n) for n in names),
    )


_STRUCTURED = frozenset({ErrorBody, Void, Enqueue})
_BY_CLASS = {message_class: _shape_of(message_class) for message_class in get_args(Message)}
_BY_TYPE = {shape.kind: shape for shape in _BY_CLASS.values()}

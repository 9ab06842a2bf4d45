"""The engine's messages (docs: protocol, "Messages")."""

# Without the annotations of the future, which are strings: msgspec would have to evaluate each at start-up.

import json
import re
from typing import Any, Self, TypeAlias

from msgspec import Struct
from msgspec.json import Decoder, Encoder
from msgspec.structs import replace

from iii_cli.errors import Failure, FunctionFailed, PeerMisbehaved
from iii_cli.protocol import json_text
from iii_cli.protocol.json_text import MalformedJson, Raw, check_depth, parse, to_raw, why_unreadable

__all__ = (
    "NULL",
    "UNREADABLE_ANSWER",
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
    "failure_of",
    "parse_uuid",
    "read_message",
    "result_of",
    "unreadable",
)

NULL = Raw(b"null")  # this very object is left out of what is written


class MalformedMessage(ValueError):
    """The text is not a message of the protocol."""


class ErrorBody(Struct, frozen=True, omit_defaults=True):
    """What went wrong, wherever the protocol says so. `stacktrace` is the language's own."""

    code: str
    message: str
    stacktrace: str | None = None


class Void(Struct, frozen=True, tag_field="type", tag="void"):
    """Run it, and tell nobody how it went."""


class Enqueue(Struct, frozen=True, tag_field="type", tag="enqueue"):
    """Put the call into a queue; the answer is the message's receipt id."""

    queue: str


Action: TypeAlias = Void | Enqueue


class _Message(Struct, frozen=True, tag_field="type", tag=str.lower, omit_defaults=True):
    """Base of the messages: `type` is the name of the class in lower case."""


class RegisterFunction(_Message, frozen=True):
    """Worker to engine. `invocation`: how to call it over HTTP, which ours does not."""

    id: str
    description: str | None = None
    request_format: Any = None
    response_format: Any = None
    metadata: Any = None
    invocation: dict[str, Any] | None = None


class UnregisterFunction(_Message, frozen=True):
    """Worker to engine."""

    id: str


class InvokeFunction(_Message, frozen=True):
    """Both ways. Without `invocation_id`, a UUID, nobody hears the result.

    `action` and `namespace` go to the engine only. `data` may be null, but must be there.
    """

    function_id: str
    data: Raw
    invocation_id: str | None = None
    action: Action | None = None
    metadata: Raw = NULL
    namespace: str | None = None
    traceparent: str | None = None
    baggage: str | None = None

    @classmethod
    def of(cls, function_id: str, data: Any, *, metadata: Any = None, **others: Any) -> Self:
        """The call with these values. Raises ValueError and TypeError as `to_raw`."""
        about = NULL if metadata is None else to_raw(metadata)
        return cls(function_id, to_raw(data), metadata=about, **others)


class InvocationResult(_Message, frozen=True):
    """Both ways. An absent `error` means success, whatever `result` is."""

    invocation_id: str  # a UUID
    function_id: str
    result: Raw = NULL
    error: ErrorBody | None = None
    traceparent: str | None = None
    baggage: str | None = None


class RegistrationRejected(_Message, frozen=True):
    """Engine to worker. Exactly one of `worker_name` and `function_id` is set."""

    code: str
    namespace: str
    owner_worker_id: str
    worker_name: str | None = None
    function_id: str | None = None


class RegisterTriggerType(_Message, frozen=True):
    """Worker to engine."""

    id: str
    description: str
    trigger_request_format: Any = None
    call_request_format: Any = None
    namespace: str | None = None


class UnregisterTriggerType(_Message, frozen=True):
    """Worker to engine. The real engine does not know it, though its SDKs send it."""

    id: str
    namespace: str | None = None


class RegisterTrigger(_Message, frozen=True):
    """Worker to engine, and engine to the provider of the trigger type."""

    id: str
    trigger_type: str
    function_id: str
    config: Any
    metadata: Any = None
    namespace: str | None = None
    trigger_namespace: str | None = None


class UnregisterTrigger(_Message, frozen=True):
    """Worker to engine, and engine to the provider of the trigger type."""

    id: str
    trigger_type: str | None = None


class TriggerRegistrationResult(_Message, frozen=True):
    """Provider to engine, and engine to the registrant when it failed."""

    id: str
    trigger_type: str
    function_id: str
    error: ErrorBody | None = None


class RegisterService(_Message, frozen=True):
    """Worker to engine: bookkeeping for a dashboard."""

    id: str
    name: str | None = None
    description: str | None = None
    parent_service_id: str | None = None


class WorkerRegistered(_Message, frozen=True):
    """Engine to worker, first of all. `features` is what newer engines negotiate."""

    worker_id: str
    reattach_token: str | None = None
    features: Any = None


class Reattach(_Message, frozen=True):
    """Worker to engine, first of all on a reconnect."""

    previous_worker_id: str
    reattach_token: str | None = None


class Ping(_Message, frozen=True):
    """Both ways."""


class Pong(_Message, frozen=True):
    """Both ways."""


class ErrorMessage(_Message, frozen=True, tag="error"):
    """Engine to worker, before it closes: the session was refused."""

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


class _Answer(Struct, tag_field="type", tag="invocationresult"):
    """As much of an answer as says whose it is."""

    invocation_id: str


_encode = Encoder().encode
_MESSAGE: Decoder[Message] = Decoder(Message)
_ANSWER = Decoder(_Answer)

_HEX = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_UUID = re.compile(_HEX)
_ANY_UUID = re.compile(rf"(?:urn:uuid:)?(?i:{_HEX})|\{{(?i:{_HEX})\}}|[0-9a-fA-F]{{32}}")


def parse_uuid(text: str) -> str | None:
    """The hyphenated lower-case form of a UUID in any form the engine reads; None if it is none."""
    if not _ANY_UUID.fullmatch(text):
        return None
    digits = text.removeprefix("urn:uuid:").strip("{}").replace("-", "").lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def decode(payload: str | bytes) -> Message:
    """The message that one frame holds. UUIDs come out in the hyphenated lower-case form.

    Raises MalformedMessage.
    """
    try:
        if isinstance(payload, str):
            payload = payload.encode()
        elif not payload.isascii():
            payload.decode()  # what passes through is not looked at
        message = _MESSAGE.decode(payload)
        if not isinstance(message, InvokeFunction | InvocationResult):
            check_depth(payload)  # what we keep is no deeper than what we can write
    except json_text.UNREADABLE as error:
        raise MalformedMessage(f"not JSON: {why_unreadable(error)}") from None
    if isinstance(message, InvokeFunction | InvocationResult):
        given = message.invocation_id
        if given is not None and not _UUID.fullmatch(given):
            invocation_id = parse_uuid(given)
            if invocation_id is None:
                raise MalformedMessage("`invocation_id` is not a UUID")
            return replace(message, invocation_id=invocation_id)
    return message


def encode(message: Message | ErrorBody) -> bytes:
    """The message's JSON text. Optional fields without a value are left out."""
    return _encode(message)


# Answers that cannot be read

UNREADABLE_ANSWER = "unreadable_answer"  # the code of an answer that failed so


def unreadable(fault: ValueError) -> str:
    """What is said of it."""
    return f"the answer cannot be read: {fault}"


def read_message(payload: bytes) -> Message | None:
    """The message, or the answer that cannot be read as one that failed.

    None for any other JSON object: the engine's next version may say more than we know. Raises PeerMisbehaved
    for what is none: no engine says that, and who waits would wait in vain.
    """
    try:
        return decode(payload)
    except MalformedMessage as fault:
        try:
            invocation_id = parse_uuid(_ANSWER.decode(payload).invocation_id)
        except json_text.UNREADABLE:
            invocation_id = None
        if invocation_id is None and not _is_object(payload):
            raise PeerMisbehaved(f"a message that is no JSON object: {fault}") from None
        if invocation_id is None:
            return None
        error = ErrorBody(UNREADABLE_ANSWER, unreadable(fault))
        return InvocationResult(invocation_id, "", error=error)


def _is_object(payload: bytes) -> bool:
    """By anybody's reading: ours is the engine's, which is stricter."""
    try:
        return isinstance(json.loads(payload), dict)
    except RecursionError:
        return True
    except ValueError:
        return False


def result_of(message: InvocationResult) -> Any:
    """What the function returned. Raises FunctionFailed, and PeerMisbehaved for what cannot be read."""
    if message.error is not None:
        raise failure_of(message.error)
    try:
        return parse(message.result)
    except MalformedJson as fault:
        raise PeerMisbehaved(unreadable(fault)) from None


def failure_of(error: ErrorBody) -> Failure:
    """What a caller raises for the error of an answer."""
    if error.code == UNREADABLE_ANSWER:
        return PeerMisbehaved(error.message)
    return FunctionFailed.of(error.code, error.message, error.stacktrace)

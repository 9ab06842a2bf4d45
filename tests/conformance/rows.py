"""The facts of the wire that conversations must cover, and which conversation covers which."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("COVERED", "ROWS", "covers")

F = TypeVar("F", bound="Callable[..., object]")

ROWS: dict[str, str] = {
    # Namespaces and the registration buffer
    "namespaces: keyed": "functions are keyed by namespace and id",
    "namespaces: buffered": "registrations before the announce are replayed into the announced namespace",
    "namespaces: grace": "without an announce they land in default after 5 s, and an announce comes too late",
    "namespaces: at once": "an announce with an invocation id makes what follows visible at once",
    "namespaces: default": "a call without a namespace goes to default, never to the caller's own",
    "namespaces: named": "a call may name default for a built-in",
    "namespaces: built-ins": "built-ins live in default only, and the error says so",
    "namespaces: engine ids": "ids that begin with engine:: are refused outside default",
    "namespaces: own ids": "a worker may register a new engine:: id in default",
    # Malformed input
    "input: json": "undecodable JSON is dropped",
    "input: type": "an unknown type is dropped",
    "input: required": "a missing required field drops the frame",
    "input: uuid": "a bad UUID drops the frame",
    "input: blank": "empty and whitespace frames are ignored",
    "input: extra": "unknown fields are ignored",
    # Errors and how calls end
    "calls: not found": "function_not_found, with a hint where the function exists",
    "calls: passed on": "codes of the executor reach the caller, with the stack trace",
    "calls: stopped": "the executor's end is invocation_stopped",
    "calls: input": "deserialization_error of a built-in",
    "calls: enqueue": "enqueue_error without a queue worker",
    "calls: namespace": "INVALID_NAMESPACE for a blank one",
    "calls: arguments": "INVALID_ARGUMENTS",
    "calls: not found there": "NOT_FOUND of info functions",
    "calls: trigger": "trigger_registration_failed of a provider reaches the registrant",
    "calls: no timeout": "the engine never times a call out",
    "calls: caller dies": "the executor is not told, and its result is dropped",
    "calls: itself": "a worker may call its own functions",
    # Opening an end
    "opening: ok": "101",
    "opening: unknown": "unknown id or wrong key: 404, `Channel not found`",
    "opening: swept": "a swept channel: the same 404",
    "opening: dir": "dir is not exactly read or write: 400 with that text",
    "opening: missing": "dir or key missing: 400 with that text",
    "opening: upgrade": "not an upgrade: refused, and only after the query",
    "opening: path": "trailing slash or another path: 404 without a body",
    "opening: taken": "a taken end: 101, then Close without a code",
    "opening: extra": "other query parameters are ignored",
    "opening: either": "either ref opens either end",
    # Data plane
    "data: as is": "text and binary come out as they went in, in order, one by one, empty ones too",
    "data: fragments": "a fragmented message comes out as one frame",
    "data: one way": "what the reader sends is never read",
    "data: backpressure": "a full queue stops the writer through TCP",
    "data: largest": "a frame of 16 MiB and a message of 64 MiB pass",
    "data: too large": "one byte more: the writer is dropped, the reader sees a clean end",
    "data: protocol": "bad UTF-8, unmasked frames and reserved bits: the same",
    "data: plain": "no compression, no subprotocol",
    "data: half frame": "nothing of an unfinished frame or message is forwarded",
    # What each side sees
    "ends: close": "the writer's Close is echoed; the reader gets the rest, then Close without a code",
    "ends: death": "the writer's TCP dies or half-closes: the reader sees the same Close",
    "ends: reader dies": "the writer notices at a later message, as a drop",
    "ends: reader closes": "its Close is never answered, and the writer notices nothing",
    "ends: second": "a second reader or writer: 101 and Close, the first is unaffected",
    "ends: writer first": "data is kept for a reader that comes after the writer has finished",
    "ends: after the end": "a reader after the end: 101 and Close",
    "ends: writer after": "a writer after the end: 101 and Close",
    "ends: idle": "both ends idle in silence",
    "ends: no writer": "the writer never connects: a clean Close at the sweep",
    "ends: no reader": "the reader never connects: the next message after the sweep drops the writer",
    "ends: kept too long": "data for a reader that does not come is swept too",
    "ends: both taken": "a channel with both ends taken is never swept",
    # What was seen when both engines were asked the same
    "closing a worker": "a Close on a worker or telemetry socket is not echoed: TCP is dropped",
    "trace: parent": "a traceparent is sent on in the form of version 00, an invalid one is not",
    "trace: baggage": "baggage is normalised, and has no order",
    "trace: echo": "the caller hears its own headers as it sent them",
    "trace: built-ins": "engine::baggage::get and get_all read the baggage of the call",
    "calls: the same id": "a second call of an id that is running ends the first",
    "reattach": "a reattach is honoured at any time",
    "triggers: poll": "functions-available carries all functions, built-ins too, and is polled",
    "triggers: of a worker": "registered_triggers of a worker are those whose target function it owns",
    "triggers: namespace": "a provider outside default hears the resolved trigger_namespace",
    "triggers: blank namespace": "a trigger type of a blank namespace is dropped",
    "triggers: again": "a trigger that is registered again is not unregistered",
    "announce": "an announcement is read strictly, and a name once claimed stays reserved",
    "triggers: silence": "a trigger whose provider does not acknowledge it is kept",
    "rows": "the rows of workers, triggers and what was cleared",
}

COVERED: dict[str, list[str]] = {}


def covers(*rows: str) -> Callable[[F], F]:
    """The conversation shows that these rows hold."""

    def note(conversation: F) -> F:
        for row in rows:
            assert row in ROWS, row
            COVERED.setdefault(row, []).append(getattr(conversation, "__name__", "?"))
        return conversation

    return note

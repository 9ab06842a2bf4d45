"""The facts of the wire that conversations must cover, and which conversation covers which."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("COVERED", "ROWS", "covers")

F = TypeVar("F", bound="Callable[..., object]")

ROWS: dict[str, str] = {
    # 1.4, namespaces and the registration buffer
    "1.4 keyed": "functions are keyed by namespace and id",
    "1.4 buffered": "registrations before the announce are replayed into the announced namespace",
    "1.4 grace": "without an announce they land in default after 5 s, and an announce comes too late",
    "1.4 at once": "an announce with an invocation id makes what follows visible at once",
    "1.4 default": "a call without a namespace goes to default, never to the caller's own",
    "1.4 named": "a call may name default for a built-in",
    "1.4 built-ins": "built-ins live in default only, and the error says so",
    "1.4 engine ids": "ids that begin with engine:: are refused outside default",
    "1.4 own ids": "a worker may register a new engine:: id in default",
    # 1.9, malformed input
    "1.9 json": "undecodable JSON is dropped",
    "1.9 type": "an unknown type is dropped",
    "1.9 required": "a missing required field drops the frame",
    "1.9 uuid": "a bad UUID drops the frame",
    "1.9 blank": "empty and whitespace frames are ignored",
    "1.9 extra": "unknown fields are ignored",
    # 2.5, errors and how calls end
    "2.5 not found": "function_not_found, with a hint where the function exists",
    "2.5 passed on": "codes of the executor reach the caller, with the stack trace",
    "2.5 stopped": "the executor's end is invocation_stopped",
    "2.5 input": "deserialization_error of a built-in",
    "2.5 enqueue": "enqueue_error without a queue worker",
    "2.5 namespace": "INVALID_NAMESPACE for a blank one",
    "2.5 arguments": "INVALID_ARGUMENTS",
    "2.5 not found there": "NOT_FOUND of info functions",
    "2.5 trigger": "trigger_registration_failed of a provider reaches the registrant",
    "2.5 no timeout": "the engine never times a call out",
    "2.5 caller dies": "the executor is not told, and its result is dropped",
    "2.5 itself": "a worker may call its own functions",
    # 4.1, opening an end
    "4.1 ok": "101",
    "4.1 unknown": "unknown id or wrong key: 404, `Channel not found`",
    "4.1 swept": "a swept channel: the same 404",
    "4.1 dir": "dir is not exactly read or write: 400 with that text",
    "4.1 missing": "dir or key missing: 400 with that text",
    "4.1 upgrade": "not an upgrade: refused, and only after the query",
    "4.1 path": "trailing slash or another path: 404 without a body",
    "4.1 taken": "a taken end: 101, then Close without a code",
    "4.1 extra": "other query parameters are ignored",
    "4.1 either": "either ref opens either end",
    # 4.2, data plane
    "4.2 as is": "text and binary come out as they went in, in order, one by one, empty ones too",
    "4.2 fragments": "a fragmented message comes out as one frame",
    "4.2 one way": "what the reader sends is never read",
    "4.2 backpressure": "a full queue stops the writer through TCP",
    "4.2 largest": "a frame of 16 MiB and a message of 64 MiB pass",
    "4.2 too large": "one byte more: the writer is dropped, the reader sees a clean end",
    "4.2 protocol": "bad UTF-8, unmasked frames and reserved bits: the same",
    "4.2 plain": "no compression, no subprotocol",
    "4.2 half frame": "nothing of an unfinished frame or message is forwarded",
    # 4.3, what each side sees
    "4.3 close": "the writer's Close is echoed; the reader gets the rest, then Close without a code",
    "4.3 death": "the writer's TCP dies or half-closes: the reader sees the same Close",
    "4.3 reader dies": "the writer notices at a later message, as a drop",
    "4.3 reader closes": "its Close is never answered, and the writer notices nothing",
    "4.3 second": "a second reader or writer: 101 and Close, the first is unaffected",
    "4.3 writer first": "data is kept for a reader that comes after the writer has finished",
    "4.3 after the end": "a reader after the end: 101 and Close",
    "4.3 writer after": "a writer after the end: 101 and Close",
    "4.3 idle": "both ends idle in silence",
    "4.3 no writer": "the writer never connects: a clean Close at the sweep",
    "4.3 no reader": "the reader never connects: the next message after the sweep drops the writer",
    "4.3 kept too long": "data for a reader that does not come is swept too",
    "4.3 both taken": "a channel with both ends taken is never swept",
    # 14, what was seen when both engines were asked the same
    "14.1": "a Close on a worker or telemetry socket is not echoed: TCP is dropped",
    "14.2 parent": "a traceparent is sent on in the form of version 00, an invalid one is not",
    "14.2 baggage": "baggage is normalised, and has no order",
    "14.2 echo": "the caller hears its own headers as it sent them",
    "14.3": "engine::baggage::get and get_all read the baggage of the call",
    "14.4": "a second call of an id that is running ends the first",
    "14.5": "a reattach is honoured at any time",
    "14.6": "functions-available carries all functions, built-ins too, and is polled",
    "14.7": "registered_triggers of a worker are those whose target function it owns",
    "14.8": "a provider outside default hears the resolved trigger_namespace",
    "14.9": "a trigger type of a blank namespace is dropped",
    "14.10": "a trigger that is registered again is not unregistered",
    "14.11": "an announcement is read strictly, and a name once claimed stays reserved",
    "14.12": "a trigger whose provider does not acknowledge it is kept",
    "14.15": "the rows of workers, triggers and what was cleared",
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

"""What the engine keeps, as plain records. The other modules of the engine change them.

Times are in nanoseconds since the epoch, durations in nanoseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from msgspec import Struct, field

from iii_cli.protocol.messages import (
    RegisterFunction,
    RegisterService,
    RegisterTrigger,
    RegisterTriggerType,
    UnregisterFunction,
    UnregisterTrigger,
    UnregisterTriggerType,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from iii_cli.protocol.refs import Secret

__all__ = (
    "BLANK_NAMESPACE",
    "DEFAULT_NAMESPACE",
    "SECOND",
    "Announcement",
    "Binding",
    "Close",
    "Delivery",
    "Drop",
    "Function",
    "Invocation",
    "Notice",
    "Registration",
    "Send",
    "Settings",
    "Span",
    "TraceContext",
    "TriggerType",
    "Worker",
    "is_blank",
    "keep_quiet",
    "worker_name",
)

SECOND = 1_000_000_000
DEFAULT_NAMESPACE = "default"


class Settings(Struct, frozen=True):
    """What bounds one engine, each limit with its reason."""

    grace: int = 5 * SECOND  # registrations wait so long for the announce
    channel_age_max: int = 300 * SECOND  # older channels with an end never taken are swept
    sweep_every: int = 60 * SECOND
    poll_every: int = 5 * SECOND  # how often functions-available is looked at
    trigger_answer_max: int = 10 * SECOND  # what engine::register_trigger waits for the provider
    max_channels: int = 10_000  # open ones; a channel that nobody uses is swept within six minutes
    max_buffer_bytes: int = 64 << 20  # per channel: one message of the largest kind
    max_total_bytes: int = 1 << 30  # in all channels: beyond this no new channel is made
    max_unfinished_bytes: int = 1 << 30  # of messages that are not whole, beyond 1 MiB for each connection
    max_closed: int = 10_000  # finished channels that still answer 101 and Close to a late end
    max_connections: int = 8192  # sockets of every kind
    max_outgoing_bytes: int = 128 << 20  # unsent to one worker: two messages of the largest kind
    max_held_bytes: int = 64 << 20  # what one worker's registrations may take
    max_registrations: int = 20_000  # functions, triggers and trigger types of one worker
    max_in_flight: int = 100_000  # unanswered calls of one worker
    max_span_bytes: int = 16 << 20  # of the finished spans that are kept, 20,000 of calls
    max_log_bytes: int = 8 << 20  # of the log records that are kept, 10,000 of a line


class Notice(Protocol):
    """Told what happens, for the engine's log. Never given a key or a payload."""

    def __call__(self, event: str, /, **details: Any) -> None: ...


def keep_quiet(event: str, /, **details: Any) -> None:
    """A Notice that tells nobody."""


# What the core wants done with connections


class Send(NamedTuple):
    """Send the message as one text frame."""

    connection: int
    message: bytes


class Close(NamedTuple):
    """Send what is queued, then a Close frame without a code, then let go."""

    connection: int


class Drop(NamedTuple):
    """Let go at once, without a Close frame: the worker sees 1006 and may come back."""

    connection: int


Delivery: TypeAlias = Send | Close | Drop


# Workers and what they offer

Registration: TypeAlias = (
    RegisterFunction
    | UnregisterFunction
    | RegisterTrigger
    | UnregisterTrigger
    | RegisterTriggerType
    | UnregisterTriggerType
    | RegisterService
)


class Announcement(Struct, frozen=True):
    """What a worker says about itself with `engine::workers::register`."""

    name: str | None = None
    namespace: str | None = None
    runtime: str | None = None
    version: str | None = None
    description: str | None = None
    os: str | None = None
    pid: int | None = None
    isolation: str | None = None


class Worker(Struct, eq=False):
    """A live connection. `connection` is the server's number for the socket, `id` what the wire calls it."""

    connection: int
    id: str
    reattach_token: Secret
    ip: str
    connected_at: int
    namespace: str = DEFAULT_NAMESPACE
    about: Announcement = Announcement()
    gone: bool = False  # evicted, rejected or disconnected: it hears nothing more
    parked: list[tuple[Registration, int]] = field(default_factory=list)  # until it is settled, with sizes
    held_bytes: int = 0  # of everything it registered
    held_count: int = 0
    reserved: set[str] = field(default_factory=set)  # every name that it announced
    functions: dict[str, Function] = field(default_factory=dict)
    calling: set[Invocation] = field(default_factory=set)
    executing: set[Invocation] = field(default_factory=set)
    executing_in: dict[TraceContext, Invocation] = field(default_factory=dict)  # the last one of each trace

    def hold(self, size: int) -> None:
        """It registered something of that size."""
        self.held_bytes += size
        self.held_count += 1

    def let_go(self, size: int) -> None:
        """Something of that size is no longer registered."""
        self.held_bytes -= size
        self.held_count -= 1

    def homes(self, named: str | None) -> tuple[str, ...]:
        """Where the type of a trigger is looked for that it registers: there if it says where."""
        return (self.namespace, DEFAULT_NAMESPACE) if named is None else (named,)


class Function(Struct, eq=False):
    """Something that can be invoked. `owner` is None and `run` is set for the engine's own."""

    about: RegisterFunction
    namespace: str = DEFAULT_NAMESPACE
    owner: Worker | None = None
    run: Callable[[Any], Any] | None = None  # takes a `core.Call`, raises Refusal, may return LATER
    size: int = 0  # bytes of the message that registered it

    @property
    def id(self) -> str:
        """What it is called."""
        return self.about.id


class TriggerType(Struct, eq=False):
    """What a function can be bound to. `provider` is None for the engine's own."""

    about: RegisterTriggerType
    namespace: str = DEFAULT_NAMESPACE
    provider: Worker | None = None
    size: int = 0


class Binding(Struct, eq=False):
    """A registered trigger. Without an `owner` it outlives the connection that made it."""

    about: RegisterTrigger
    homes: tuple[str, ...]  # namespaces in which the type is looked for, in order
    namespace: str = DEFAULT_NAMESPACE  # of the function
    owner: Worker | None = None
    type: TriggerType | None = None  # None: parked until somebody provides the type
    size: int = 0


def worker_name(owner: Worker | None, offered_id: str) -> str:
    """What listings call the owner of a function or a trigger type: the first segment of the id where it has
    no name.
    """
    name = owner.about.name if owner else None
    return name or offered_id.split("::", 1)[0]


BLANK_NAMESPACE = ("INVALID_NAMESPACE", "namespace must not be blank")  # the error


def is_blank(namespace: str | None) -> bool:
    """Was one named that is none?"""
    return namespace is not None and not namespace.strip()


# Calls


class Invocation(Struct, eq=False):
    """A call. `id` is what the executor was told, `reply_id` what the caller waits for."""

    id: str
    reply_id: str | None  # None: nobody waits
    function_id: str
    caller: Worker
    traceparent: str | None  # as the caller sent it, and hears it again
    baggage: str | None  # likewise
    executor: Worker | None = None  # None: a built-in
    trace: TraceContext | None = None  # what the executor is told
    span: Span | None = None
    receipt: str | None = None  # of a queued call, whose answer is this and not the result


# What is remembered


class TraceContext(Struct, frozen=True):
    """The trace that something belongs to, and the span that it happened in."""

    trace_id: str
    span_id: str
    sampled: bool = True


class Span(Struct, eq=False, omit_defaults=True):
    """Something that began, and perhaps ended, as listings show it."""

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    start_time_unix_nano: int
    end_time_unix_nano: int
    attributes: list[tuple[str, str]]
    status: str  # unset, ok or error
    service_name: str
    events: tuple[()]
    links: tuple[()]
    status_description: str | None = None
    pending: bool = False  # it has not ended

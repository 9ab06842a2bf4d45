"""One connection of the worker socket, and what it said about itself (protocol.md 1.2-1.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iii_cli.engine.invocation import Invocation
    from iii_cli.engine.registry import Function
    from iii_cli.engine.sessions import Registration
    from iii_cli.engine.spans import TraceContext

__all__ = ("DEFAULT_NAMESPACE", "Announcement", "Worker", "clean")

DEFAULT_NAMESPACE = "default"
TEXT_MAX = 280  # 1.3: names and descriptions are cut here

# Control and bidirectional characters: what could make a name look like another one in a terminal.
_UNWANTED = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def clean(text: str | None) -> str | None:
    """A name or description as the engine keeps it."""
    return None if text is None else _UNWANTED.sub("", text)[:TEXT_MAX]


@dataclass(frozen=True, slots=True)
class Announcement:
    """What a worker says about itself with `engine::workers::register`."""

    name: str | None = None
    namespace: str | None = None
    runtime: str | None = None
    version: str | None = None
    description: str | None = None
    os: str | None = None
    pid: int | None = None
    isolation: str | None = None
    telemetry: Any = None


@dataclass(slots=True, eq=False)
class Worker:
    """A live connection. `connection` is the server's number for the socket, `id` what the wire calls it."""

    connection: int
    id: str
    reattach_token: str = field(repr=False)
    ip: str
    connected_at: int
    namespace: str = DEFAULT_NAMESPACE
    settled: bool = False  # the namespace is final: announced, or the grace is over
    about: Announcement = Announcement()
    gone: bool = False  # evicted, rejected or disconnected: it hears nothing more
    parked: list[tuple[Registration, int]] = field(default_factory=list, repr=False)
    held_bytes: int = 0  # of everything it registered
    held_count: int = 0
    reserved: set[str] = field(default_factory=set, repr=False)  # every name that it announced (14.11)
    functions: dict[str, Function] = field(default_factory=dict, repr=False)
    calling: set[Invocation] = field(default_factory=set, repr=False)
    executing: set[Invocation] = field(default_factory=set, repr=False)
    executing_in: dict[TraceContext, Invocation] = field(default_factory=dict, repr=False)  # the last one

    @property
    def name(self) -> str | None:
        """What it calls itself."""
        return self.about.name

    @property
    def active_invocations(self) -> int:
        """Calls that it makes and calls that it executes."""
        return len(self.calling) + len(self.executing)

    def hold(self, size: int) -> None:
        """It registered something of that size."""
        self.held_bytes += size
        self.held_count += 1

    def let_go(self, size: int) -> None:
        """Something of that size is no longer registered."""
        self.held_bytes -= size
        self.held_count -= 1

"""Spans in bounded memory: calls and channel ends, as `engine::traces::*` shows them (protocol.md 3.8)."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from iii_cli.protocol.messages import render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("Span", "SpanStore", "TraceContext", "parse_traceparent")

DEPTH_MAX = 40  # levels of a tree: a JSON decoder takes 128 levels, of which each of ours has two
SPAN_OVERHEAD = 500  # bytes that a span takes besides its texts
TEXT_MAX = 256  # of an attribute: a function id can be as long as a message
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The trace that something belongs to, and the span that it happened in."""

    trace_id: str
    span_id: str
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """The header that is sent on: version 00, and no flag but the one that version knows (14.2)."""
        return f"00-{self.trace_id}-{self.span_id}-{self.sampled:02x}"


def parse_traceparent(text: str | None) -> TraceContext | None:
    """W3C trace context. None where it is not one: a bad header is ignored, never refused."""
    match = _TRACEPARENT.fullmatch(text) if text else None
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == "ff" or not int(trace_id, 16) or not int(span_id, 16):
        return None
    if version == "00" and (more or int(flags, 16) > 2):
        return None
    return TraceContext(trace_id, span_id, int(flags, 16) & 1 == 1)


@dataclass(slots=True, eq=False)
class Span:
    """Something that began, and perhaps ended. Times in nanoseconds since the epoch."""

    trace_id: str
    span_id: str
    parent_span_id: str | None
    name: str
    started_at: int
    attributes: list[tuple[str, str]] = field(default_factory=list)
    service_name: str = "iii"
    ended_at: int | None = None
    status: str = "unset"
    status_description: str | None = None
    scope: str | None = None
    events: list[dict[str, Any]] = field(default_factory=list)  # as 3.8 shows them
    links: list[dict[str, Any]] = field(default_factory=list)

    @property
    def context(self) -> TraceContext:
        """What a child of this span belongs to."""
        return TraceContext(self.trace_id, self.span_id)

    @property
    def size(self) -> int:
        """About how many bytes it takes, once it has ended."""
        size = SPAN_OVERHEAD + len(self.name) + sum(len(key) + len(text) for key, text in self.attributes)
        if self.events or self.links:
            size += len(render([self.events, self.links]))
        return size

    def to_json(self) -> dict[str, Any]:
        """The span record of 3.8."""
        record: dict[str, Any] = {
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "parent_span_id": self.parent_span_id,
            "name": self.name,
            "start_time_unix_nano": self.started_at,
            "end_time_unix_nano": self.started_at if self.ended_at is None else self.ended_at,
            "status": self.status,
            "attributes": [list(pair) for pair in self.attributes],
            "service_name": self.service_name,
            "events": self.events,
            "links": self.links,
        }
        if self.status_description is not None:
            record["status_description"] = self.status_description
        if self.scope is not None:
            record["instrumentation_scope_name"] = self.scope
        if self.ended_at is None:
            record["pending"] = True
        return record


class SpanStore:
    """Open spans, and the last finished ones. What is dropped is counted."""

    def __init__(self, new_id: Callable[[], str], *, max_spans: int, max_bytes: int) -> None:
        self._new_id = new_id
        self._max = max_spans
        self._max_bytes = max_bytes
        self._bytes = 0
        self._open: dict[str, Span] = {}
        self._done: deque[Span] = deque()
        self.dropped = 0

    def __iter__(self) -> Iterator[Span]:
        """Finished spans, oldest first, then open ones."""
        yield from self._done
        yield from self._open.values()

    def __len__(self) -> int:
        return len(self._done) + len(self._open)

    def begin(self, parent: TraceContext, name: str, now: int, *attributes: tuple[str, str | None]) -> Span:
        """A child of `parent` begins. Attributes that are None are left out."""
        span = Span(
            parent.trace_id,
            self._new_id().replace("-", "")[:16],
            parent.span_id,
            name[:TEXT_MAX],
            now,
            [(key, value[:TEXT_MAX]) for key, value in attributes if value is not None],
        )
        self._open[span.span_id] = span
        return span

    def end(self, span: Span, now: int, *attributes: tuple[str, str], error: str | None = None) -> None:
        """The span ended, well or with an error."""
        del self._open[span.span_id]
        span.ended_at = now
        span.status = "ok" if error is None else "error"
        span.status_description = None if error is None else error[:TEXT_MAX]
        span.attributes.extend(attributes)
        self.keep(span)

    def keep(self, span: Span) -> None:
        """Remember a finished span, and forget the oldest where there is no room."""
        self._done.append(span)
        self._bytes += span.size
        while len(self._done) > self._max or self._bytes > self._max_bytes:
            self._bytes -= self._done.popleft().size
            self.dropped += 1

    def clear(self) -> None:
        """Forget the finished spans."""
        self._done.clear()
        self._bytes = 0

    def tree(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of one trace, nested by parent, each level by start. Unknown parents make roots."""
        spans = {span.span_id: span for span in self if span.trace_id == trace_id}
        children: dict[str | None, list[Span]] = {}
        roots: list[Span] = []
        for span in sorted(spans.values(), key=lambda span: span.started_at):
            is_root = span.parent_span_id not in spans
            (roots if is_root else children.setdefault(span.parent_span_id, [])).append(span)
        records: list[dict[str, Any]] = []
        todo = [(span, 0, records) for span in reversed(roots)]
        while todo:
            span, depth, siblings = todo.pop()
            record = span.to_json() | {"children": []}
            siblings.append(record)
            # A JSON text must not nest without end: below the last level, descendants are siblings.
            below = record["children"] if depth < DEPTH_MAX else siblings
            todo += [(child, depth + 1, below) for child in reversed(children.get(span.span_id, ()))]
        return records

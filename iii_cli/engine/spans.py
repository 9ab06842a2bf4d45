"""Trace context, baggage, and the spans and logs that the engine remembers (docs: protocol, "Calls")."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote, unquote_to_bytes

from msgspec import to_builtins

from iii_cli.engine.model import Span, TraceContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = (
    "SERVICE",
    "Remembered",
    "SpanStore",
    "baggage_for",
    "context_of",
    "parse_traceparent",
    "read_baggage",
    "traceparent_of",
)

DEPTH_MAX = 40  # levels of a tree: a JSON decoder takes 128 levels, of which each of ours has two
RECORD_OVERHEAD = 500  # bytes that a record takes besides its texts
SERVICE = "iii"  # what these spans are of
TEXT_MAX = 256  # of an attribute: a function id can be as long as a message

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")


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


def traceparent_of(trace: TraceContext) -> str:
    """The header that is sent on: version 00, and no flag but the one that version knows."""
    return f"00-{trace.trace_id}-{trace.span_id}-{trace.sampled:02x}"


def context_of(span: Span) -> TraceContext:
    """What a child of this span belongs to."""
    return TraceContext(span.trace_id, span.span_id)


# Baggage, read and written as OpenTelemetry does it for Rust, which the real engine stands on

ENTRIES_MAX = 64
BYTES_MAX = 8192  # of all names and values; a header with more entries than that has room for none of them
CALLEE = "iii.function.id"

_UNQUOTED = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '",;=')
_OF_NAMES = frozenset(_UNQUOTED) - frozenset("()/:<>?@[\\]{}")


def read_baggage(text: str | None) -> dict[str, str]:
    """The entries of a header, without their properties. What is not an entry is left out, and of two with
    the same name the last one counts.
    """
    entries: dict[str, str] = {}
    size = 0
    for part in (text or "").split(",", BYTES_MAX)[:BYTES_MAX]:
        pair = part.partition(";")[0].split("=", 2)[:2]
        try:
            name, value = (unquote_to_bytes(word).decode().strip() for word in pair)
        except ValueError:  # no value, or not UTF-8
            continue
        size = _put(entries, size, name, value)
    return entries


def baggage_for(function_id: str, text: str | None) -> str | None:
    """The header that is sent on to a function: it names the callee, in the place of another.

    None where nothing is left to be sent.
    """
    entries = read_baggage(text)
    entries.pop(CALLEE, None)
    size = sum(len(name) + len(value.encode()) for name, value in entries.items())
    _put(entries, size, CALLEE, function_id)
    return ",".join(f"{name}={quote(value, safe=_UNQUOTED)}" for name, value in entries.items()) or None


def _put(entries: dict[str, str], size: int, name: str, value: str) -> int:
    """Add the entry, if its name is one and there is room. Says how many bytes there are then."""
    before = entries.get(name)
    more = len(value.encode()) + (len(name) if before is None else -len(before.encode()))
    full = size + more > BYTES_MAX or (before is None and len(entries) == ENTRIES_MAX)
    if full or not name or not _OF_NAMES.issuperset(name):
        return size
    entries[name] = value
    return size + more


# What is remembered

Record = TypeVar("Record")


class Remembered(Generic[Record]):
    """The last records, bounded by bytes. `dropped` counts the others."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._records: deque[tuple[Record, int]] = deque()
        self._bytes = 0
        self.dropped = 0

    def __iter__(self) -> Iterator[Record]:
        """Oldest first."""
        return (record for record, _ in self._records)

    def add(self, record: Record, text_bytes: int) -> None:
        """Keep a record whose texts take about `text_bytes`."""
        size = text_bytes + RECORD_OVERHEAD
        self._records.append((record, size))
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._bytes -= self._records.popleft()[1]
            self.dropped += 1

    def clear(self) -> None:
        """Forget them all."""
        self._records.clear()
        self._bytes = 0


class SpanStore:
    """Open spans, and the last finished ones."""

    def __init__(self, new_id: Callable[[], str], max_bytes: int) -> None:
        self._new_id = new_id
        self._open: dict[str, Span] = {}
        self.finished: Remembered[Span] = Remembered(max_bytes)

    def __iter__(self) -> Iterator[Span]:
        """Finished spans, oldest first, then open ones."""
        yield from self.finished
        yield from self._open.values()

    def begin(self, parent: TraceContext, name: str, now: int, *attributes: tuple[str, str | None]) -> Span:
        """A child of `parent` begins. Attributes that are None are left out."""
        span = Span(
            parent.trace_id,
            self._new_id().replace("-", "")[:16],
            parent.span_id,
            name[:TEXT_MAX],
            now,
            now,
            [(key, value[:TEXT_MAX]) for key, value in attributes if value is not None],
            "unset",
            SERVICE,
            (),
            (),
            pending=True,
        )
        self._open[span.span_id] = span
        return span

    def end(self, span: Span, now: int, *attributes: tuple[str, str], error: str | None = None) -> None:
        """The span ended, well or with an error."""
        del self._open[span.span_id]
        span.pending = False
        span.end_time_unix_nano = now
        span.status = "ok" if error is None else "error"
        span.status_description = None if error is None else error[:TEXT_MAX]
        span.attributes.extend(attributes)
        size = len(span.name) + sum(len(key) + len(text) for key, text in span.attributes)
        self.finished.add(span, size)

    def tree(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of one trace, nested by parent, each level by start. Unknown parents make roots."""
        spans = {span.span_id: span for span in self if span.trace_id == trace_id}
        children: dict[str | None, list[Span]] = {}
        roots: list[Span] = []
        for span in sorted(spans.values(), key=lambda span: span.start_time_unix_nano):
            is_root = span.parent_span_id not in spans
            (roots if is_root else children.setdefault(span.parent_span_id, [])).append(span)
        rows: list[dict[str, Any]] = []
        todo = [(span, 0, rows) for span in reversed(roots)]
        while todo:
            span, depth, siblings = todo.pop()
            row = to_builtins(span) | {"children": []}
            siblings.append(row)
            # A JSON text must not nest without end: below the last level, descendants are siblings.
            below = row["children"] if depth < DEPTH_MAX else siblings
            todo += [(child, depth + 1, below) for child in reversed(children.get(span.span_id, ()))]
        return rows

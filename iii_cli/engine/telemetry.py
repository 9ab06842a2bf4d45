"""Telemetry of workers in binary frames (protocol.md 1.6): spans and logs are kept, metrics are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii_cli.engine.logs import LogRecord
from iii_cli.engine.spans import Span
from iii_cli.protocol.messages import MalformedJson, parse, render

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iii_cli.engine.state import EngineState

__all__ = ("take_telemetry",)

TEXT_MAX = 4096  # of a value that is kept
ATTRIBUTES_MAX = 64  # of one span, event, link, record or resource
EVENTS_MAX = 32  # of one span, and as many links

_STATUS = {1: "ok", 2: "error"}


def take_telemetry(state: EngineState, frame: bytes, now: int) -> bool:
    """Take the frame if it is telemetry. What is wrong with it is nobody's concern."""
    prefix = frame[:4]
    if prefix not in (b"OTLP", b"MTRC", b"LOGS"):
        return False
    try:
        document = parse(frame[4:])
        if prefix == b"OTLP":
            for span in _spans(document):
                state.spans.keep(span)
        elif prefix == b"LOGS":
            for record in _logs(document, now):
                state.logs.add(record, len(record.body) + len(render([record.attributes, record.resource])))
    except (MalformedJson, LookupError, TypeError, ValueError, AttributeError) as error:
        state.notice("telemetry dropped", kind=prefix.decode(), reason=type(error).__name__)
    return True


def _spans(document: Any) -> Iterator[Span]:
    for resource, scope, record in _records(document, "resourceSpans", "scopeSpans", "spans"):
        status = record.get("status") or {}
        message = status.get("message")
        yield Span(
            _text(record["traceId"]),
            _text(record["spanId"]),
            _text(record["parentSpanId"]) if record.get("parentSpanId") else None,
            _text(record["name"]),
            _nanos(record["startTimeUnixNano"]),
            list(_texts(record).items()),
            _service(resource),
            _nanos(record["endTimeUnixNano"]),
            _STATUS.get(status.get("code", 0), "unset"),
            _text(message) if message else None,
            scope,
            [
                {
                    "name": _text(event.get("name")),
                    "timestamp_unix_nano": _nanos(event.get("timeUnixNano") or 0),
                    "attributes": _pairs(event),
                }
                for event in list(record.get("events") or ())[:EVENTS_MAX]
            ],
            [
                {
                    "trace_id": _text(link["traceId"]),
                    "span_id": _text(link["spanId"]),
                    "attributes": _pairs(link),
                }
                for link in list(record.get("links") or ())[:EVENTS_MAX]
            ],
        )


def _logs(document: Any, now: int) -> Iterator[LogRecord]:
    for resource, _, record in _records(document, "resourceLogs", "scopeLogs", "logRecords"):
        yield LogRecord(
            _nanos(record.get("timeUnixNano") or now),
            int(record.get("severityNumber") or 0) % 25,
            _text(record.get("severityText") or ""),
            _text(_value(record.get("body"))),
            _nanos(record.get("observedTimeUnixNano") or now),
            _attributes(record),
            _text(record.get("traceId")) or None,
            _text(record.get("spanId")) or None,
            _service(resource),
            resource,
        )


def _records(
    document: Any, outer: str, inner: str, leaf: str
) -> Iterator[tuple[dict[str, Any], str | None, dict[str, Any]]]:
    """Every record, with the attributes of its resource and the name of its scope."""
    for holder in document.get(outer) or ():
        resource = _attributes(holder.get("resource") or {})
        for scope in holder.get(inner) or ():
            name = (scope.get("scope") or {}).get("name")
            for record in scope.get(leaf) or ():
                yield resource, None if name is None else _text(name), record


def _service(resource: dict[str, Any]) -> str:
    return _text(resource.get("service.name", "unknown"))


def _attributes(holder: dict[str, Any]) -> dict[str, Any]:
    pairs = list(holder.get("attributes") or ())[:ATTRIBUTES_MAX]
    return {_text(pair["key"]): _value(pair.get("value")) for pair in pairs}


def _texts(holder: dict[str, Any]) -> dict[str, str]:
    return {key: _text(value) for key, value in _attributes(holder).items()}


def _pairs(holder: dict[str, Any]) -> list[list[str]]:
    return [list(pair) for pair in _texts(holder).items()]


def _value(value: Any) -> Any:
    """The one value that an OTLP value object holds: a number or boolean as it is, all else as text.

    OTLP writes 64-bit numbers as strings.
    """
    if not isinstance(value, dict):
        return _text(value)
    kind, held = next(iter(value.items()), ("stringValue", ""))
    if kind == "intValue":
        return min(max(int(held), -(2**63)), 2**63 - 1)
    return held if isinstance(held, bool | float) else _text(held)


def _nanos(value: Any) -> int:
    return min(max(int(value), 0), 2**63 - 1)


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else render(value)
    return text[:TEXT_MAX]

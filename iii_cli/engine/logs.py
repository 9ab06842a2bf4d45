"""Log records in bounded memory, as `engine::logs::list` shows them (protocol.md 3.8)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("SEVERITIES", "LogRecord", "LogStore")

SEVERITIES = {"trace": 1, "debug": 5, "info": 9, "warn": 13, "error": 17}
RECORD_OVERHEAD = 500  # bytes that a record takes besides its text


@dataclass(slots=True, eq=False)
class LogRecord:
    """One line somebody logged. Times in nanoseconds since the epoch."""

    timestamp: int
    severity_number: int
    severity_text: str
    body: str
    observed: int
    attributes: dict[str, Any] = field(default_factory=dict)
    trace_id: str | None = None
    span_id: str | None = None
    service_name: str = "unknown"
    resource: dict[str, Any] = field(default_factory=lambda: {"service.name": "iii"})

    def to_json(self) -> dict[str, Any]:
        """The record of 3.8."""
        return {
            "timestamp_unix_nano": self.timestamp,
            "observed_timestamp_unix_nano": self.observed,
            "severity_number": self.severity_number,
            "severity_text": self.severity_text,
            "body": self.body,
            "attributes": self.attributes,
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "resource": self.resource,
            "service_name": self.service_name,
        }


class LogStore:
    """The last records, bounded by number and by bytes."""

    def __init__(self, *, max_logs: int, max_bytes: int) -> None:
        self._max_logs = max_logs
        self._max_bytes = max_bytes
        self._records: deque[tuple[LogRecord, int]] = deque()
        self._bytes = 0

    def __iter__(self) -> Iterator[LogRecord]:
        """Oldest first."""
        return (record for record, _ in self._records)

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: LogRecord, size: int) -> None:
        """Keep a record of about `size` bytes."""
        size += RECORD_OVERHEAD
        self._records.append((record, size))
        self._bytes += size
        while len(self._records) > self._max_logs or self._bytes > self._max_bytes:
            self._bytes -= self._records.popleft()[1]

    def clear(self) -> None:
        """Forget them all."""
        self._records.clear()
        self._bytes = 0

"""`engine::log::*` and `engine::logs::*` (protocol.md 3.8)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from iii_cli.engine.builtins.inputs import Builtin, Given, Kind, may, must
from iii_cli.engine.logs import SEVERITIES, LogRecord
from iii_cli.protocol.messages import render

if TYPE_CHECKING:
    from iii_cli.engine.call import Call
    from iii_cli.engine.state import EngineState

__all__ = ("LogBuiltins",)

_FILTERS = (
    "trace_id",
    "span_id",
    "severity_min",
    "severity_text",
    "start_time",
    "end_time",
    "offset",
    "limit",
)


class LogBuiltins:
    """Write to the engine's log, and read it."""

    def __init__(self, state: EngineState) -> None:
        self._state = state

    def table(self) -> tuple[Builtin, ...]:
        """The functions."""
        fields = (
            must("message"),
            may("data", Kind.ANY),
            may("trace_id"),
            may("span_id"),
            may("service_name"),
        )
        writers = tuple(
            Builtin(
                f"engine::log::{level}", f"Log a line at level {level}", fields, partial(self._log, level)
            )
            for level in SEVERITIES
        )
        filters = tuple(
            may(name, Kind.STRING if name.endswith(("_id", "_text")) else Kind.COUNT) for name in _FILTERS
        )
        return (
            *writers,
            Builtin("engine::logs::list", "Look up log records", filters, self._list),
            Builtin("engine::logs::clear", "Forget the log records", (), self._clear),
        )

    def _log(self, level: str, call: Call, given: Given) -> None:
        data = given["data"]
        attributes = data if isinstance(data, dict) else {} if data is None else {"data": data}
        record = LogRecord(
            call.now,
            SEVERITIES[level],
            level.upper(),
            given["message"],
            call.now,
            attributes,
            given["trace_id"],
            given["span_id"],
            given["service_name"] or "unknown",
        )
        self._state.logs.add(record, len(given["message"]) + len(render(attributes)))
        self._state.notice("log", level=level, message=given["message"][:200], worker=call.caller.id)

    def _list(self, call: Call, given: Given) -> Any:
        found = [record for record in self._state.logs if _matches(record, given)]
        start = given["offset"] or 0
        stop = None if given["limit"] is None else start + given["limit"]
        return {
            "logs": [record.to_json() for record in found[start:stop]],
            "total": len(found),
            "query": {name: given[name] for name in _FILTERS},
            "timestamp": call.now // 1_000_000,
        }

    def _clear(self, call: Call, given: Given) -> Any:
        self._state.logs.clear()
        return {"success": True}


def _matches(record: LogRecord, given: Given) -> bool:
    moment = record.timestamp // 1_000_000
    text = given["severity_text"]
    return (
        given["trace_id"] in (None, record.trace_id)
        and given["span_id"] in (None, record.span_id)
        and record.severity_number >= (given["severity_min"] or 0)
        and (text is None or text.upper() == record.severity_text)
        and moment >= (given["start_time"] or 0)
        and (given["end_time"] is None or moment <= given["end_time"])
    )

"""`engine::traces::*` (protocol.md 3.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii_cli.engine.builtins.inputs import Builtin, Given, Kind, may, must

if TYPE_CHECKING:
    from collections.abc import Callable

    from iii_cli.engine.call import Call
    from iii_cli.engine.spans import Span
    from iii_cli.engine.state import EngineState

__all__ = ("TraceBuiltins",)

LIMIT = 100  # rows, where the caller does not say


class TraceBuiltins:
    """The spans that the engine keeps."""

    def __init__(self, state: EngineState) -> None:
        self._state = state

    def table(self) -> tuple[Builtin, ...]:
        """The functions."""
        filters = (
            may("trace_id"),
            may("trace_ids", Kind.STRINGS),
            may("service_name"),
            may("name"),
            may("status"),
            may("min_duration_ms", Kind.NUMBER),
            may("max_duration_ms", Kind.NUMBER),
            may("start_time", Kind.COUNT),
            may("end_time", Kind.COUNT),
            may("attributes", Kind.PAIRS),
            may("exclude_attributes", Kind.PAIRS),
            may("include_internal", Kind.BOOL),
            may("search_all_spans", Kind.BOOL),
            may("sort_by"),
            may("sort_order"),
            may("offset", Kind.COUNT),
            may("limit", Kind.COUNT),
        )
        return (
            Builtin("engine::traces::list", "Look up spans", filters, self._list),
            Builtin(
                "engine::traces::tree", "The spans of one trace, nested", (must("trace_id"),), self._tree
            ),
            Builtin("engine::traces::clear", "Forget the finished spans", (), self._clear),
        )

    def _list(self, call: Call, given: Given) -> Any:
        spans = list(self._state.spans)
        if not given["search_all_spans"]:
            known = {span.span_id for span in spans}
            spans = [span for span in spans if span.parent_span_id not in known]
        found = [span for span in spans if _matches(span, given)]
        key = _SORT_KEYS.get(given["sort_by"] or "start_time", _SORT_KEYS["start_time"])
        found.sort(key=key, reverse=(given["sort_order"] or "desc") == "desc")
        offset = given["offset"] or 0
        limit = LIMIT if given["limit"] is None else given["limit"]
        return {
            "spans": [span.to_json() for span in found[offset : offset + limit]],
            "total": len(found),
            "offset": offset,
            "limit": limit,
            "storage": self._storage(),
        }

    def _tree(self, call: Call, given: Given) -> Any:
        return {"roots": self._state.spans.tree(given["trace_id"]), "storage": self._storage()}

    def _clear(self, call: Call, given: Given) -> Any:
        self._state.spans.clear()
        return {"success": True}

    def _storage(self) -> dict[str, Any]:
        dropped = self._state.spans.dropped
        return {
            "archive": "disabled",
            "completeness": "partial" if dropped else "complete",
            "known_dropped_spans": dropped,
            "last_error": None,
            "max_disk_bytes": 0,
            "physical_bytes": 0,
        }


_SORT_KEYS: dict[str, Callable[[Span], Any]] = {
    "start_time": lambda span: span.started_at,
    "duration": lambda span: (span.ended_at or span.started_at) - span.started_at,
    "service_name": lambda span: span.service_name,
    "name": lambda span: span.name,
}


def _matches(span: Span, given: Given) -> bool:
    duration = ((span.ended_at or span.started_at) - span.started_at) / 1e6
    moment = span.started_at // 1_000_000
    pairs = set(span.attributes)
    return (
        given["trace_id"] in (None, span.trace_id)
        and (not given["trace_ids"] or span.trace_id in given["trace_ids"])
        and given["service_name"] in (None, span.service_name)
        and (given["name"] or "").lower() in span.name.lower()
        and (given["status"] is None or given["status"].lower() == span.status)
        and duration >= (given["min_duration_ms"] or 0)
        and (given["max_duration_ms"] is None or duration <= given["max_duration_ms"])
        and moment >= (given["start_time"] or 0)
        and (given["end_time"] is None or moment <= given["end_time"])
        and all(tuple(pair) in pairs for pair in given["attributes"] or ())
        and not any(tuple(pair) in pairs for pair in given["exclude_attributes"] or ())
    )

"""Spans of calls, in bounded memory, and the trees they make."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest

from iii_cli.engine.model import TraceContext
from iii_cli.engine.spans import (
    BYTES_MAX,
    ENTRIES_MAX,
    SpanStore,
    baggage_for,
    context_of,
    read_baggage,
)
from tests.engine.bench import START, Bench, uuid

TRACE = "aaf7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-c7ad6b7169203331-01"


def _tree(bench: Bench, trace_id: str = TRACE) -> Any:
    return bench.worker().call("engine::traces::tree", {"trace_id": trace_id})["roots"]


def test_a_call_with_a_trace_leaves_a_span() -> None:
    bench = Bench()
    worker, caller = bench.worker("images", "img::resize"), bench.worker("app")
    call_id = caller.invoke("img::resize", {}, traceparent=PARENT)
    call = worker.hear_one()
    (root,) = _tree(bench)
    assert root["pending"] is True
    bench.wait(0.25)
    worker.answer(call, result=1)
    (root,) = _tree(bench)
    assert root.pop("span_id")
    assert root == {
        "trace_id": TRACE,
        "parent_span_id": "c7ad6b7169203331",
        "name": "call img::resize",
        "start_time_unix_nano": START,
        "end_time_unix_nano": START + 250_000_000,
        "status": "ok",
        "attributes": [
            ["iii.function.id", "img::resize"],
            ["iii.namespace", "default"],
            ["iii.worker.name", "images"],
            ["iii.worker.id", worker.id],
            ["iii.caller.name", "app"],
            ["iii.caller.id", caller.id],
            ["iii.invocation.id", call_id],
        ],
        "service_name": "iii",
        "events": [],
        "links": [],
        "children": [],
    }


@pytest.mark.parametrize("how", ["error", "executor leaves", "caller leaves"])
def test_a_call_that_failed_says_so(how: str) -> None:
    bench = Bench()
    worker, caller = bench.worker("w", "f"), bench.worker("c")
    caller.invoke("f", {}, traceparent=PARENT)
    if how == "error":
        worker.answer(worker.hear_one(), error={"code": "bad", "message": "header"})
    else:
        (worker if how == "executor leaves" else caller).leave()
    (root,) = _tree(bench)
    expected = "bad: header" if how == "error" else "invocation_stopped: Invocation stopped"
    assert (root["status"], root["status_description"]) == ("error", expected)


def test_calls_from_within_a_call_are_its_children() -> None:
    bench = Bench()
    outer, inner, caller = bench.worker("o", "outer"), bench.worker("i", "inner"), bench.worker("c")
    caller.invoke("outer", {}, traceparent=PARENT)
    call = outer.hear_one()
    for _ in range(2):
        bench.wait(0.001)
        outer.invoke("inner", {}, traceparent=call["traceparent"])
        inner.answer(inner.hear_one())
        outer.hear()
    outer.call("engine::channels::create", traceparent=call["traceparent"])
    outer.answer(call)
    outer.invoke("inner", {}, traceparent=call["traceparent"])
    (first, second) = _tree(bench)
    assert (first["name"], second["name"]) == ("call outer", "call inner")
    names = [child["name"] for child in first["children"]]
    assert names == ["call inner", "call inner", "call engine::channels::create"]


def test_the_list_is_filtered_sorted_and_cut() -> None:
    bench = Bench()
    worker, caller = bench.worker("w", "f", "g"), bench.worker("c")
    for number in range(3):
        caller.invoke("fg"[number % 2], {}, traceparent=f"00-{number + 1:032x}-c7ad6b7169203331-01")
        bench.wait(0.01 * (number + 1))
        error = {"code": "c", "message": "m"} if number == 1 else None
        worker.answer(worker.hear_one(), error=error)

    def traces(**query: Any) -> list[int]:
        return [int(span["trace_id"], 16) for span in caller.call("engine::traces::list", query)["spans"]]

    first, second = START // 10**6, START // 10**6 + 5
    for query, expected in (
        ({}, [3, 2, 1]),
        ({"sort_order": "asc", "sort_by": "duration"}, [1, 2, 3]),
        ({"limit": 1, "offset": 1}, [2]),
        ({"limit": 0}, []),
        ({"status": "error"}, [2]),
        ({"name": "CALL F"}, [3, 1]),
        ({"min_duration_ms": 15}, [3, 2]),
        ({"max_duration_ms": 15, "end_time": second, "start_time": first}, [1]),
        ({"trace_id": f"{2:032x}"}, [2]),
        ({"trace_ids": [f"{1:032x}", f"{3:032x}"], "start_time": second}, [3]),
        ({"attributes": [["iii.function.id", "g"]]}, [2]),
        ({"exclude_attributes": [["iii.function.id", "g"]]}, [3, 1]),
    ):
        assert traces(**query) == expected, query
    assert caller.call("engine::traces::clear")["success"]
    assert traces() == []


def _store(max_bytes: int = 10**9) -> SpanStore:
    ids = count(1)
    return SpanStore(lambda: uuid(next(ids)), max_bytes)


def test_the_store_is_bounded_and_counts_what_it_drops() -> None:
    store = _store(5 * 600)
    for number in range(20):
        store.end(store.begin(TraceContext(TRACE, "b" * 16), "x" * 100, number), number)
    assert [span.start_time_unix_nano for span in store] == [15, 16, 17, 18, 19]
    assert store.finished.dropped == 15


def test_what_a_span_holds_of_a_stranger_is_cut() -> None:
    span = _store().begin(TraceContext(TRACE, "b" * 16), "n" * 10_000, 0, ("k", "v" * 10_000), ("none", None))
    assert (len(span.name), span.attributes) == (256, [("k", "v" * 256)])


def test_a_deep_tree_is_flattened_before_a_decoder_gives_up() -> None:
    store, parent = _store(), TraceContext(TRACE, "b" * 16)
    for number in range(1, 500):
        parent = context_of(store.begin(parent, "s", number))
    text = json.dumps(store.tree(TRACE))
    depth = max(text[:at].count("[") - text[:at].count("]") for at in range(0, len(text), 50))
    assert text.count('"name"') == 499
    assert depth < 60


# Baggage


def test_a_value_that_grows_beyond_the_room_stays_as_it_was() -> None:
    assert read_baggage(f"k=1,k={'x' * BYTES_MAX},k=2") == {"k": "2"}
    assert len(read_baggage(f"k={'x' * (BYTES_MAX - 1)},a=1")) == 1


def test_a_full_header_has_no_room_for_the_callee() -> None:
    full = ",".join(f"k{number}=v" for number in range(ENTRIES_MAX))
    assert "iii.function.id" not in str(baggage_for("f", full))
    assert baggage_for("f" * BYTES_MAX, None) is None


def test_megabytes_of_entries_are_not_gone_through() -> None:
    assert read_baggage("k=1," * 5_000_000 + "late=1") == {"k": "1"}

"""The engine's own functions: fields, defaults, orders, error texts."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.bench import START, Bench, Peer


@pytest.fixture
def bench() -> Bench:
    return Bench()


def _ids(peer: Peer, **query: Any) -> list[str]:
    return [row["function_id"] for row in peer.call("engine::functions::list", query)["functions"]]


def test_filters_of_the_list(bench: Bench) -> None:
    bench.worker("a", "b::resize", "a::c", "engine::queue::enqueue", "engine::other")
    peer = bench.worker("b")
    peer.say("registerfunction", id="x::hidden", metadata={"internal": True})
    peer.say("registerfunction", id="x::told", description="Resizes too")
    assert _ids(peer) == ["a::c", "b::resize", "engine::queue::enqueue", "x::told"]
    assert _ids(peer, prefix="b::") == ["b::resize"]
    assert _ids(peer, search="RESIZE") == ["b::resize", "x::told"]
    assert _ids(peer, worker="b") == ["x::told"]
    assert _ids(peer, workers=["a", "nobody"]) == ["a::c", "b::resize", "engine::queue::enqueue"]
    assert _ids(peer, worker="b", workers=["a"]) == _ids(peer)
    everything = _ids(peer, include_internal=True)
    assert {"x::hidden", "engine::other", "engine::channels::create", "engine::traces::tree"} < set(
        everything
    )
    assert everything == sorted(everything)


def test_a_search_ranks_ids_before_descriptions(bench: Bench) -> None:
    peer = bench.worker("w", "aaa::xfoo", "zzz::foo", "foo::z")
    peer.say("registerfunction", id="aa", description="foo")
    assert _ids(peer, search="foo") == ["foo::z", "zzz::foo", "aaa::xfoo", "aa"]


def test_info_of_a_function(bench: Bench) -> None:
    peer = bench.worker("images")
    peer.say("registerfunction", id="f", request_format={"type": "object"}, response_format=None)
    peer.say("registertrigger", id="t", trigger_type="http", function_id="f", config={"api_path": "/f"})
    detail = {
        "function_id": "f",
        "namespace": "default",
        "worker_name": "images",
        "request_schema": {"type": "object"},
        "registered_triggers": [{"id": "t", "trigger_type": "http", "config": {"api_path": "/f"}}],
    }
    assert peer.call("engine::functions::info", {"function_id": "f"}) == detail
    batch = {"function_ids": ["f", "nope", "f"]}
    assert peer.call("engine::functions::info", batch)["functions"] == [
        detail,
        {"function_id": "nope", "error": "not_found"},
    ]
    for ids in ([], [str(number) for number in range(33)]):
        assert peer.refused("engine::functions::info", {"function_ids": ids})[0] == "INVALID_ARGUMENTS"


def test_the_list_of_workers(bench: Bench) -> None:
    worker = bench.connect("10.0.0.7")
    worker.call(
        "engine::workers::register",
        {"name": "images", "pid": 123, "runtime": "python", "version": "1", "os": "Linux", "isolation": None},
    )
    worker.say("registerfunction", id="f")
    bench.connect().call("engine::workers::register", {"name": "no pid"})
    engine, images = worker.call("engine::workers::list")["workers"]
    assert images == {
        "id": worker.id,
        "name": "images",
        "namespace": "default",
        "description": None,
        "version": "1",
        "runtime": "python",
        "os": "Linux",
        "status": "connected",
        "function_count": 1,
        "connected_at_ms": START // 1_000_000,
        "active_invocations": 1,
        "isolation": None,
        "ip_address": "10.0.0.7",
    }
    assert engine.keys() == images.keys()
    assert (engine["name"], engine["runtime"], engine["status"]) == ("engine", "engine", "available")
    assert engine["isolation"] == "in-process"


# Inputs


@pytest.mark.parametrize(
    ("function_id", "data"),
    [
        *(("channels::create", data) for data in (None, "x", True, ["x"], [5, None])),
        *(("channels::create", {"buffer_size": size}) for size in (-1, 1.5, True, "x", 2.0**64)),
        ("workers::info", {}),
        ("workers::info", []),
        ("workers::info", {"name": None}),
        ("functions::list", {"workers": [1]}),
        ("functions::list", {"workers": {}}),
        ("functions::list", {"include_internal": []}),
        *(("traces::list", {"attributes": [pair]}) for pair in (["a"], ["a", "b", "c"], [1, 2])),
        ("traces::tree", []),
    ],
)
def test_input_is_read_strictly(bench: Bench, function_id: str, data: Any) -> None:
    worker = bench.worker()
    call_id = worker.invoke(f"engine::{function_id}", data)
    (answer,) = worker.hear()
    assert (answer["invocation_id"], answer["error"]["code"]) == (call_id, "deserialization_error")
    assert answer["error"]["message"].startswith(f"Failed to deserialize input for engine::{function_id}: ")


def test_logs_are_written_and_found(bench: Bench) -> None:
    peer = bench.worker()
    for level in ("trace", "debug", "info", "warn", "error"):
        data = {"message": level, "data": {"k": 1}, "trace_id": f"t-{level}"}
        call = peer.call_raw(f"engine::log::{level}", data)
        assert call.keys() == {"type", "invocation_id", "function_id"}, "no result at all"
        bench.wait(1)

    def found(**query: Any) -> list[str]:
        answer = peer.call("engine::logs::list", query)
        assert answer["query"].items() >= query.items()
        return [record["body"] for record in answer["logs"]]

    assert found() == ["trace", "debug", "info", "warn", "error"]
    assert found(severity_min=13) == ["warn", "error"]
    assert found(severity_text="info") == found(trace_id="t-info") == ["info"]
    assert found(span_id="x") == []
    assert found(start_time=START // 10**6 + 3500) == ["error"]
    assert found(end_time=START // 10**6 + 500) == ["trace"]
    assert found(offset=1, limit=2) == ["debug", "info"]
    assert peer.call("engine::logs::clear")["success"] is True
    assert found() == []

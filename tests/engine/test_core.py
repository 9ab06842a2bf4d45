"""The engine's core, without a socket: sessions, registrations, calls and their answers.

What both engines do is held by tests/conformance; here are the rows that are ours, and the limits.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.engine.bench import Bench, uuid


@pytest.fixture
def bench() -> Bench:
    return Bench()


# Sessions


def test_the_engines_own_functions_cannot_be_taken(bench: Bench) -> None:
    worker = bench.worker("w", "engine::channels::create")
    rejection = worker.hear_one()
    assert (rejection["code"], rejection["owner_worker_id"]) == ("FUNCTION_NAMESPACE_CONFLICT", "")
    worker.say("unregisterfunction", id="engine::channels::create")
    assert worker.call("engine::channels::create")["reader"]["direction"] == "read"


def test_names_are_stripped_of_what_could_mislead_a_reader(bench: Bench) -> None:
    worker = bench.worker("a\x1b[31m\u202eb" + "x" * 300, description="d\n")
    row = next(row for row in worker.call("engine::workers::list")["workers"] if row["id"] == worker.id)
    assert row["name"] == "a[31mb" + "x" * 274
    assert row["description"] == "d"


@pytest.mark.parametrize(
    "frame",
    [
        "",
        " \n",
        "nonsense",
        b"\x00\xff",
        b"OTLP",
        b"OTLP{}",
        b"MTRC nonsense",
        b"LOGS[]",
        b'OTLP{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}',
        b'OTLP{"resourceSpans":7}',
        b'LOGS{"resourceLogs":[{"resource":7}]}',
        '{"type":"invokefunction","function_id":"f"}',
        '{"type":"workerregistered","worker_id":"x"}',
        '{"type":"registerservice","id":"x"}',
        '{"type":"invocationresult","invocation_id":"' + uuid(9) + '","function_id":"f"}',
    ],
)
def test_what_means_nothing_does_nothing(bench: Bench, frame: str | bytes) -> None:
    worker = bench.worker("w")
    assert worker.say_raw(frame).hear() == []
    assert worker.end is None
    assert worker.call("engine::functions::list") == {"functions": []}


@pytest.mark.parametrize("announced", [True, False])
def test_a_worker_that_registers_without_end_is_dropped(announced: bool) -> None:
    bench = Bench(max_registrations=10, max_held_bytes=10_000)
    many, large, caller = bench.connect(), bench.connect(), bench.worker("c", "f")
    if announced:
        many.announce()
        large.announce()
    for number in range(11):
        many.say("registerfunction", id=f"f{number}")
    large.say("registerfunction", id="large", metadata="x" * 10_000)
    assert (many.end, large.end) == ("drop", "drop")
    assert len(caller.call("engine::functions::list")["functions"]) == 1


def test_a_worker_that_takes_names_without_end_is_dropped() -> None:
    bench = Bench(max_registrations=10)
    worker = bench.worker("same")
    for _ in range(20):
        worker.announce("same")
    for number in range(10):
        assert worker.end is None
        worker.invoke("engine::workers::register", {"name": f"name {number}"})
    assert worker.end == "drop"
    assert bench.worker("name 0").end is None


def test_registering_the_same_again_and_again_is_no_growth() -> None:
    bench = Bench(max_registrations=10, max_held_bytes=10_000)
    worker = bench.worker("w")
    for _ in range(100):
        worker.say("registerfunction", id="f", metadata="x" * 1000)
        worker.say("registertriggertype", id="t", description="x" * 1000)
        worker.say("registertrigger", id="b", trigger_type="t", function_id="f", config="x" * 1000)
    assert worker.end is None


def test_what_was_parked_counts_once() -> None:
    bench = Bench(max_registrations=10, max_held_bytes=10_000)
    worker = bench.connect()
    for number in range(8):
        worker.say("registerfunction", id=f"f{number}", metadata="x" * 1000)
    worker.announce("w").say("registerfunction", id="more")
    assert worker.end is None
    assert len(worker.call("engine::functions::list")["functions"]) == 9


# Calls


@pytest.mark.parametrize("data", [None, 1, "text", [1, {"a": 2}], True])
def test_only_objects_learn_who_called(bench: Bench, data: Any) -> None:
    worker, caller = bench.worker("w", "f"), bench.worker("c")
    caller.invoke("f", data)
    assert worker.hear_one()["data"] == data


def test_a_queue_worker_takes_what_is_queued(bench: Bench) -> None:
    queue, caller = bench.worker("q", "engine::queue::enqueue"), bench.worker("c")
    call_id = caller.invoke(
        "f", {"a": 1}, action={"type": "enqueue", "queue": "q"}, baggage="k=v", namespace="n"
    )
    call = queue.hear_one()
    receipt = call["data"].pop("messageReceiptId")
    assert call["function_id"] == "engine::queue::enqueue"
    assert call["data"] == {
        "queue": "q",
        "function_id": "f",
        "data": {"a": 1},
        "traceparent": None,
        "baggage": "k=v",
        "namespace": "n",
    }
    queue.answer(call, result={"whatever": 1})
    answer = caller.hear_one()
    assert (answer["invocation_id"], answer["result"]) == (call_id, {"messageReceiptId": receipt})
    caller.invoke("f", 1, action={"type": "enqueue", "queue": "q"})
    queue.answer(queue.hear_one(), error={"code": "full", "message": "no room"})
    assert caller.hear_one()["error"] == {"code": "enqueue_error", "message": "no room"}


def test_one_caller_cannot_fill_the_engine_with_calls() -> None:
    bench = Bench(max_in_flight=3)
    bench.worker("w", "f")
    caller = bench.worker("c")
    for _ in range(3):
        caller.invoke("f")
    assert caller.refused("f")[0] == "too_many_invocations"
    assert bench.worker("o").call("engine::functions::list")


@pytest.mark.parametrize(
    "payload",
    [
        '{"_caller_worker_id":"somebody else","a":1}',
        '{"_caller_worker_id":1,"a":1,"_caller_worker_id":"somebody else"}',
        '{"\\u005fcaller_worker_id":"somebody else","a":1}',
        '{"_caller\\u005fworker_id":"x","a":1,"_caller_worker_id":{"b":[1]}}',
        ' { "a" : 1 } ',
    ],
)
def test_the_caller_cannot_say_who_it_is(bench: Bench, payload: str) -> None:
    worker, caller = bench.worker("w", "f"), bench.worker("c")
    caller.say_raw(f'{{"type":"invokefunction","function_id":"f","data":{payload}}}')
    heard = worker.raw[-1]
    pairs: list[tuple[str, Any]] = []
    json.loads(heard, object_pairs_hook=pairs.extend)
    ids = [value for key, value in pairs if key == "_caller_worker_id"]
    assert ids == [caller.id]
    assert ("a", 1) in pairs

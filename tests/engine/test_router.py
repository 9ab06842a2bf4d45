"""Calls and their answers (protocol.md 2.3-2.5)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.bench import Bench, uuid

PARENT = "00-aaf7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_call_and_its_answer(bench: Bench) -> None:
    worker, caller = bench.worker("w", "f"), bench.worker("c")
    call_id = caller.invoke("f", {"w": 100}, metadata={"m": 1})
    call = worker.hear_one()
    assert call == {
        "type": "invokefunction",
        "function_id": "f",
        "data": {"w": 100, "_caller_worker_id": caller.id},
        "invocation_id": call_id,
        "metadata": {"m": 1},
    }
    worker.answer(call, result={"bytes": 512}, traceparent="of the executor")
    assert caller.hear_one() == {
        "type": "invocationresult",
        "invocation_id": call_id,
        "function_id": "f",
        "result": {"bytes": 512},
    }
    worker.answer(call, result="again")
    assert caller.hear() == []


@pytest.mark.parametrize("data", [None, 1, "text", [1, {"a": 2}], True])
def test_only_objects_learn_who_called(bench: Bench, data: Any) -> None:
    worker, caller = bench.worker("w", "f"), bench.worker("c")
    caller.invoke("f", data)
    assert worker.hear_one()["data"] == data


def test_the_caller_cannot_say_who_it_is(bench: Bench) -> None:
    worker, caller = bench.worker("w", "f"), bench.worker("c")
    caller.invoke("f", {"_caller_worker_id": "somebody else"})
    assert worker.hear_one()["data"] == {"_caller_worker_id": caller.id}


def test_an_error_wins_over_a_result_and_null_is_no_result(bench: Bench) -> None:
    worker, caller = bench.worker("w", "f"), bench.worker("c")
    error = {"code": "c", "message": "m", "stacktrace": "s"}
    caller.invoke("f")
    worker.answer(worker.hear_one(), result=1, error=error)
    answer = caller.hear_one()
    assert answer["error"] == error
    assert "result" not in answer
    caller.invoke("f")
    worker.answer(worker.hear_one(), result=None, error=None)
    assert caller.hear_one().keys() == {"type", "invocation_id", "function_id"}


def test_trace_and_baggage_go_on_with_the_callee_named(bench: Bench) -> None:
    worker, caller = bench.worker("w", "img::resize"), bench.worker("c")
    caller.invoke("img::resize", {}, traceparent=PARENT, baggage="k=v")
    call = worker.hear_one()
    assert call["traceparent"] == PARENT
    assert set(call["baggage"].split(",")) == {"iii.function.id=img::resize", "k=v"}
    worker.answer(call)
    answer = caller.hear_one()
    assert (answer["traceparent"], answer["baggage"]) == (PARENT, "k=v")


@pytest.mark.parametrize(
    ("sent", "received"),
    [
        ({"traceparent": PARENT}, {"iii.function.id=f"}),
        ({"baggage": "a=1,b=2"}, {"iii.function.id=f", "a=1", "b=2"}),
        ({"baggage": "iii.function.id=outer,a=1"}, {"iii.function.id=f", "a=1"}),
        ({}, {""}),
    ],
)
def test_baggage(bench: Bench, sent: dict[str, str], received: set[str]) -> None:
    worker, caller = bench.worker("w", "f"), bench.worker("c")
    caller.invoke("f", {}, **sent)
    call = worker.hear_one()
    assert set(call.get("baggage", "").split(",")) == received
    assert call.get("traceparent") == sent.get("traceparent")


def test_nobody_hears_of_a_void_call(bench: Bench) -> None:
    worker, caller = bench.worker("w", "f"), bench.worker("c")
    caller.say("invokefunction", function_id="f", data=1, action={"type": "void"})
    call = worker.hear_one()
    assert len(call["invocation_id"]) == 36
    worker.answer(call, result=1)
    caller.invoke("f", action={"type": "void"})
    worker.answer(worker.hear_one(), error={"code": "c", "message": "m"})
    caller.invoke("nope", action={"type": "void"})
    caller.say("invokefunction", function_id="nope", data=1)
    caller.say("invokefunction", function_id="engine::channels::create", data=None, action={"type": "void"})
    assert caller.hear() == []


def test_an_unknown_function_names_the_namespaces_that_have_it(bench: Bench) -> None:
    bench.worker("a", "f", namespace="one")
    bench.worker("b", "f", namespace="two")
    caller = bench.worker("c")
    assert caller.refused("g") == ("function_not_found", "Function g not found in namespace default.")
    assert caller.refused("f") == (
        "function_not_found",
        "Function f not found in namespace default. It is registered in namespace(s): one, two.",
    )
    assert caller.refused("engine::functions::list", namespace="one")[1].endswith("namespace(s): default.")
    assert caller.refused("f", namespace=" ")[0] == "INVALID_NAMESPACE"


def test_built_ins_answer_in_the_default_namespace(bench: Bench) -> None:
    caller = bench.worker("c", namespace="other")
    assert caller.call("engine::functions::list", namespace="default") == {"functions": []}


def test_a_worker_calls_itself(bench: Bench) -> None:
    worker = bench.worker("w", "f")
    call_id = worker.invoke("f", [])
    call = worker.hear_one()
    worker.answer(call, result=2)
    assert worker.hear_one()["invocation_id"] == call_id


def test_both_sides_of_a_call_can_go_away(bench: Bench) -> None:
    worker, caller, other = bench.worker("w", "f"), bench.worker("c"), bench.worker("o")
    call_id = caller.invoke("f")
    other.invoke("f")
    other.leave()
    (_first, second) = worker.hear()
    worker.answer(second, result=1)
    worker.leave()
    assert caller.hear_one() == {
        "type": "invocationresult",
        "invocation_id": call_id,
        "function_id": "f",
        "error": {"code": "invocation_stopped", "message": "Invocation stopped"},
    }
    assert other.hear() == []
    assert caller.refused("f")[0] == "function_not_found"


def test_a_worker_that_called_itself_and_left_is_told_nothing(bench: Bench) -> None:
    worker = bench.worker("w", "f")
    worker.invoke("f")
    worker.hear()
    worker.leave()
    assert worker.hear() == []


def test_a_second_call_of_an_id_takes_the_place_of_the_first(bench: Bench) -> None:
    worker, caller, other = bench.worker("w", "f"), bench.worker("c"), bench.worker("o")
    for peer in (caller, other):
        peer.say("invokefunction", function_id="f", data=1, invocation_id=uuid(7))
    worker.answer(worker.hear()[0], result=1)
    assert caller.hear_one()["error"] == {"code": "invocation_error", "message": "channel closed"}
    assert other.hear_one()["result"] == 1
    worker.leave()
    assert caller.hear() == []


def test_anybody_may_answer(bench: Bench) -> None:
    worker, caller, other = bench.worker("w", "f"), bench.worker("c"), bench.worker("o")
    caller.invoke("f")
    other.answer(worker.hear_one(), result="mine")
    assert caller.hear_one()["result"] == "mine"


def test_an_id_in_another_form_is_the_same_id(bench: Bench) -> None:
    worker, caller = bench.worker("w", "f"), bench.worker("c")
    caller.say("invokefunction", function_id="f", data=1, invocation_id=uuid(7).replace("-", "").upper())
    assert worker.hear_one()["invocation_id"] == uuid(7)


def test_without_a_queue_worker_there_is_no_queue(bench: Bench) -> None:
    caller = bench.worker("c")
    assert caller.refused("f", action={"type": "enqueue", "queue": "q"})[0] == "enqueue_error"


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


def test_calls_in_flight_are_counted_on_both_sides(bench: Bench) -> None:
    worker, caller = bench.worker("w", "f"), bench.worker("c")
    caller.invoke("f")
    rows = {row["name"]: row for row in caller.call("engine::workers::list")["workers"]}
    assert rows["c"]["active_invocations"] == 2  # and the call that asks
    assert rows["w"]["active_invocations"] == 1
    worker.answer(worker.hear_one())
    rows = {row["name"]: row for row in caller.call("engine::workers::list")["workers"]}
    assert (rows["c"]["active_invocations"], rows["w"]["active_invocations"]) == (1, 0)


def test_one_caller_cannot_fill_the_engine_with_calls() -> None:
    bench = Bench(max_in_flight=3)
    bench.worker("w", "f")
    caller = bench.worker("c")
    for _ in range(3):
        caller.invoke("f")
    assert caller.refused("f")[0] == "too_many_invocations"
    assert bench.worker("o").call("engine::functions::list")

"""From connecting to leaving (protocol.md 1.2-1.9, 2.1, 2.2, 2.6)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.bench import Bench, Peer, uuid


@pytest.fixture
def bench() -> Bench:
    return Bench()


def _is_callable(caller: Peer, function_id: str, **fields: Any) -> bool:
    caller.invoke(function_id, {}, **fields)
    return not any("not found" in str(message) for message in caller.hear())


def test_a_worker_is_greeted_at_once_and_hears_nothing_else(bench: Bench) -> None:
    peer = Peer(bench, 1, "10.0.0.1")
    assert peer.hear_one() == {
        "type": "workerregistered",
        "worker_id": peer.id,
        "reattach_token": peer.token,
    }
    bench.wait(60)
    assert peer.hear() == []


def test_registrations_wait_for_the_announce(bench: Bench) -> None:
    worker, caller = bench.connect(), bench.worker("c")
    worker.say("registerfunction", id="f").say("registerfunction", id="g").say("unregisterfunction", id="g")
    assert not _is_callable(caller, "f")
    worker.announce("w", namespace="mine")
    assert _is_callable(caller, "f", namespace="mine")
    assert not _is_callable(caller, "g", namespace="mine")
    assert not _is_callable(caller, "f")


def test_without_an_announce_they_land_in_default_after_the_grace(bench: Bench) -> None:
    worker, caller = bench.connect(), bench.worker("c")
    worker.say("registerfunction", id="f")
    bench.wait(4.999)
    assert not _is_callable(caller, "f")
    bench.wait(0.001)
    assert _is_callable(caller, "f")
    worker.announce("late", namespace="mine")
    worker.say("registerfunction", id="g")
    assert _is_callable(caller, "g")
    assert caller.call("engine::workers::info", {"name": "late"})["worker"]["namespace"] == "default"


def test_each_worker_has_a_grace_of_its_own(bench: Bench) -> None:
    first = bench.connect().say("registerfunction", id="f")
    bench.wait(3)
    second, caller = bench.connect().say("registerfunction", id="g"), bench.worker("c")
    bench.wait(2)
    assert (_is_callable(caller, "f"), _is_callable(caller, "g")) == (True, False)
    bench.wait(3)
    assert _is_callable(caller, "g")
    assert first.end is second.end is None


def test_the_first_live_owner_of_a_function_wins_and_the_loser_is_not_promoted(bench: Bench) -> None:
    owner, loser, caller = bench.worker("a", "f"), bench.worker("b"), bench.worker("c")
    loser.say("registerfunction", id="f")
    assert loser.hear_one() == {
        "type": "registrationrejected",
        "code": "FUNCTION_NAMESPACE_CONFLICT",
        "namespace": "default",
        "function_id": "f",
        "owner_worker_id": owner.id,
    }
    assert loser.end is None
    loser.say("unregisterfunction", id="f")
    assert _is_callable(caller, "f")
    owner.leave()
    assert not _is_callable(caller, "f")
    loser.say("registerfunction", id="f")
    assert _is_callable(caller, "f")
    assert loser.hear()[-1]["type"] == "invokefunction"


def test_the_same_id_in_two_namespaces_is_two_functions(bench: Bench) -> None:
    one, two = bench.worker("w", "f", namespace="one"), bench.worker("w", "f", namespace="two")
    caller = bench.worker("c")
    caller.invoke("f", namespace="two")
    assert (len(one.hear()), len(two.hear())) == (0, 1)


def test_an_owner_registers_again_to_change_its_function(bench: Bench) -> None:
    worker = bench.worker("w")
    worker.say("registerfunction", id="f", description="old", metadata={"a": 1})
    worker.say("registerfunction", id="f", description="new")
    assert worker.call("engine::functions::list")["functions"] == [
        {"function_id": "f", "namespace": "default", "worker_name": "w", "description": "new"}
    ]


def test_an_unregistered_function_is_gone_but_its_calls_go_on(bench: Bench) -> None:
    worker, caller = bench.worker("w", "f"), bench.worker("c")
    caller.invoke("f")
    worker.say("unregisterfunction", id="f")
    assert not _is_callable(caller, "f")
    worker.answer(worker.hear_one(), result=1)
    assert caller.hear_one()["result"] == 1


def test_the_engines_own_functions_cannot_be_taken(bench: Bench) -> None:
    worker = bench.worker("w", "engine::channels::create")
    rejection = worker.hear_one()
    assert (rejection["code"], rejection["owner_worker_id"]) == ("FUNCTION_NAMESPACE_CONFLICT", "")
    worker.say("unregisterfunction", id="engine::channels::create")
    assert worker.call("engine::channels::create")["reader"]["direction"] == "read"


def test_engine_ids_are_refused_outside_the_default_namespace(bench: Bench) -> None:
    worker = bench.worker("w", "engine::mine", namespace="n")
    rejection = worker.hear_one()
    assert rejection["namespace"] == "n"
    assert rejection["owner_worker_id"] == ""
    assert bench.worker("v", "engine::mine").hear() == []


def test_a_live_name_is_taken(bench: Bench) -> None:
    owner, other = bench.worker("w"), bench.connect()
    other.say("registerfunction", id="f")
    other.invoke("engine::workers::register", {"name": "w"})
    assert other.hear_one() == {
        "type": "registrationrejected",
        "code": "WORKER_NAMESPACE_CONFLICT",
        "namespace": "default",
        "worker_name": "w",
        "owner_worker_id": owner.id,
    }
    assert other.end == "close"
    other.invoke("engine::functions::list", {})
    other.leave()
    bench.wait(10)
    assert other.hear() == []
    assert owner.call("engine::functions::list") == {"functions": []}
    assert bench.worker("w", namespace="elsewhere").end is None
    owner.leave()
    assert bench.worker("w").end is None


def test_a_worker_may_change_its_name(bench: Bench) -> None:
    worker = bench.worker("old").announce("new")
    assert worker.call("engine::workers::info", {"name": "new"})["worker"]["id"] == worker.id


def test_a_void_announce_works_as_the_sdks_send_it(bench: Bench) -> None:
    worker = bench.connect()
    data = {"runtime": "python", "name": "w", "pid": 4, "isolation": None, "namespace": None, "telemetry": {}}
    worker.say("invokefunction", function_id="engine::workers::register", action={"type": "void"}, data=data)
    assert worker.hear() == []
    assert worker.call("engine::workers::info", {"name": "w"})["worker"]["runtime"] == "python"


def test_names_are_stripped_of_what_could_mislead_a_reader(bench: Bench) -> None:
    worker = bench.worker("a\x1b[31m\u202eb" + "x" * 300, description="d\n")
    row = next(row for row in worker.call("engine::workers::list")["workers"] if row["id"] == worker.id)
    assert row["name"] == "a[31mb" + "x" * 274
    assert row["description"] == "d"


def test_a_blank_namespace_is_refused(bench: Bench) -> None:
    assert bench.connect().refused("engine::workers::register", {"namespace": " "})[0] == "INVALID_NAMESPACE"


def test_reattach_evicts_what_is_left_of_the_old_connection(bench: Bench) -> None:
    old, caller = bench.worker("w", "f"), bench.worker("c")
    caller.invoke("f")
    new = bench.connect()
    new.say("reattach", previous_worker_id=old.id, reattach_token=old.token)
    assert old.end == "drop"
    assert caller.hear_one()["error"]["code"] == "invocation_stopped"
    new.announce("w").say("registerfunction", id="f")
    old.leave()
    assert _is_callable(caller, "f")
    assert new.id != old.id


@pytest.mark.parametrize("wrong", ["token", "id", "no token"])
def test_a_reattach_that_is_not_right_is_ignored(bench: Bench, wrong: str) -> None:
    old, new = bench.worker("w"), bench.connect()
    token = {"token": "nope", "no token": None}.get(wrong, old.token)
    new.say("reattach", previous_worker_id="x" if wrong == "id" else old.id, reattach_token=token)
    assert old.end is None


def test_ping_is_answered(bench: Bench) -> None:
    assert bench.connect().say("pong").say("ping").hear_one() == {"type": "pong"}


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


def test_messages_may_come_in_binary_frames(bench: Bench) -> None:
    assert bench.connect().say_raw(b'{"type":"ping"}').hear_one() == {"type": "pong"}


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


def test_a_channel_outlives_the_worker_that_made_it(bench: Bench) -> None:
    worker = bench.worker("w")
    ref = worker.call("engine::channels::create")["reader"]
    worker.leave()
    assert bench.core.channels.exists(ref["channel_id"], ref["access_key"])

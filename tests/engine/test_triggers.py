"""Triggers: types, providers, bindings, and the engine's own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.bench import Bench, Peer

BINDING = {"id": "b", "trigger_type": "kind", "function_id": "f", "config": {"a": 1}}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def _provider(bench: Bench, **fields: Any) -> Peer:
    provider = bench.worker(None, **fields)
    provider.say("registertriggertype", id="kind", description="d")
    return provider


@pytest.mark.parametrize("provider_first", [True, False])
def test_a_provider_hears_of_every_binding(bench: Bench, provider_first: bool) -> None:
    worker = bench.worker("w", "f")
    if provider_first:
        provider = _provider(bench)
        worker.say("registertrigger", **BINDING, metadata={"m": 1}, namespace="n")
    else:
        worker.say("registertrigger", **BINDING, metadata={"m": 1}, namespace="n")
        provider = _provider(bench)
    assert provider.hear_one() == {
        "type": "registertrigger",
        **BINDING,
        "metadata": {"m": 1},
        "namespace": "n",
    }
    provider.say("triggerregistrationresult", id="b", trigger_type="kind", function_id="f")
    worker.say("unregistertrigger", id="b")
    assert provider.hear_one() == {"type": "unregistertrigger", "id": "b", "trigger_type": "kind"}
    assert worker.hear() == []


def test_bindings_die_with_their_worker_and_types_with_their_provider(bench: Bench) -> None:
    provider, worker = _provider(bench), bench.worker("w", "f")
    worker.say("registertrigger", **BINDING)
    provider.hear()
    worker.leave()
    assert provider.hear_one()["type"] == "unregistertrigger"
    worker = bench.worker("w", "f")
    worker.say("registertrigger", **BINDING)
    provider.leave()
    assert worker.hear() == []
    successor = _provider(bench)
    assert successor.hear_one()["id"] == "b", "it was parked"


def test_a_second_provider_takes_over(bench: Bench) -> None:
    first, worker = _provider(bench), bench.worker("w", "f")
    worker.say("registertrigger", **BINDING)
    second = _provider(bench)
    assert second.hear_one()["type"] == "registertrigger"
    first.leave()
    worker.say("unregistertrigger", id="b")
    assert second.hear_one()["type"] == "unregistertrigger"


def test_a_type_can_be_withdrawn_by_its_provider_only(bench: Bench) -> None:
    provider, other, worker = _provider(bench), bench.worker(), bench.worker("w", "f")
    other.say("unregistertriggertype", id="kind")
    worker.say("registertrigger", **BINDING)
    assert provider.hear_one()["type"] == "registertrigger"
    provider.say("unregistertriggertype", id="kind")
    worker.say("unregistertrigger", id="b")
    assert provider.hear() == []


def test_another_workers_id_is_refused(bench: Bench) -> None:
    owner, other = bench.worker(), bench.worker()
    owner.say("registertrigger", **BINDING)
    other.say("registertrigger", **BINDING)
    assert other.hear_one()["error"]["code"] == "trigger_registration_failed"
    other.say("unregistertrigger", id="b")
    assert len(owner.call("engine::registered-triggers::list")["registered_triggers"]) == 1


# The engine's own types


def _watcher(bench: Bench, kind: str) -> Peer:
    watcher = bench.worker("watcher", "seen")
    watcher.say("registertrigger", id="watch", trigger_type=kind, function_id="seen", config={}, metadata=7)
    return watcher


def test_workers_come_and_go(bench: Bench) -> None:
    watcher = _watcher(bench, "engine::workers-available")
    worker = bench.worker("w")
    worker.leave()
    calls = watcher.hear()
    assert [call["data"] for call in calls] == [
        {"event": event, "worker_id": worker.id}
        for event in ("worker_connected", "worker_metadata_updated", "worker_disconnected")
    ]
    assert calls[0].keys() == {"type", "function_id", "data", "invocation_id", "metadata"}
    watcher.answer(calls[0], result=1)
    watcher.say("unregistertrigger", id="watch")
    bench.worker("w")
    assert watcher.hear() == []


def test_a_change_that_was_looked_at_before_anybody_watched_is_told_to_nobody(bench: Bench) -> None:
    worker = bench.worker("w", "f", "seen")
    bench.wait(5)
    fields = {"trigger_type": "engine::functions-available", "function_id": "seen", "config": {}}
    worker.say("registertrigger", id="watch", **fields)
    bench.wait(60)
    assert worker.hear() == []


def test_the_engines_own_types_cannot_be_taken(bench: Bench) -> None:
    thief = bench.worker()
    thief.say("registertriggertype", id="engine::workers-available", description="mine")
    watcher = _watcher(bench, "engine::workers-available")
    assert thief.hear() == []
    bench.connect()
    assert watcher.hear()[-1]["data"]["event"] == "worker_connected"


# Built-ins


def test_the_list_of_bindings(bench: Bench) -> None:
    worker = bench.worker("w", "f")
    worker.say("registertrigger", **BINDING, metadata={"m": 1})
    worker.say("registertrigger", **(BINDING | {"id": "c", "function_id": "g::h"}))
    row = {
        "id": "b",
        "trigger_type": "kind",
        "function_id": "f",
        "worker_name": "w",
        "config": {"a": 1},
        "config_summary": '{"a":1}',
    }

    def ids(**query: Any) -> list[str]:
        found = worker.call("engine::registered-triggers::list", query)["registered_triggers"]
        return [each["id"] for each in found]

    assert worker.call("engine::registered-triggers::list")["registered_triggers"][0] == row
    assert ids() == ["b", "c"]
    assert ids(function_id="f") == ids(worker="w") == ["b"]
    assert ids(worker="g") == ids(search="G::") == ["c"]
    assert ids(trigger_type="other") == []
    info = worker.call("engine::registered-triggers::info", {"id": "b"})
    del row["config_summary"]
    assert info | row == info
    assert (info["metadata"], info["trigger"], info["function"]["function_id"]) == ({"m": 1}, None, "f")
    assert worker.refused("engine::registered-triggers::info", {"id": "x"})[0] == "NOT_FOUND"


def test_a_durable_binding_outlives_its_worker(bench: Bench) -> None:
    worker = bench.worker("w")
    answer = worker.call(
        "engine::register_trigger", {"trigger_type": "kind", "function_id": "f", "config": 1}
    )
    worker.leave()
    provider = _provider(bench)
    assert provider.hear_one()["id"] == answer["id"]
    wrong = {"id": answer["id"], "trigger_type": "other"}
    assert provider.call("engine::unregister_trigger", wrong) == {"removed": False}
    assert provider.call("engine::unregister_trigger", {"id": answer["id"]}) == {"removed": True}
    assert provider.hear_one()["type"] == "unregistertrigger"
    assert provider.call("engine::unregister_trigger", {"id": answer["id"]}) == {"removed": False}


@pytest.mark.parametrize("outcome", ["accepted", "refused", "silent", "the caller leaves"])
def test_registering_a_durable_binding_waits_for_its_provider(bench: Bench, outcome: str) -> None:
    provider, worker = _provider(bench), bench.worker("w")
    call_id = worker.invoke("engine::register_trigger", {"trigger_type": "kind", "function_id": "f"})
    binding = provider.hear_one()
    assert worker.hear() == []
    ids = {key: binding[key] for key in ("id", "trigger_type", "function_id")}
    error = {"code": "trigger_registration_failed", "message": "taken"}
    if outcome == "the caller leaves":
        worker.leave()
        provider.say("triggerregistrationresult", **ids)
        return
    if outcome == "accepted":
        provider.say("triggerregistrationresult", **ids)
    elif outcome == "refused":
        provider.say("triggerregistrationresult", **ids, error=error)
    else:
        bench.wait(9.9)
        assert worker.hear() == []
        bench.wait(0.1)
        assert provider.hear() == []
    answer = worker.hear_one()
    assert answer["invocation_id"] == call_id
    if outcome == "refused":
        assert answer["error"]["code"] == "trigger_registration_failed"
    else:
        assert answer["result"] == {"id": binding["id"]}
    bindings = worker.call("engine::registered-triggers::list")["registered_triggers"]
    assert len(bindings) == (outcome != "refused")

"""Conversations about triggers and who provides them (docs: protocol, "Triggers")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.conformance.rows import covers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.stage import Party, Stage

__all__ = ("SCRIPTS",)


async def _provider(stage: Stage, kind: str, **announced: Any) -> Party:
    provider = await stage.worker(**announced)
    await provider.say("registertriggertype", id=kind, description="d")
    await provider.quiet()
    return provider


@covers("triggers: poll")
async def functions_available_tells_of_every_function(stage: Stage) -> None:
    f, seen = stage.name("f"), stage.name("seen")
    watcher, worker = await stage.worker(), await stage.worker()
    await watcher.register(seen)
    await watcher.say(
        "registertrigger",
        id=stage.name("watch"),
        trigger_type="engine::functions-available",
        function_id=seen,
        config={},
    )
    await watcher.quiet()
    await stage.wait(5.5)
    await watcher.next(8)  # of its own function
    await worker.register(f)
    await worker.quiet()
    await watcher.quiet()  # looked at every five seconds, and not before
    await stage.wait(5.5)
    call = await watcher.next(8)
    assert (call["function_id"], call["data"]["event"]) == (seen, "functions_changed")
    told = {row["function_id"] for row in call["data"]["functions"]}
    assert {f, seen, "engine::functions::list", "engine::channels::create"} <= told


@covers("triggers: of a worker")
async def a_workers_triggers_are_those_of_its_functions(stage: Stage) -> None:
    kind, f, trigger = stage.name("kind"), stage.name("f"), stage.name("trigger")
    owner, registrant = stage.name("owner"), stage.name("registrant")
    await _provider(stage, kind)
    worker, other = await stage.worker(name=owner), await stage.worker(name=registrant)
    await worker.register(f)
    await worker.quiet()
    await other.say("registertrigger", id=trigger, trigger_type=kind, function_id=f, config={"a": 1})
    await other.quiet()

    async def triggers_of(name: str) -> list[Any]:
        found = await other.call("engine::workers::info", {"name": name})
        return [row["id"] for row in found["registered_triggers"]]

    assert await triggers_of(owner) == [trigger]
    assert await triggers_of(registrant) == []


@covers("triggers: namespace")
async def a_provider_outside_default_hears_its_own_namespace(stage: Stage) -> None:
    kind, ns, f = stage.name("kind"), stage.name("ns"), stage.name("f")
    away, home = await _provider(stage, kind, namespace=ns), await _provider(stage, kind)
    neighbour, stranger = await stage.worker(namespace=ns), await stage.worker()
    fields = {"trigger_type": kind, "function_id": f, "config": None}
    for registrant, named in ((neighbour, {}), (stranger, {"trigger_namespace": ns})):
        trigger = stage.name("trigger")
        await registrant.say("registertrigger", id=trigger, **fields, **named)
        await away.hear("registertrigger", id=trigger, **fields, trigger_namespace=ns)
    trigger = stage.name("trigger")
    await stranger.say("registertrigger", id=trigger, **fields)
    await home.hear("registertrigger", id=trigger, **fields)


@covers("triggers: blank namespace")
async def a_trigger_type_of_a_blank_namespace_is_dropped(stage: Stage) -> None:
    worker = await stage.worker()
    for blank in ("", "  "):
        kind = stage.name("kind")
        await worker.say("registertriggertype", id=kind, description="d", namespace=blank)
        rows = (await worker.call("engine::triggers::list", {"prefix": kind}))["triggers"]
        assert rows == [], blank
        await worker.say("registertrigger", id=kind, trigger_type=kind, function_id="f", config={})
        await worker.quiet()


@covers("triggers: again")
async def a_trigger_that_is_registered_again_is_not_unregistered(stage: Stage) -> None:
    kind, trigger = stage.name("kind"), stage.name("trigger")
    provider, worker = await _provider(stage, kind), await stage.worker()
    for f in (stage.name("f"), stage.name("g")):
        fields = {"id": trigger, "trigger_type": kind, "function_id": f, "config": {"for": f}}
        await worker.say("registertrigger", **fields)
        await provider.hear("registertrigger", **fields)
    await worker.say("unregistertrigger", id=trigger)
    await provider.hear("unregistertrigger", id=trigger, trigger_type=kind)


@covers("triggers: silence")
async def a_trigger_whose_provider_says_nothing_is_kept(stage: Stage) -> None:
    kind, f = stage.name("kind"), stage.name("f")
    provider, caller = await _provider(stage, kind), await stage.worker()
    call_id = await caller.invoke("engine::register_trigger", {"trigger_type": kind, "function_id": f})
    binding = await provider.next()
    assert (binding["type"], binding["trigger_type"]) == ("registertrigger", kind)
    await caller.quiet()
    await stage.wait(10.6)
    answer = await caller.next()
    assert (answer["invocation_id"], answer.get("result")) == (call_id, {"id": binding["id"]}), answer
    await provider.quiet()
    query = {"trigger_type": kind}
    rows = (await caller.call("engine::registered-triggers::list", query))["registered_triggers"]
    assert [row["id"] for row in rows] == [binding["id"]]
    assert await caller.call("engine::unregister_trigger", {"id": binding["id"]}) == {"removed": True}
    await provider.hear("unregistertrigger", id=binding["id"], trigger_type=kind)


@covers("rows")
async def a_row_that_was_asked_for_by_its_id_has_no_summary(stage: Stage) -> None:
    kind, f, trigger = stage.name("kind"), stage.name("f"), stage.name("trigger")
    await _provider(stage, kind)
    worker = await stage.worker()
    await worker.say("registertrigger", id=trigger, trigger_type=kind, function_id=f, config={"a": 1})
    query = {"trigger_type": kind}
    rows = (await worker.call("engine::registered-triggers::list", query))["registered_triggers"]
    assert [row["config_summary"] for row in rows] == ['{"a":1}']
    info = await worker.call("engine::registered-triggers::info", {"id": trigger})
    assert (info["config"], "config_summary" in info) == ({"a": 1}, False)


SCRIPTS: tuple[Callable[[Stage], Awaitable[None]], ...] = tuple(
    value
    for name, value in list(globals().items())
    if not name.startswith("_") and getattr(value, "__module__", None) == __name__ and callable(value)
)

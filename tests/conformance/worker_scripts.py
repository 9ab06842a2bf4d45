"""Conversations on the worker socket (docs: protocol, "Messages")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.conformance.rows import covers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.stage import Party, Stage

__all__ = ("SCRIPTS",)

PARENT = "00-aaf7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01"
NOT_FOUND = "function_not_found"


async def _exists(caller: Party, function_id: str, namespace: str | None = None) -> bool:
    """Is it there? Asked of the list, which calls nothing."""
    rows = (await caller.call("engine::functions::list", {"prefix": function_id}))["functions"]
    return any(row["namespace"] == (namespace or "default") for row in rows)


@covers("namespaces: keyed", "namespaces: default")
async def functions_are_keyed_by_namespace_and_id(stage: Stage) -> None:
    f, ns = stage.name("f"), stage.name("ns")
    here, there = await stage.worker(), await stage.worker(namespace=ns)
    await here.register(f)
    await there.register(f)
    await here.quiet()
    call_id = await there.invoke(f, {}, namespace=ns)
    await there.hear("invokefunction", invocation_id=call_id, function_id=f, data=...)
    call_id = await there.invoke(f, [1])
    await here.hear("invokefunction", invocation_id=call_id, function_id=f, data=[1])
    await there.quiet()


@covers("namespaces: buffered")
async def registrations_wait_for_the_announce(stage: Stage) -> None:
    f, ns = stage.name("f"), stage.name("ns")
    worker, caller = await stage.worker(announced=False), await stage.worker()
    await worker.say("registerfunction", id=f)
    await worker.quiet()
    assert not await _exists(caller, f)
    await worker.announce(namespace=ns)
    assert await _exists(caller, f, ns)
    assert not await _exists(caller, f)


@covers("namespaces: grace")
async def without_an_announce_they_land_in_default(stage: Stage) -> None:
    f, g = stage.name("f"), stage.name("g")
    worker, caller = await stage.worker(announced=False), await stage.worker()
    await worker.say("registerfunction", id=f)
    await worker.quiet()
    assert not await _exists(caller, f)
    await stage.wait(5.6)
    assert await _exists(caller, f)
    await worker.announce(namespace=stage.name("late"))
    await worker.register(g)
    await worker.quiet()
    assert await _exists(caller, g)


@covers("namespaces: at once", "calls: itself")
async def after_the_announce_registrations_hold_at_once(stage: Stage) -> None:
    f = stage.name("f")
    worker = await stage.worker()
    await worker.register(f)
    call_id = await worker.invoke(f, 1)
    call = await worker.hear("invokefunction", invocation_id=call_id, function_id=f, data=1)
    await worker.answer(call, result=[2])
    await worker.hear("invocationresult", invocation_id=call_id, function_id=f, result=[2])


@covers("namespaces: named", "namespaces: built-ins")
async def built_ins_live_in_default(stage: Stage) -> None:
    caller = await stage.worker(namespace=stage.name("ns"))
    assert "functions" in await caller.call("engine::functions::list", {}, namespace="default")
    ns = stage.name("other")
    code, text = await caller.error("engine::functions::list", {}, namespace=ns)
    assert (code, text) == (
        NOT_FOUND,
        (
            f"Function engine::functions::list not found in namespace {ns}. "
            "It is registered in namespace(s): default."
        ),
    )


@covers("namespaces: engine ids", "namespaces: own ids")
async def engine_ids_are_for_the_default_namespace(stage: Stage) -> None:
    f, ns = f"engine::{stage.name('f')}", stage.name("ns")
    away, home = await stage.worker(namespace=ns), await stage.worker()
    await away.register(f)
    await away.hear(
        "registrationrejected",
        code="FUNCTION_NAMESPACE_CONFLICT",
        namespace=ns,
        function_id=f,
        owner_worker_id="",
    )
    await home.register(f)
    await home.quiet()
    call_id = await away.invoke(f)
    await home.hear("invokefunction", invocation_id=call_id, function_id=f, data=None)


MALFORMED: tuple[tuple[str, str | bytes], ...] = (
    ("input: json", "nonsense"),
    ("input: json", "{"),
    ("input: json", "[]"),
    ("input: json", b"\xff\xfe"),
    ("input: type", '{"type":"nope"}'),
    ("input: type", "{}"),
    ("input: type", '{"type":7}'),
    ("input: required", '{"type":"registerfunction"}'),
    ("input: required", '{"type":"invokefunction","function_id":"engine::functions::list"}'),
    ("input: required", '{"type":"registertrigger","id":"a","trigger_type":"t","function_id":"f"}'),
    ("input: uuid", '{"type":"invokefunction","invocation_id":"x","function_id":"f","data":{}}'),
    ("input: uuid", '{"type":"invokefunction","invocation_id":7,"function_id":"f","data":{}}'),
    ("input: blank", ""),
    ("input: blank", " \n\t "),
    ("input: blank", b""),
)


@covers("input: json", "input: type", "input: required", "input: uuid", "input: blank")
async def malformed_frames_are_dropped_and_nobody_is_told(stage: Stage) -> None:
    worker = await stage.worker()
    for _, frame in MALFORMED:
        await worker.say_raw(frame)
    await worker.quiet()


@covers("input: uuid")
async def a_result_with_an_error_that_is_a_string_is_dropped(stage: Stage) -> None:
    f = stage.name("f")
    worker, caller = await stage.worker(), await stage.worker()
    await worker.register(f)
    await worker.quiet()
    call_id = await caller.invoke(f)
    call = await worker.hear("invokefunction", invocation_id=call_id, function_id=f, data=None)
    await worker.answer(call, error="just text")
    await caller.quiet()


@covers("input: extra")
async def unknown_fields_are_ignored(stage: Stage) -> None:
    f = stage.name("f")
    worker = await stage.worker(features=["observe.v1"], future=1)
    await worker.say("registerfunction", id=f, observe={}, future=[1])
    call_id = await worker.invoke(f, 1, caller={}, observe_depth=1)
    await worker.hear("invokefunction", invocation_id=call_id, function_id=f, data=1)


@covers("calls: not found")
async def an_unknown_function_names_where_it_exists(stage: Stage) -> None:
    f, one, two = stage.name("f"), stage.name("a"), stage.name("b")
    caller = await stage.worker()
    assert await caller.error(f) == (NOT_FOUND, f"Function {f} not found in namespace default.")
    for ns in (two, one):
        worker = await stage.worker(namespace=ns)
        await worker.register(f)
        await worker.quiet()
    assert await caller.error(f) == (
        NOT_FOUND,
        f"Function {f} not found in namespace default. It is registered in namespace(s): {one}, {two}.",
    )


@covers("calls: passed on")
async def an_error_of_the_executor_reaches_the_caller(stage: Stage) -> None:
    f = stage.name("f")
    worker, caller = await stage.worker(), await stage.worker()
    await worker.register(f)
    await worker.quiet()
    for error in (
        {"code": "invocation_failed", "message": "bad header", "stacktrace": "line 1\nline 2"},
        {"code": "function_not_invokable", "message": ""},
    ):
        call_id = await caller.invoke(f)
        call = await worker.hear("invokefunction", invocation_id=call_id, function_id=f, data=None)
        await worker.answer(call, error=error, result={"ignored": True})
        await caller.hear("invocationresult", invocation_id=call_id, function_id=f, error=error)


@covers("calls: stopped")
async def the_executors_end_is_told(stage: Stage) -> None:
    f = stage.name("f")
    worker, caller = await stage.worker(), await stage.worker()
    await worker.register(f)
    await worker.quiet()
    call_id = await caller.invoke(f)
    await worker.hear("invokefunction", invocation_id=call_id, function_id=f, data=None)
    await worker.leave()
    error = {"code": "invocation_stopped", "message": "Invocation stopped"}
    await caller.hear("invocationresult", invocation_id=call_id, function_id=f, error=error)
    assert not await _exists(caller, f)


@covers("calls: caller dies")
async def the_callers_end_is_not_told(stage: Stage) -> None:
    f = stage.name("f")
    worker, caller = await stage.worker(), await stage.worker()
    await worker.register(f)
    await worker.quiet()
    await caller.invoke(f)
    call = await worker.hear("invokefunction", invocation_id=..., function_id=f, data=None)
    await caller.leave()
    await worker.quiet()
    await worker.answer(call, result=1)
    await worker.quiet()


@covers("calls: no timeout")
async def the_engine_never_times_a_call_out(stage: Stage) -> None:
    f = stage.name("f")
    worker, caller = await stage.worker(), await stage.worker()
    await worker.register(f)
    await worker.quiet()
    call_id = await caller.invoke(f)
    call = await worker.hear("invokefunction", invocation_id=call_id, function_id=f, data=None)
    await stage.wait(35 if stage.is_foreign else 3600)
    await caller.quiet()
    await worker.answer(call, result="late")
    await caller.hear("invocationresult", invocation_id=call_id, function_id=f, result="late")


@covers("calls: input")
async def built_ins_are_strict_about_their_input(stage: Stage) -> None:
    caller = await stage.worker()
    create = "engine::channels::create"
    wrong: list[Any] = [None, "text", 7, {"buffer_size": -1}, {"buffer_size": 1.5}, {"buffer_size": "64"}]
    right: list[Any] = [{}, [], {"buffer_size": None}, {"buffer_size": 0}, {"buffer_size": 10**6}, {"x": 1}]
    for data in wrong:
        answer = (
            await caller.outcome(create, data) if data is not None else await _call_with_null(caller, create)
        )
        assert answer["error"]["code"] == "deserialization_error", data
        assert answer["error"]["message"].startswith(f"Failed to deserialize input for {create}: ")
    for data in right:
        assert (await caller.call(create, data))["reader"]["direction"] == "read", data


async def _call_with_null(caller: Party, function_id: str) -> dict[str, dict[str, str]]:
    await caller.invoke(function_id, None)
    return await caller.next()


@covers("calls: enqueue")
async def without_a_queue_worker_nothing_is_queued(stage: Stage) -> None:
    caller = await stage.worker()
    action = {"type": "enqueue", "queue": "q"}
    assert (await caller.error(stage.name("f"), {}, action=action))[0] == "enqueue_error"


@covers("calls: namespace")
async def a_blank_namespace_is_no_namespace(stage: Stage) -> None:
    caller = await stage.worker()
    assert (await caller.error(stage.name("f"), {}, namespace="  "))[0] == "INVALID_NAMESPACE"


@covers("calls: arguments", "calls: not found there")
async def info_functions_refuse_what_they_cannot_answer(stage: Stage) -> None:
    caller = await stage.worker()
    f = stage.name("f")
    assert (await caller.error("engine::functions::info", {}))[0] == "INVALID_ARGUMENTS"
    both = {"function_id": f, "function_ids": [f]}
    assert (await caller.error("engine::functions::info", both))[0] == "INVALID_ARGUMENTS"
    assert await caller.error("engine::functions::info", {"function_id": f}) == (
        "NOT_FOUND",
        f"Function '{f}' is not registered.",
    )
    assert await caller.error("engine::workers::info", {"name": f}) == (
        "NOT_FOUND",
        f"Worker '{f}' is not connected.",
    )


@covers("calls: trigger")
async def a_provider_refuses_a_trigger(stage: Stage) -> None:
    kind, trigger, f = stage.name("kind"), stage.name("trigger"), stage.name("f")
    provider, worker = await stage.worker(), await stage.worker()
    await provider.say("registertriggertype", id=kind, description="d")
    await provider.quiet()
    await worker.say("registertrigger", id=trigger, trigger_type=kind, function_id=f, config={"a": 1})
    binding = await provider.next()
    assert (binding["type"], binding["id"], binding["config"]) == ("registertrigger", trigger, {"a": 1})
    error = {"code": "trigger_registration_failed", "message": "taken"}
    ids = {"id": trigger, "trigger_type": kind, "function_id": f}
    await provider.say("triggerregistrationresult", **ids, error=error)
    await worker.hear("triggerregistrationresult", **ids, error=error)


@covers("namespaces: keyed")
async def the_first_owner_of_a_function_wins(stage: Stage) -> None:
    f = stage.name("f")
    owner, loser = await stage.worker(), await stage.worker()
    await owner.register(f)
    await owner.quiet()
    await loser.register(f)
    await loser.hear(
        "registrationrejected",
        code="FUNCTION_NAMESPACE_CONFLICT",
        namespace="default",
        function_id=f,
        owner_worker_id=owner.id,
    )
    await owner.leave()
    assert not await _exists(loser, f)
    await loser.register(f)
    await loser.quiet()
    assert await _exists(loser, f)


@covers("namespaces: keyed")
async def a_live_name_is_taken(stage: Stage) -> None:
    name = stage.name("w")
    owner, other = await stage.worker(name=name), await stage.worker(announced=False)
    await other.invoke("engine::workers::register", {"name": name})
    await other.hear(
        "registrationrejected",
        code="WORKER_NAMESPACE_CONFLICT",
        namespace="default",
        worker_name=name,
        owner_worker_id=owner.id,
    )
    assert await other.ended() == "close"
    await owner.quiet()


@covers("reattach")
async def a_reattach_is_honoured_whatever_came_before_it(stage: Stage) -> None:
    async def ping(new: Party) -> None:
        await new.quiet()

    async def call(new: Party) -> None:
        await new.call("engine::functions::list", {})

    async def wrong_token(new: Party) -> None:
        await new.say("reattach", previous_worker_id=old.id, reattach_token=new.token)

    async def registration(new: Party) -> None:
        await new.register(stage.name("f"))

    async def announce(new: Party) -> None:
        await new.announce()

    for before in (ping, call, wrong_token, registration, announce):
        old, new = await stage.worker(), await stage.worker(announced=False)
        await before(new)
        await new.say("reattach", previous_worker_id=old.id, reattach_token=old.token)
        assert await old.ended() == "drop", before.__name__
        await new.quiet()


@covers("announce")
async def an_announcement_is_read_strictly(stage: Stage) -> None:
    worker = await stage.worker(announced=False)
    register = "engine::workers::register"
    wrong: list[Any] = [
        [],
        {"telemetry": 5},
        {"telemetry": {"language": 5}},
        {"telemetry": {"framework": []}},
    ]
    for data in wrong:
        code, text = await worker.error(register, data)
        assert code == "deserialization_error", data
        assert text.startswith(f"Failed to deserialize input for {register}: "), data
    telemetry = {"language": "en", "project_name": None, "framework": "x", "more": 1}
    await worker.announce(telemetry=telemetry)
    await worker.announce(telemetry=None)


@covers("announce")
async def a_name_is_kept_by_a_worker_that_takes_another(stage: Stage) -> None:
    old, new = stage.name("old"), stage.name("new")
    worker, other = await stage.worker(name=old), await stage.worker(announced=False)
    await worker.announce(new)
    assert (await worker.call("engine::workers::info", {"name": new}))["worker"]["id"] == worker.id
    assert (await worker.error("engine::workers::info", {"name": old}))[0] == "NOT_FOUND"
    await other.invoke("engine::workers::register", {"name": old})
    await other.hear(
        "registrationrejected",
        code="WORKER_NAMESPACE_CONFLICT",
        namespace="default",
        worker_name=old,
        owner_worker_id=worker.id,
    )
    await worker.leave()
    await stage.worker(name=old)


@covers("calls: the same id")
async def a_second_call_of_an_id_takes_the_place_of_the_first(stage: Stage) -> None:
    f = stage.name("f")
    worker, first, second = await stage.worker(), await stage.worker(), await stage.worker()
    await worker.register(f)
    await worker.quiet()
    call_id = await first.invoke(f, 1)
    call = await worker.hear("invokefunction", invocation_id=call_id, function_id=f, data=1)
    await second.say("invokefunction", invocation_id=call_id, function_id=f, data=2)
    await worker.hear("invokefunction", invocation_id=call_id, function_id=f, data=2)
    error = {"code": "invocation_error", "message": "channel closed"}
    await first.hear("invocationresult", invocation_id=call_id, function_id=f, error=error)
    await worker.answer(call, result="one")
    await second.hear("invocationresult", invocation_id=call_id, function_id=f, result="one")
    await worker.answer(call, result="two")
    await first.quiet()
    await second.quiet()


@covers("calls: the same id")
async def a_built_in_called_by_the_id_of_a_running_call_leaves_it_alone(stage: Stage) -> None:
    f = stage.name("f")
    worker, caller, other = await stage.worker(), await stage.worker(), await stage.worker()
    await worker.register(f)
    await worker.quiet()
    call_id = await caller.invoke(f, 1)
    call = await worker.hear("invokefunction", invocation_id=call_id, function_id=f, data=1)
    create = "engine::channels::create"
    await other.say("invokefunction", invocation_id=call_id, function_id=create, data={})
    await other.hear("invocationresult", invocation_id=call_id, function_id=create, result=...)
    await caller.quiet()
    await worker.answer(call, result=2)
    await caller.hear("invocationresult", invocation_id=call_id, function_id=f, result=2)


@covers("rows")
async def rows_are_those_of_the_real_engine(stage: Stage) -> None:
    worker = await stage.worker()
    rows = (await worker.call("engine::workers::list", {}))["workers"]
    assert {row["runtime"] for row in rows} >= {"engine", "python"}
    assert all(isinstance(row["connected_at_ms"], int) and row["connected_at_ms"] > 0 for row in rows), rows
    if not stage.is_foreign:  # it would be somebody's telemetry
        assert await worker.call("engine::traces::clear", {}) == {"success": True}
        assert await worker.call("engine::logs::clear", {}) == {"success": True}


@covers("calls: caller dies")
async def a_reattach_evicts_the_connection_before(stage: Stage) -> None:
    name, f = stage.name("w"), stage.name("f")
    old, new = await stage.worker(name=name), await stage.worker(announced=False)
    await old.register(f)
    await old.quiet()
    await new.say("reattach", previous_worker_id=old.id, reattach_token=old.token)
    assert await old.ended() == "drop"
    await new.announce(name)
    assert not await _exists(new, f)


@covers("calls: passed on")
async def a_call_reaches_the_executor_with_everything_beside_it(stage: Stage) -> None:
    f = stage.name("f")
    worker, caller = await stage.worker(), await stage.worker()
    await worker.register(f)
    await worker.quiet()
    call_id = await caller.invoke(f, {"w": 1}, metadata={"m": 1}, traceparent=PARENT, baggage="k=v")
    call = await worker.hear(
        "invokefunction",
        invocation_id=call_id,
        function_id=f,
        data={"w": 1, "_caller_worker_id": caller.id},
        metadata={"m": 1},
        traceparent=...,
        baggage=...,
    )
    assert call["traceparent"].split("-")[1] == PARENT.split("-")[1]
    assert set(call["baggage"].split(",")) == {f"iii.function.id={f}", "k=v"}  # it has no order
    await worker.answer(call, result=None)
    await caller.hear("invocationresult", invocation_id=call_id, function_id=f, traceparent=..., baggage=...)


@covers("calls: stopped")
async def nobody_hears_of_a_void_call(stage: Stage) -> None:
    f = stage.name("f")
    worker, caller = await stage.worker(), await stage.worker()
    await worker.register(f)
    await worker.quiet()
    await caller.say("invokefunction", function_id=f, data=1, action={"type": "void"})
    call = await worker.hear("invokefunction", invocation_id=..., function_id=f, data=1)
    await worker.answer(call, result=1)
    await caller.say("invokefunction", function_id=stage.name("nope"), data=1, action={"type": "void"})
    await caller.quiet()


@covers("input: json")
async def binary_frames_are_telemetry_or_messages(stage: Stage) -> None:
    worker = await stage.worker()
    for frame in (b"OTLP{}", b"MTRC{", b"LOGS nonsense", b"OTLP", b"OT"):
        await worker.say_raw(frame)
    await worker.say_raw(b'{"type":"ping"}')
    await worker.hear("pong")
    await worker.quiet()


SCRIPTS: tuple[Callable[[Stage], Awaitable[None]], ...] = tuple(
    value
    for name, value in list(globals().items())
    if not name.startswith("_") and getattr(value, "__module__", None) == __name__ and callable(value)
)

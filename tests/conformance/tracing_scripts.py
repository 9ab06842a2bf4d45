"""Conversations about `traceparent` and `baggage` (docs: protocol, "Calls")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.conformance.rows import covers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.stage import Stage

__all__ = ("SCRIPTS",)

TRACE, SPAN = "aaf7651916cd43dd8448eb211c80319c", "c7ad6b7169203331"
PARENTS = {  # what is sent -> what the callee gets
    f"00-{TRACE}-{SPAN}-01": f"00-{TRACE}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-00": f"00-{TRACE}-{SPAN}-00",
    f"01-{TRACE}-{SPAN}-01": f"00-{TRACE}-{SPAN}-01",
    "nonsense": None,
    "": None,
    f"00-{TRACE}-{SPAN}": None,
    f"00-{TRACE}-{SPAN}-01-more": None,
    f"00-{TRACE}-{SPAN}-03": None,
    f"00-{TRACE}-{SPAN}-ff": None,
    f"ff-{TRACE}-{SPAN}-01": None,
    f"00-{TRACE.upper()}-{SPAN}-01": None,
    f"00-{TRACE}-{SPAN.upper()}-01": None,
    f"00-{'0' * 32}-{SPAN}-01": None,
    f"00-{TRACE}-{'0' * 16}-01": None,
}
BAGGAGE = {  # what is sent -> the entries that the callee gets beside its own id
    "k=v": {"k=v"},
    "a=1,b=2,c=": {"a=1", "b=2", "c="},
    " a = 1 , b=2": {"a=1", "b=2"},
    "k=v;p=1;q": {"k=v"},
    "nothing,k=v": {"k=v"},
    "k=1,a=2,k=3": {"k=3", "a=2"},
    'k="x y"': {"k=%22x%20y%22"},
    "k=a%2Cb": {"k=a%2Cb"},
    f"long={'x' * 9000},k=v": {"k=v"},
    "iii.function.id=someone::else,k=v": {"k=v"},
    "": set[str](),
}


async def _as_heard(stage: Stage, **headers: str) -> tuple[str, dict[str, Any]]:
    """Call a function with these headers. Its id, and the call as it reached the callee."""
    f = stage.name("f")
    worker, caller = await stage.worker(), await stage.worker()
    await worker.register(f)
    await worker.quiet()
    call_id = await caller.invoke(f, 1, **headers)
    call = await worker.next()
    assert (call["type"], call["invocation_id"], call["data"]) == ("invokefunction", call_id, 1)
    return f, call


@covers("trace: parent")
async def a_traceparent_reaches_the_callee_as_the_engine_writes_it_or_not_at_all(stage: Stage) -> None:
    for sent, expected in PARENTS.items():
        f, call = await _as_heard(stage, traceparent=sent)
        assert call.get("traceparent") == expected, sent
        assert call["baggage"] == f"iii.function.id={f}", sent


@covers("trace: baggage")
async def baggage_reaches_the_callee_as_the_engine_writes_it(stage: Stage) -> None:
    for sent, expected in BAGGAGE.items():
        f, call = await _as_heard(stage, baggage=sent)
        assert set(call["baggage"].split(",")) == {f"iii.function.id={f}", *expected}, sent
        assert "traceparent" not in call


@covers("trace: baggage")
async def sixty_four_entries_of_baggage_are_sent_on(stage: Stage) -> None:
    sent = [f"k{number}={number}" for number in range(70)]
    f, call = await _as_heard(stage, baggage=",".join(sent))
    entries = call["baggage"].split(",")
    assert len(entries) == len(set(entries)) == 64
    assert set(entries) <= {*sent, f"iii.function.id={f}"}


@covers("trace: echo")
async def the_caller_hears_its_own_headers_again(stage: Stage) -> None:
    f = stage.name("f")
    worker, caller = await stage.worker(), await stage.worker()
    await worker.register(f)
    await worker.quiet()
    headers = {"traceparent": f"01-{TRACE}-{SPAN}-01", "baggage": "k=v;p=1"}
    call_id = await caller.invoke(f, 1, **headers)
    await worker.answer(await worker.next(), result=2)
    await caller.hear("invocationresult", invocation_id=call_id, function_id=f, result=2, **headers)


@covers("trace: built-ins")
async def a_built_in_sees_the_baggage_of_its_call(stage: Stage) -> None:
    caller = await stage.worker()
    headers = {"baggage": "k=v;p,other=x%20y,nothing"}
    assert await caller.call("engine::baggage::get", {"key": "k"}, **headers) == {"value": "v"}
    assert await caller.call("engine::baggage::get", {"key": "none"}, **headers) == {"value": None}
    assert await caller.call("engine::baggage::get", {"key": "k"}) == {"value": None}
    assert await caller.call("engine::baggage::get_all", {}, **headers) == {
        "baggage": {"k": "v", "other": "x y"}
    }
    assert await caller.call("engine::baggage::get_all", {}) == {"baggage": {}}


SCRIPTS: tuple[Callable[[Stage], Awaitable[None]], ...] = tuple(
    value
    for name, value in list(globals().items())
    if not name.startswith("_") and getattr(value, "__module__", None) == __name__ and callable(value)
)

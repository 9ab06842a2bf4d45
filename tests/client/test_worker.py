"""A worker against an engine that does what the test says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from iii_cli.client.channels import ChannelReader, ChannelWriter
from iii_cli.client.connection import Identity
from iii_cli.client.worker import Worker, open_worker, pause_before
from iii_cli.errors import (
    EngineUnreachable,
    FunctionFailed,
    NameTaken,
)
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.messages import Void
from tests.client.fake_engine import WORKER_ID, Link, Links, linked_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from iii_cli.client.function import Call


REF = {"channel_id": "c", "access_key": "k", "direction": "read"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iii_cli.client.worker.RETRY_FIRST", 0.001)
    monkeypatch.setattr("iii_cli.client.worker.RETRY_MAX", 0.01)


@asynccontextmanager
async def engine_and_worker(**options: Any) -> AsyncIterator[tuple[Links, Link, Worker]]:
    """A worker that was welcomed."""
    async with linked_engine() as engine:
        identity = Identity("tester:1", options.pop("namespace", None))
        worker = Worker(engine.endpoint, identity, **options)
        links: list[Link] = []

        async def welcome() -> None:
            links.append(await engine.link())
            await links[0].welcome()

        with anyio.fail_after(5):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(welcome)
                async with open_worker(worker):
                    yield engine, links[0], worker
                    tasks.start_soon(links[0].pong_to_the_end)
                tasks.cancel_scope.cancel()


async def test_it_announces_itself_with_an_id_and_a_pid() -> None:
    async with linked_engine() as engine:
        worker = Worker(engine.endpoint, Identity("tester:1", "orders"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run)
            link = await engine.link()
            announcement = await link.welcome()
            tasks.cancel_scope.cancel()
    assert link.target == "/"
    assert announcement["function_id"] == "engine::workers::register"
    assert announcement["namespace"] == "default"
    data = announcement["data"]
    assert (data["name"], data["namespace"]) == ("tester:1", "orders")
    assert data["pid"] > 0


async def test_a_worker_name_that_is_taken_names_the_owner() -> None:
    async with linked_engine() as engine:
        worker = Worker(engine.endpoint, Identity("images"))

        async def reject() -> None:
            link = await engine.link()
            await link.send(
                type="registrationrejected",
                code="WORKER_NAMESPACE_CONFLICT",
                namespace="default",
                worker_name="images",
                owner_worker_id="somebody",
            )

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reject)
            with pytest.raises(NameTaken, match=r"images is taken.*somebody"):
                async with open_worker(worker):
                    pass


async def test_calls_carry_what_they_are_given() -> None:
    async with engine_and_worker(namespace="orders") as (_, link, worker):

        async def answer() -> None:
            for result in ("first", "second"):
                calls.append(await link.message("invokefunction"))
                await link.result(calls[-1], result)

        calls: list[dict[str, Any]] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            first = await worker.trigger(
                "f", {"a": 1}, metadata={"m": 1}, traceparent="00-aa", baggage="k=v", namespace="x"
            )
            second = await worker.trigger("f")
    assert (first, second) == ("first", "second")
    assert calls[0]["data"] == {"a": 1}
    assert calls[0]["metadata"] == {"m": 1}
    assert (calls[0]["traceparent"], calls[0]["baggage"]) == ("00-aa", "k=v")
    assert calls[0]["namespace"] == "x"
    assert calls[1]["data"] == {}, "the engine drops a call without data"
    assert calls[1]["namespace"] == "orders", "a worker calls into its own namespace"


async def test_a_handler_sees_the_payload_as_it_was_sent_and_the_call() -> None:
    async with engine_and_worker() as (_, link, worker):
        seen: list[Any] = []

        @worker.function("f")
        async def f(payload: Any, call: Call) -> None:
            seen.extend((payload, call.caller_worker_id, call.metadata, call.traceparent))

        await link.message("registerfunction")
        await link.invoke("f", {"a": 1, "_caller_worker_id": "me"}, metadata={"m": 2}, traceparent="00-bb")
    assert seen == [{"a": 1}, "me", {"m": 2}, "00-bb"]


async def test_refs_are_live_ends_at_any_depth_and_connect_to_nothing_yet() -> None:
    async with engine_and_worker() as (engine, link, worker):
        seen: list[Any] = []

        @worker.function("f", keep_ends=True)
        async def f(payload: Any) -> Any:
            seen.append(payload)
            return {"back": payload["list"][0]}

        await link.message("registerfunction")
        write = REF | {"direction": "write"}
        answer = await link.invoke("f", {"list": [REF, {"deep": write}], "odd": REF | {"direction": "up"}})
        assert engine.came.statistics().current_buffer_used == 0
    payload = seen[0]
    assert isinstance(payload["list"][0], ChannelReader)
    assert isinstance(payload["list"][1]["deep"], ChannelWriter)
    assert payload["odd"] == REF | {"direction": "up"}
    assert answer["result"] == {"back": REF}, "live ends go back as refs"


async def test_a_writer_that_the_handler_left_open_is_aborted() -> None:
    async with engine_and_worker() as (engine, link, worker):

        @worker.function("f")
        async def f(payload: Any) -> None:
            await payload.send(b"half")

        await link.message("registerfunction")
        await link.call("f", REF | {"direction": "write"})
        end = await engine.link()
        assert end.target == "/ws/channels/c?key=k&dir=write"
        frames = [await end.frame() for _ in range(4)]
        await link.message("invocationresult")
    assert [opcode for opcode, _ in frames] == [Opcode.TEXT, Opcode.BINARY, Opcode.TEXT, Opcode.CLOSE]
    assert b'"abort"' in frames[2][1]


async def test_a_writer_that_a_failing_handler_never_used_is_aborted() -> None:
    async with engine_and_worker() as (engine, link, worker):

        @worker.function("f")
        async def f(payload: Any) -> None:
            raise FunctionFailed("bad_input", "not today")

        await link.message("registerfunction")
        await link.call("f", {"out": REF | {"direction": "write"}})
        end = await engine.link()
        assert b'"open"' in (await end.frame())[1]
        assert b'"abort"' in (await end.frame())[1]
        answer = await link.message("invocationresult")
    assert answer["error"] == {"code": "bad_input", "message": "not today"}


async def test_an_end_that_was_handed_on_is_left_alone() -> None:
    async with engine_and_worker() as (engine, link, worker):

        @worker.function("f")
        async def f(payload: Any) -> None:
            await worker.trigger("g", {"to": payload["out"]}, action=Void())

        await link.message("registerfunction")
        await link.call("f", {"out": REF | {"direction": "write"}}, traceparent="00-cc")
        call = await link.message("invokefunction")
        await link.message("invocationresult")
        assert engine.came.statistics().current_buffer_used == 0
    assert call["data"] == {"to": REF | {"direction": "write"}}
    assert call["traceparent"] == "00-cc", "a call in a handler belongs to the same trace"


async def test_what_a_handler_raises_is_the_callers_error() -> None:
    async with engine_and_worker() as (_, link, worker):

        class Coded(Exception):
            code = "my_code"

        @worker.function("f")
        async def f(payload: Any) -> Any:
            match payload["how"]:
                case "bug":
                    raise ZeroDivisionError("by zero")
                case "coded":
                    raise Coded("coded")
                case "group":
                    async with anyio.create_task_group():
                        raise FunctionFailed("in_group", "x")
                case "failure":
                    raise EngineUnreachable("gone")
            return float("nan")

        await link.message("registerfunction")
        codes = {}
        for number, how in enumerate(("bug", "coded", "group", "failure", "nan")):
            codes[how] = (await link.invoke("f", {"how": how}, number))["error"]
    assert codes["bug"]["code"] == "invocation_failed"
    assert codes["bug"]["message"] == "by zero"
    assert "ZeroDivisionError" in codes["bug"]["stacktrace"]
    assert codes["coded"]["code"] == "my_code"
    assert codes["group"]["code"] == "in_group"
    assert codes["failure"]["code"] == "engine_unreachable"
    assert "result is not JSON" in codes["nan"]["message"]


async def test_calls_are_answered_side_by_side_up_to_a_limit() -> None:
    async with engine_and_worker(max_calls=2) as (_, link, worker):
        go = anyio.Event()

        @worker.function("f")
        async def f(payload: Any) -> Any:
            await go.wait()
            return payload["n"]

        await link.message("registerfunction")
        for number in range(3):
            await link.call("f", {"n": number}, number)
        refused = await link.message("invocationresult")
        assert refused["error"]["code"] == "too_many_calls"
        assert worker.statistics().answering == 2
        go.set()
        results = sorted([(await link.message("invocationresult"))["result"] for _ in range(2)])
        assert results == [0, 1]
        assert (await link.invoke("f", {"n": 9}, 9))["result"] == 9


async def test_a_function_that_is_taken_is_told_and_can_be_tried_again() -> None:
    async with engine_and_worker() as (_, link, worker):

        @worker.function("f")
        async def f(payload: Any) -> None:
            return None

        async def reject_once() -> None:
            await link.message("registerfunction")
            await link.message("ping")
            await link.send(
                type="registrationrejected",
                code="FUNCTION_NAMESPACE_CONFLICT",
                namespace="default",
                function_id="f",
                owner_worker_id="somebody",
            )
            await link.send(type="pong")
            await link.message("registerfunction")
            await link.pong()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reject_once)
            with pytest.raises(NameTaken, match="f is taken in namespace default by worker somebody"):
                await worker.wait_registered()
            with pytest.raises(NameTaken):
                await worker.serve()
            await worker.wait_registered()


async def test_a_lost_connection_fails_calls_and_cancels_handlers_and_is_won_back() -> None:
    notices: list[str] = []
    options: dict[str, Any] = {
        "on_lost": lambda failure: notices.append(type(failure).__name__),
        "on_back": lambda: notices.append("back"),
    }
    async with engine_and_worker(**options) as (engine, link, worker):
        cancelled = anyio.Event()

        @worker.function("f")
        async def f(payload: Any) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.set()

        async def lose() -> None:
            await link.message("registerfunction")
            await link.call("f", {})
            await link.message("invokefunction")
            link.drop()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lose)
            with pytest.raises(EngineUnreachable, match="was lost"):
                await worker.trigger("g")
        await cancelled.wait()
        for _ in range(2):  # two engines that are not ready yet
            (await engine.link()).drop()
        again = await engine.link()
        announcement = await again.welcome("another")
        assert announcement["reattach"]["previous_worker_id"] == WORKER_ID
        assert (await again.message("registerfunction"))["id"] == "f"
        assert notices == ["EngineUnreachable"], "not back before the engine has the functions"
        await again.pong()
        assert worker.worker_id == "another"
        assert worker.statistics().connections == 2
    assert notices == ["EngineUnreachable", "back"]


async def test_a_call_waits_for_the_connection_as_long_as_it_may() -> None:
    async with engine_and_worker() as (engine, link, worker):
        link.drop()
        await engine.link()
        with pytest.raises(EngineUnreachable, match="no connection"):
            await worker.trigger("g", timeout=0.05)


async def test_a_payload_that_the_engine_would_not_read_is_refused_here() -> None:
    async with engine_and_worker() as (_, _link, worker):
        with pytest.raises(FunctionFailed, match="payload_too_large"):
            await worker.trigger("f", "x" * (16 << 20))
        with pytest.raises(TypeError):
            await worker.trigger("f", {"a": object()})


async def test_registrations_that_cannot_be_meant() -> None:
    async with engine_and_worker() as (_, _link, worker):

        async def three(a: Any, b: Any, c: Any) -> None:
            return None

        async def one(a: Any) -> None:
            return None

        with pytest.raises(TypeError):
            worker.function("f")(three)
        with pytest.raises(ValueError, match="id"):
            worker.function(" ")(one)
        worker.function("f")(one)
        with pytest.raises(ValueError, match="already"):
            worker.function("f")(one)
        with pytest.raises(TypeError):
            worker.function("g", request_format={"a": object()})(one)


@pytest.mark.parametrize("attempt", [0, 3, 1000])
def test_the_back_off_grows_to_a_limit(attempt: int) -> None:
    wanted = min(0.001 * 2**attempt, 0.01)
    assert 0.7 * wanted <= pause_before(attempt) <= 1.3 * wanted

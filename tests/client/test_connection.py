"""One connection against an engine that does what the test says."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from iii_cli.client.connection import Connection, open_connection
from iii_cli.errors import EngineUnreachable, FunctionNotFound, NotAuthorised, PeerMisbehaved, TimedOut
from iii_cli.protocol.frames import Opcode
from tests.client.fake_engine import Link, linked_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REF = {"channel_id": "c", "access_key": "k", "direction": "write"}


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Link, Connection]]:
    with anyio.fail_after(5):
        async with linked_engine() as engine, open_connection(engine.endpoint) as connection:
            yield await engine.link(), connection


async def test_answers_find_their_calls_whatever_their_order() -> None:
    async with connected() as (link, connection):
        results: dict[int, Any] = {}

        async def call(number: int) -> None:
            results[number] = await connection.call("f", number)

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(call, number)
            calls = [await link.message("invokefunction") for _ in range(3)]
            await link.result(
                calls[0] | {"invocation_id": "00000000-0000-4000-8000-000000000000"}, "nobody's"
            )
            for each in reversed(calls):
                await link.result(each, each["data"])
        assert results == {0: 0, 1: 1, 2: 2}
        assert connection.in_flight == 0


async def test_an_error_and_an_answer_that_cannot_be_read_fail_their_call_alone() -> None:
    async with connected() as (link, connection):

        async def answer() -> None:
            call = await link.message("invokefunction")
            await link.result(call, code="function_not_found", message="no f")
            call = await link.message("invokefunction")
            head = f'{{"type":"invocationresult","invocation_id":"{call["invocation_id"]}"'
            await link.raw(Opcode.TEXT, f'{head},"function_id":7}}'.encode())
            await link.result(await link.message("invokefunction"), {"writer": REF, "reader": "no ref"})
            await link.result(await link.message("invokefunction"), "well")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            with pytest.raises(FunctionNotFound):
                await connection.call("f", {})
            with pytest.raises(PeerMisbehaved, match="cannot be read"):
                await connection.call("f", {})
            with pytest.raises(PeerMisbehaved, match="no refs"):
                await connection.create_channel(3)
            assert await connection.call("f", {}) == "well"


async def test_a_call_without_an_answer_is_forgotten() -> None:
    async with connected() as (_, connection):
        with pytest.raises(TimedOut, match=r"no answer from f within 0\.01 s"):
            await connection.call("f", {}, timeout=0.01)
        assert connection.in_flight == 0


async def test_a_ping_that_is_given_up_leaves_the_next_one_its_answer() -> None:
    async with connected() as (link, connection):
        with anyio.move_on_after(0.01):
            await connection.ping()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(link.pong)
            with pytest.raises(TimeoutError), anyio.fail_after(0.05):
                await connection.ping()
            tasks.start_soon(link.pong)
            await link.raw(Opcode.TEXT, b'{"type":"pong"}')
            await connection.ping()


@pytest.mark.parametrize("how", ["drop", "close", "garbage"])
async def test_what_is_in_flight_fails_with_the_connection_and_so_does_all_later(how: str) -> None:
    async with connected() as (link, connection):
        ended: list[str] = []

        async def fails(what: Any) -> None:
            with pytest.raises(EngineUnreachable, match="was lost"):
                await what
            ended.append("lost")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fails, connection.call("f", {}))
            tasks.start_soon(fails, connection.ping())
            for _ in range(2):
                await link.message()
            if how == "drop":
                link.drop()
            else:
                await link.raw(Opcode.CLOSE if how == "close" else 0x5, b"")
        assert ended == ["lost", "lost"]
        await fails(connection.call("f", {}))
        assert isinstance(connection.lost, EngineUnreachable)


async def test_an_engine_that_throws_us_out_says_why() -> None:
    async with connected() as (link, connection):
        await link.send(type="error", error={"code": "AUTH_ERROR", "message": "no entry"})
        with pytest.raises(NotAuthorised, match="no entry"):
            await connection.call("f", {})


async def test_an_engine_that_is_silent_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iii_cli.client.connection.PING_SECONDS", 0.01)
    monkeypatch.setattr("iii_cli.client.connection.DEAD_SECONDS", 0.05)
    async with linked_engine() as engine:
        connection = await Connection.open(engine.endpoint)
        with anyio.fail_after(5):
            await connection.attend()
        assert isinstance(connection.lost, EngineUnreachable)
        assert "no sign of life" in connection.lost.message

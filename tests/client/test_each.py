"""Many calls on one connection: order, limits, failures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

import anyio
import pytest

from iii_cli.client.batch import WINDOW, EachCall, EachTotals
from iii_cli.errors import EngineUnreachable, LocalProblem, UsageProblem, sole_cause
from iii_cli.protocol.json_text import MalformedJson, Raw, compact
from iii_cli.protocol.records import LONGEST_MESSAGE
from iii_cli.protocol.refs import Endpoint, EngineAddress
from tests.support.scripted_engine import (
    Drop,
    FunctionError,
    Later,
    ScriptedEngine,
    Silence,
    running_engine,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def engine() -> Iterator[ScriptedEngine]:
    yield from running_engine()


class Lines:
    """A source of bytes, in pieces; `name` is what errors call it."""

    name = "standard input"
    short_by = 0

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)

    async def read_into(self, view: memoryview) -> int:
        await anyio.lowlevel.checkpoint()
        if not self._pieces:
            return 0
        piece = self._pieces.pop(0)
        view[: len(piece)] = piece
        return len(piece)


class Output:
    def __init__(self) -> None:
        self.text = ""

    async def write(self, chunk: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        self.text += chunk.decode()

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.text.splitlines()]


def payload_of(line: bytes) -> Raw:
    try:
        return Raw(compact(line))
    except MalformedJson:
        raise UsageProblem("not JSON") from None


async def run(
    engine: ScriptedEngine, *pieces: bytes, parallel: int = 4, output: Output | None = None, **more: Any
) -> tuple[list[Any], EachTotals]:
    engine.calls.clear()
    output = output or Output()
    batch = EachCall(
        endpoint=Endpoint(EngineAddress.parse(engine.url)),
        function_id="f",
        source=Lines(*pieces),
        write=output.write,
        payload_of=payload_of,
        parallel=parallel,
        timeout=more.pop("timeout", 5.0),
        **more,
    )
    try:
        with anyio.fail_after(5):
            await batch.run()
    except BaseExceptionGroup as group:
        raise sole_cause(group) from None
    return output.lines, batch.totals


def ok(result: Any) -> dict[str, Any]:
    return {"ok": True, "result": result}


def rejects(data: Any) -> NoReturn:
    raise FunctionError({"code": "E1", "message": "no", "stacktrace": "at 1"})


@pytest.mark.parametrize("parallel", [1, 3, 100])
async def test_answers_come_in_the_order_of_the_lines(engine: ScriptedEngine, parallel: int) -> None:
    def echo(data: Any) -> Any:
        if parallel > 1 and data["n"] % 2 == 0 and data["n"] < 98:
            raise Later(data)
        return data

    engine.functions = {"f": echo}
    text = b"".join(b'{"n":%d}\n' % n for n in range(99))
    lines, totals = await run(engine, text[:100], text[100:101], text[101:], parallel=parallel)
    assert lines == [ok({"n": n}) for n in range(99)]
    assert totals == EachTotals(done=99)


async def test_null_errors_and_lines_that_are_none(engine: ScriptedEngine) -> None:
    engine.functions = {"f": lambda data: rejects(data) if data == 2 else None}
    lines, totals = await run(engine, b"1\n\n  \n2\n{oops\n3")
    assert lines == [
        ok(None),
        {"ok": False, "error": {"code": "E1", "message": "no", "stacktrace": "at 1"}},
        {"ok": False, "error": {"code": "INVALID_INPUT", "message": "line 5: not JSON"}},
        ok(None),
    ]
    assert totals.failed == 2


async def test_fail_fast_begins_no_more(engine: ScriptedEngine) -> None:
    engine.functions = {"f": lambda data: rejects(data) if data == 2 else data}
    lines, totals = await run(engine, b"".join(b"%d\n" % n for n in range(50)), parallel=1, fail_fast=True)
    assert [line["ok"] for line in lines] == [True, True, False]
    assert (len(engine.calls), totals.done) == (3, 3)


async def test_a_call_without_an_answer_fails_alone(engine: ScriptedEngine) -> None:
    def some(data: Any) -> Any:
        if data == 1:
            raise Silence
        return data

    engine.functions = {"f": some}
    lines, totals = await run(engine, b"0\n1\n2\n", timeout=0.1)
    assert lines[1] == {"ok": False, "error": {"code": "TIMEOUT", "message": "no answer within 0.1 s"}}
    assert [line["ok"] for line in lines] == [True, False, True]
    assert totals.failed == 1


async def test_no_more_than_parallel_are_in_flight(engine: ScriptedEngine) -> None:
    engine.functions = {"f": lambda data: silent()}
    with pytest.raises(TimeoutError), anyio.fail_after(0.2):
        await run(engine, b"1\n" * 20, parallel=3, timeout=None)
    assert len(engine.calls) == 3


async def test_few_answers_wait_for_an_earlier_one(engine: ScriptedEngine) -> None:
    engine.functions = {"f": lambda data: silent() if data == 0 else data}
    with pytest.raises(TimeoutError), anyio.fail_after(0.3):
        await run(engine, b"".join(b"%d\n" % n for n in range(50)), parallel=2, timeout=None)
    assert len(engine.calls) == 2 * WINDOW


async def test_answers_that_came_before_the_loss_have_their_lines(engine: ScriptedEngine) -> None:
    def f(data: Any) -> Any:
        if data == 3:
            raise Drop
        raise Later(data)

    engine.functions = {"f": f}
    output = Output()
    with pytest.raises(EngineUnreachable, match="no line: 1"):
        await run(engine, b"0\n1\n2\n3\n", output=output)
    assert output.lines == [ok(0), ok(1), ok(2)]


def silent() -> NoReturn:
    raise Silence


async def test_a_line_that_is_too_long_ends_it_when_the_others_are_answered(engine: ScriptedEngine) -> None:
    engine.functions = {"f": lambda data: data}
    output = Output()
    with pytest.raises(LocalProblem, match="line 3 is longer"):
        await run(engine, b"1\n2\n", *[b"x" * 32768] * (LONGEST_MESSAGE // 32768 + 1), output=output)
    assert output.lines == [ok(1), ok(2)]

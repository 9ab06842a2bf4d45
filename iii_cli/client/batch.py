"""One call for each line of JSON, many in flight on one connection, answers in the order of the lines.

Theory of operation. `_feed` reads lines and sends calls, as long as fewer than `parallel` are in flight and
fewer than WINDOW answers wait for an earlier one. The connection's receiver settles them as they are
answered, `_expire` those that are not. `_emit` writes what is settled, in order. No call has a task of its
own: thousands a second would cost more than they do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, final

import anyio

from iii_cli.client.call import new_uuid
from iii_cli.client.connection import Connection
from iii_cli.errors import EngineUnreachable, FunctionFailed, LocalProblem, UsageProblem, WorkerLost
from iii_cli.protocol.messages import UNREADABLE, InvokeFunction, MalformedJson, parse, render, unreadable
from iii_cli.protocol.records import LineSplitter

if TYPE_CHECKING:
    from collections.abc import Callable

    from iii_cli.client.transfer import ByteSource
    from iii_cli.errors import Failure
    from iii_cli.protocol.frames import Buffer
    from iii_cli.protocol.messages import InvocationResult
    from iii_cli.protocol.refs import Endpoint

__all__ = ("WINDOW", "EachOrder", "EachTotals", "LineSink", "call_each", "failed_line", "result_line")


READ_BYTES = 256 << 10
WINDOW = 4  # times `parallel`: answers that may wait for an earlier one


class LineSink(Protocol):
    """Where the answers go."""

    async def write(self, chunk: Buffer) -> None: ...


@dataclass(slots=True)
class EachOrder:
    """`payload_of` makes the payload of a line's JSON, and raises UsageProblem. `timeout` is of each call, in
    seconds; None: no limit.
    """

    endpoint: Endpoint
    function_id: str
    source: ByteSource
    sink: LineSink
    payload_of: Callable[[bytes], Any]
    parallel: int
    timeout: float | None
    fail_fast: bool = False
    namespace: str | None = None
    metadata: Any = None
    traceparent: str | None = None


@dataclass(slots=True)
class EachTotals:
    """How it goes: calls begun, answered one way or the other, failed and of these unknown and lost."""

    begun: int = 0
    done: int = 0
    failed: int = 0
    unknown: int = 0  # the engine knows no such function
    lost: int = 0  # with their worker


def result_line(result: Any) -> str:
    """The line of a call that succeeded."""
    return f'{{"ok":true,"result":{render(result)}}}\n'


def failed_line(code: str, message: str, stacktrace: str | None = None) -> str:
    """The line of a call that failed, or that could not be made."""
    body = {"code": code, "message": message} | ({"stacktrace": stacktrace} if stacktrace is not None else {})
    return f'{{"ok":false,"error":{render(body)}}}\n'


async def call_each(order: EachOrder, totals: EachTotals) -> None:
    """Make the calls until the source ends, or one fails if `fail_fast`; all that were made are answered.

    A call that fails is no Failure, `totals` counts it. Raises EngineUnreachable, NotAuthorised, and
    LocalProblem for the source and the sink.
    """
    caller = await Connection.open(order.endpoint)
    try:
        await _Each(order, totals, caller).run()
    finally:
        caller.close()


@final
class _Each:
    """One run of an order."""

    def __init__(self, order: EachOrder, totals: EachTotals, caller: Connection) -> None:
        self._order = order
        self._totals = totals
        self._caller = caller
        caller.on_answer = self._answered
        self._lines: deque[str | None] = deque()  # in order; None: not settled yet
        self._first = 0  # the number of the first of `_lines`
        self._unwritten = 0  # of all that were begun
        self._writing = anyio.Lock(fast_acquire=True)
        self._in_flight: dict[str, int] = {}
        self._deadlines: deque[tuple[float, str]] = deque()  # in order: every call has the same limit
        self._news = anyio.Event()  # something was settled
        self._room = anyio.Event()  # something was settled or written

    async def run(self) -> None:
        """The story: feed, wait for every answer, write them all."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._receive)
            tasks.start_soon(self._emit)
            if self._order.timeout is not None:
                tasks.start_soon(self._expire, self._order.timeout)
            problem: LocalProblem | None = None
            try:
                await self._feed()
            except LocalProblem as error:
                problem = error  # no more lines; those that were read are answered all the same
            while self._unwritten:
                await self._wait_for_room()
            tasks.cancel_scope.cancel()
        if problem is not None:
            raise problem

    @property
    def _stopping(self) -> bool:
        return self._order.fail_fast and self._totals.failed > 0

    async def _feed(self) -> None:
        splitter = LineSplitter(what=self._order.source.name, is_text=False)  # each line is judged by itself
        buffer = memoryview(bytearray(READ_BYTES))
        number = 0
        while not self._stopping:
            count = await self._order.source.read_into(buffer)
            lines = splitter.feed(buffer[:count]) if count else [splitter.finish()]
            for line in lines:
                number += 1
                if line is None or self._stopping:
                    return
                if line.strip():
                    await self._begin(line, number)
            if not count:
                return

    async def _begin(self, line: bytes, number: int) -> None:
        order = self._order
        while len(self._in_flight) >= order.parallel or self._unwritten >= WINDOW * order.parallel:
            await self._wait_for_room()
            if self._stopping:
                return
        index = self._first + len(self._lines)
        self._lines.append(None)
        self._unwritten += 1
        self._totals.begun += 1
        try:
            payload = order.payload_of(line)
        except UsageProblem as problem:
            self._settle(
                index, failed_line("INVALID_INPUT", f"line {number}: {problem.message}"), failed=True
            )
            return
        request = InvokeFunction.of(
            order.function_id,
            payload,
            invocation_id=new_uuid(),
            metadata=order.metadata,
            namespace=order.namespace,
            traceparent=order.traceparent,
        )
        assert request.invocation_id is not None
        self._in_flight[request.invocation_id] = index
        if order.timeout is not None:
            self._deadlines.append((anyio.current_time() + order.timeout, request.invocation_id))
        try:
            await self._caller.send(request)
        except FunctionFailed as failure:  # too large: it was not sent
            self._fail(request.invocation_id, failure.code, failure.remote_message)

    def _answered(self, message: InvocationResult) -> None:
        index = self._in_flight.pop(message.invocation_id, None)
        if index is None:
            return  # too late
        while self._deadlines and self._deadlines[0][1] not in self._in_flight:
            self._deadlines.popleft()
        error = message.error
        if error is None:
            try:
                self._settle(index, result_line(parse(message.result)))
            except MalformedJson as fault:
                self._settle(index, failed_line(UNREADABLE, unreadable(fault)), failed=True)
        else:
            self._totals.unknown += error.code == "function_not_found"
            self._totals.lost += error.code == WorkerLost.CODE
            self._settle(index, failed_line(error.code, error.message, error.stacktrace), failed=True)

    def _fail(self, invocation_id: str, code: str, text: str) -> None:
        index = self._in_flight.pop(invocation_id, None)
        if index is not None:
            self._settle(index, failed_line(code, text), failed=True)

    def _settle(self, index: int, line: str, *, failed: bool = False) -> None:
        self._lines[index - self._first] = line
        self._totals.done += 1
        self._totals.failed += failed
        self._news.set()
        self._room.set()

    async def _wait_for_room(self) -> None:
        await self._room.wait()
        self._room = anyio.Event()

    async def _receive(self) -> None:
        await self._caller.attend()
        lost = self._caller.lost
        if lost is None:
            return
        await self._write_settled()
        raise self._told(lost)

    def _told(self, lost: Failure) -> Failure:
        if isinstance(lost, EngineUnreachable):
            waiting = len(self._in_flight)
            return EngineUnreachable(f"{lost.message}; calls in flight that have no line: {waiting}")
        return lost

    async def _emit(self) -> None:
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            await self._write_settled()

    async def _write_settled(self) -> None:
        async with self._writing:
            lines: list[str] = []
            while self._lines and (line := self._lines[0]) is not None:
                lines.append(line)
                self._lines.popleft()
            self._first += len(lines)
            if lines:
                await self._order.sink.write("".join(lines).encode())
                self._unwritten -= len(lines)
                self._room.set()

    async def _expire(self, limit: float) -> None:
        while True:
            now = anyio.current_time()
            while self._deadlines and self._deadlines[0][0] <= now:
                _, invocation_id = self._deadlines.popleft()
                self._fail(invocation_id, "TIMEOUT", f"no answer within {limit:g} s")
            due = self._deadlines[0][0] if self._deadlines else now + limit
            await anyio.sleep_until(due)

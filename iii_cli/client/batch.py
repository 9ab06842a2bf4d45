"""One call for each line of JSON, many in flight on one connection, answers in the order of the lines.

Theory of operation. `_feed` reads lines and queues calls, as long as fewer than `parallel` are in flight and
fewer than WINDOW answers wait for an earlier one; all that it could queue goes out together before it waits.
The connection's receiver settles calls as they are answered, `_expire` those that are not. `_emit` writes
what is settled, in order. No call has a task of its own: thousands a second would cost more than they do.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, final

import anyio
from msgspec import Struct

from iii_cli.client.call import new_uuid
from iii_cli.client.connection import Connection
from iii_cli.errors import EngineUnreachable, Failure, FunctionFailed, LocalProblem, UsageProblem, WorkerLost
from iii_cli.protocol.json_text import MalformedJson, compact, to_raw
from iii_cli.protocol.messages import (
    NULL,
    UNREADABLE_ANSWER,
    ErrorBody,
    InvocationResult,
    InvokeFunction,
    encode,
    unreadable,
)
from iii_cli.protocol.records import LineSplitter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iii_cli.client.transfer import ByteSource
    from iii_cli.protocol.json_text import Raw
    from iii_cli.protocol.refs import Endpoint

__all__ = ("WINDOW", "EachCall", "EachTotals")

READ_BYTES = 256 << 10
WINDOW = 4  # times `parallel`: answers that may wait for an earlier one


class EachTotals(Struct):
    """How it goes: calls answered one way or the other, failed and of these unknown and lost."""

    done: int = 0
    failed: int = 0
    unknown: int = 0  # the engine knows no such function
    lost: int = 0  # with their worker


@final
@dataclass(slots=True, eq=False)
class EachCall:
    """The calls for all lines of `source`. `run` makes them, and gives whole lines of answers to `write`.

    `payload_of` makes the payload of a line's JSON, and raises UsageProblem. `timeout` is of each call, in
    seconds; None: no limit.
    """

    endpoint: Endpoint
    function_id: str
    source: ByteSource
    write: Callable[[bytes], Awaitable[None]]
    payload_of: Callable[[bytes], Raw]
    parallel: int
    timeout: float | None
    fail_fast: bool = False
    namespace: str | None = None
    metadata: Any = None
    traceparent: str | None = None
    totals: EachTotals = field(default_factory=EachTotals)
    _connection: Connection = field(init=False)
    _metadata: Raw = field(init=False)
    _lines: deque[bytes | None] = field(default_factory=deque)  # in order; None: not settled yet
    _first: int = 0  # the number of the first of `_lines`
    _unwritten: int = 0  # of all that were begun
    _writing: anyio.Lock = field(default_factory=partial(anyio.Lock, fast_acquire=True))
    _in_flight: dict[str, int] = field(default_factory=dict)
    _deadlines: deque[tuple[float, str]] = field(default_factory=deque)  # in order: all have the same limit
    _fed: bool = False  # no more lines will come
    _news: anyio.Event = field(default_factory=anyio.Event)  # something was settled
    _room: anyio.Event = field(default_factory=anyio.Event)  # something was settled or written

    async def run(self) -> None:
        """Make the calls until the source ends, or one fails if `fail_fast`; all that were made are answered.

        A call that fails is no Failure, `totals` counts it. Raises EngineUnreachable, NotAuthorised, and
        LocalProblem for the source and the sink.
        """
        self._metadata = NULL if self.metadata is None else to_raw(self.metadata)
        self._connection = await Connection.open(self.endpoint)
        self._connection.on_answer = self._answered
        try:
            await self._make_all()
        finally:
            self._connection.close()

    async def _make_all(self) -> None:
        """The story: feed, wait for every answer, write them all."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._receive)
            tasks.start_soon(self._emit)
            if self.timeout is not None:
                tasks.start_soon(self._expire, self.timeout)
            problem: LocalProblem | None = None
            try:
                await self._feed()
            except LocalProblem as error:
                problem = error  # no more lines; those that were read are answered all the same
            except Failure:
                await anyio.sleep_forever()  # the connection is lost: `_receive` says so
            self._fed = True
            while self._unwritten:
                await self._wait_for_room()
            tasks.cancel_scope.cancel()
        if problem is not None:
            raise problem

    def _is_stopping(self) -> bool:
        return self.fail_fast and self.totals.failed > 0

    def _is_full(self) -> bool:
        return len(self._in_flight) >= self.parallel or self._unwritten >= WINDOW * self.parallel

    async def _feed(self) -> None:
        splitter = LineSplitter(what=self.source.name, is_text=False)  # each line is judged by itself
        buffer = memoryview(bytearray(READ_BYTES))
        number = 0
        while not self._is_stopping():
            count = await self.source.read_into(buffer)
            lines = splitter.feed(buffer[:count]) if count else splitter.finish()
            for line in lines:
                number += 1
                while self._is_full():
                    await self._connection.flush()
                    if self._is_full():
                        await self._wait_for_room()
                if self._is_stopping():
                    break
                if line.strip():
                    self._begin(line, number)
                    if self._connection.is_full:
                        await self._connection.flush()
            await self._connection.flush()
            if not count:
                return

    def _begin(self, line: bytes, number: int) -> None:
        index = self._first + len(self._lines)
        self._lines.append(None)
        self._unwritten += 1
        try:
            payload = self.payload_of(line)
        except UsageProblem as problem:
            self._settle(index, ErrorBody("INVALID_INPUT", f"line {number}: {problem.message}"))
            return
        invocation_id = new_uuid()
        request = InvokeFunction(
            self.function_id,
            payload,
            invocation_id=invocation_id,
            metadata=self._metadata,
            namespace=self.namespace,
            traceparent=self.traceparent,
        )
        self._in_flight[invocation_id] = index
        if self.timeout is not None:
            self._deadlines.append((time.monotonic() + self.timeout, invocation_id))
        try:
            self._connection.post(request)
        except FunctionFailed as failure:  # too large: it was not sent
            del self._in_flight[invocation_id]
            self._settle(index, ErrorBody(failure.code, failure.remote_message))

    def _answered(self, message: InvocationResult) -> None:
        index = self._in_flight.pop(message.invocation_id, None)
        if index is None:
            return  # too late
        while self._deadlines and self._deadlines[0][1] not in self._in_flight:
            self._deadlines.popleft()
        if message.error is not None:
            self._settle(index, message.error)
            return
        try:
            self._settle(index, b'{"ok":true,"result":%b}\n' % compact(message.result))
        except MalformedJson as fault:
            self._settle(index, ErrorBody(UNREADABLE_ANSWER, unreadable(fault)))

    def _settle(self, index: int, outcome: bytes | ErrorBody) -> None:
        """The line of a call, or why it failed."""
        totals = self.totals
        if isinstance(outcome, ErrorBody):
            totals.failed += 1
            totals.unknown += outcome.code == "function_not_found"
            totals.lost += outcome.code == WorkerLost.CODE
            outcome = b'{"ok":false,"error":%b}\n' % encode(outcome)
        self._lines[index - self._first] = outcome
        totals.done += 1
        self._news.set()
        self._room.set()

    async def _wait_for_room(self) -> None:
        await self._room.wait()
        self._room = anyio.Event()

    async def _receive(self) -> None:
        await self._connection.attend()
        await self._write_settled()
        lost = self._connection.lost
        assert lost is not None
        if self._fed and not self._in_flight:
            return  # after the last answer
        if isinstance(lost, EngineUnreachable):
            text = f"{lost.message}; calls in flight that have no line: {len(self._in_flight)}"
            raise EngineUnreachable(text)
        raise lost

    async def _emit(self) -> None:
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            await self._write_settled()

    async def _write_settled(self) -> None:
        async with self._writing:
            lines: list[bytes] = []
            while self._lines and (line := self._lines[0]) is not None:
                lines.append(line)
                self._lines.popleft()
            self._first += len(lines)
            if lines:
                await self.write(b"".join(lines))
                self._unwritten -= len(lines)
                self._room.set()

    async def _expire(self, limit: float) -> None:
        while True:
            now = time.monotonic()
            while self._deadlines and self._deadlines[0][0] <= now:
                index = self._in_flight.pop(self._deadlines.popleft()[1], None)
                if index is not None:
                    self._settle(index, ErrorBody("TIMEOUT", f"no answer within {limit:g} s"))
            due = self._deadlines[0][0] if self._deadlines else now + limit
            await anyio.sleep(due - now)

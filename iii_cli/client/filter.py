"""A function whose body is a Unix filter: one run of a COMMAND for each call (design.md section 1).

What matters for the data:

* Input that did not come whole never looks to the command like a normal end: the command is stopped first
  (a `Starter` promises it), its stdin is closed afterwards, and the call fails.
* The output of a command that failed is aborted, not ended.
* The result goes out when the command has ended and the engine has all of its output. So whoever calls with
  an output reads it while the call runs: the engine holds 64 chunks of it at most (protocol.md 4.2).
* A command that ends well without reading all of its input has had enough. The rest is read and verified all
  the same, for at most a minute, before the output is sealed; with `stop_early` nobody looks.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, final

import anyio

from iii_cli.client.answering import BUSY
from iii_cli.client.filter_run import FilterRun
from iii_cli.errors import FunctionFailed, sole_cause
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iii_cli.client.filter_run import Starter
    from iii_cli.wire.address import Endpoint

__all__ = ("Filter", "FilterOptions")


class FilterOptions(Value):
    """`stdin`: from a ref, the payload as JSON, or nothing. `stdout`: to a ref, or into the result."""

    stdin: Literal["ref", "json", "none"] = "ref"
    stdout: Literal["ref", "result"] = "ref"
    require_seal: bool = False
    allow_empty: bool = False
    stop_early: bool = False
    max_parallel: int = 4
    max_waiting: int = 64  # each holds two sockets, and what their buffers hold
    timeout: float | None = None  # seconds for one run of the command; None: no limit


@final
class Filter:
    """The handler. Register it without live ends: it opens its own, as soon as the call arrives."""

    def __init__(self, endpoint: Endpoint, options: FilterOptions, start: Starter) -> None:
        self._endpoint = endpoint
        self._options = options
        self._start = start
        self._turns = anyio.Semaphore(options.max_parallel)
        self._waiting = 0

    async def __call__(self, payload: Any) -> dict[str, Any]:
        """Answer one call: the facts of the run.

        Raises FunctionFailed, whose stacktrace is the facts as JSON. Cancelling stops the command.
        """
        run = FilterRun(self._endpoint, self._options)
        has_turn = False

        async def take_turn() -> None:
            nonlocal has_turn
            await self._turns.acquire()
            has_turn = True

        try:
            run.take(payload)
            with self._queue():
                await run.open_ends()
                await run.attended(take_turn)
            await run.command(self._start)
        except BaseException as error:
            cause = sole_cause(error)
            await run.give_up(cause)
            if not isinstance(cause, Exception):
                raise
            raise run.report(cause) from cause
        finally:
            if has_turn:
                self._turns.release()
        return run.result()

    @contextmanager
    def _queue(self) -> Iterator[None]:
        if self._waiting >= self._options.max_waiting + self._turns.value:
            raise FunctionFailed(
                BUSY,
                f"{self._options.max_parallel} calls run at once and {self._options.max_waiting} more wait; "
                "try again later",
            )
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

"""`iii trigger --each`: a call for each line of JSON on stdin, a line of JSON for each answer."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, final

from iii_cli.client.batch import EachCall, EachTotals
from iii_cli.commands.common import meant_name, run, tell
from iii_cli.config.store import did_you_mean
from iii_cli.errors import Failure, NotConfirmed, UsageProblem
from iii_cli.io.console import console, ellipsis, escape_json
from iii_cli.io.progress import FIRST_SECONDS, MARGIN, TICK_SECONDS, ProgressMode, progress_mode
from iii_cli.io.sinks import StdoutSink
from iii_cli.io.sources import Source
from iii_cli.protocol.json_text import MalformedJson, Raw, compact, parse, to_raw

if TYPE_CHECKING:
    from collections.abc import Callable

    from iii_cli.commands.calls import Request

__all__ = ("call_for_each",)


def call_for_each(request: Request, *, parallel: int, fail_fast: bool, progress: str) -> None:
    """Make all the calls, `parallel` at once.

    Raises Failure (1) if one of them failed, NotConfirmed (9) if all that did were lost with their worker,
    and as `EachCall.run`.
    """
    source = Source.stdin()
    batch = EachCall(
        endpoint=request.settings.endpoint,
        function_id=request.function_id,
        source=source,
        write=partial(_write, StdoutSink()),
        payload_of=_merging(request.payload),
        parallel=parallel,
        timeout=request.timeout,
        fail_fast=fail_fast,
        namespace=request.namespace,
        metadata=request.metadata,
        traceparent=request.traceparent,
    )
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    shown = _Shown(progress_mode(progress, data_on_terminal=on_terminal), batch.totals)
    if source.is_terminal:
        tell("reading from the terminal, a JSON document a line; Ctrl-D ends it")
    try:
        run(_call_and_show, batch, shown)
    except BaseException as error:
        shown.conclude(stopped=True, quietly=isinstance(error, BrokenPipeError))
        raise
    finally:
        source.close()
    shown.conclude()
    if batch.totals.failed:
        raise _failure(request, batch.totals)


def _failure(request: Request, totals: EachTotals) -> Failure:
    kind = NotConfirmed if totals.lost == totals.failed else Failure
    hint = None
    if totals.lost:
        hint = f"the worker was lost during {totals.lost:,} of them, which may have run"
    elif totals.unknown:
        hint = did_you_mean(meant_name(request.settings, request.function_id))
    return kind(f"{totals.failed:,} of {totals.done:,} calls failed", hint=hint)


async def _call_and_show(batch: EachCall, shown: _Shown) -> None:
    import anyio

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shown.run)
        await batch.run()
        tasks.cancel_scope.cancel()


def _merging(typed: dict[str, Any]) -> Callable[[bytes], Raw]:
    """What makes the payload of a line: its JSON, with the typed pairs over it."""

    def payload_of(line: bytes) -> Raw:
        try:
            if not typed:
                return Raw(compact(line))
            document = parse(line)
        except MalformedJson as error:
            raise UsageProblem(f"stdin: {error}") from None
        if not isinstance(document, dict):
            raise UsageProblem("a line must be an object when combined with key=value")
        return to_raw(document | typed)

    return payload_of


async def _write(stdout: StdoutSink, lines: bytes) -> None:
    """A terminal gets nothing that moves its cursor."""
    await stdout.write(escape_json(lines.decode()).encode() if stdout.is_terminal else lines)


@final
class _Shown:
    """The progress of many calls, as `io.progress` shows that of bytes."""

    def __init__(self, mode: ProgressMode, totals: EachTotals) -> None:
        self._mode = mode
        self._totals = totals
        self._began = time.monotonic()

    async def run(self) -> None:
        """Show it again and again."""
        import anyio

        if self._mode is ProgressMode.OFF:
            return
        await anyio.sleep(FIRST_SECONDS)
        while True:
            self._show()
            await anyio.sleep(max(self._mode.value, TICK_SECONDS))

    def conclude(self, *, stopped: bool = False, quietly: bool = False) -> None:
        """One line at the end: whoever stops a batch wants to know how far it came."""
        console.draw()
        console.facts.update(self._facts())
        if self._mode in (ProgressMode.BAR, ProgressMode.PLAIN) and not quietly:
            console.notice(f"stopped after {self._line()}" if stopped else self._line())

    def _show(self) -> None:
        if self._mode is ProgressMode.BAR:
            console.draw(ellipsis(self._line(), console.stderr.columns - MARGIN))
        elif self._mode is ProgressMode.JSON:
            console.event("progress", self._facts())
        else:
            console.notice(self._line())

    def _facts(self) -> dict[str, float]:
        seconds = round(time.monotonic() - self._began, 3)
        return {"calls": self._totals.done, "failed": self._totals.failed, "seconds": seconds}

    def _line(self) -> str:
        totals, seconds = self._totals, time.monotonic() - self._began
        rate = totals.done / seconds if seconds else 0.0
        return f"{totals.done:,} calls in {seconds:.1f} s, {rate:,.0f}/s, {totals.failed:,} failed"

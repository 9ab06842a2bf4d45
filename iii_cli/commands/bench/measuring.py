"""What `iii bench` does: check the bounds, measure, print; what was measured until a signal, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii_cli.client.benchmark import (
    CALLS_MAX,
    WAYS,
    ChannelBench,
    ChannelPlan,
    RttBench,
    RttPlan,
    TriggerBench,
    TriggerPlan,
)
from iii_cli.commands.common import meant_function, run, tell
from iii_cli.config.settings import byte_count, format_bytes, format_duration, seconds
from iii_cli.config.store import did_you_mean
from iii_cli.errors import Failure, FunctionNotFound, Interrupted, LocalProblem, UsageProblem
from iii_cli.io.console import print_json, print_table
from iii_cli.io.descriptors import allow_open_files
from iii_cli.protocol.frames import FRAME_BYTES_MAX
from iii_cli.protocol.messages import MalformedJson, parse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iii_cli.client.benchmark import Spread
    from iii_cli.config.settings import Settings

__all__ = ("bench_channel", "bench_rtt", "bench_trigger")

SECONDS_MAX = 600.0
SIZE_MAX = 1 << 40
CLIENTS_MAX = 256
DESCRIPTORS_BESIDE = 32  # beside the two ends of each channel: our own, the loop's, the connection for calls
IN_FLIGHT_MAX = 4096
LINE_BYTES = 64
FIGURES = ("p50", "p90", "p99", "max")


def bench_channel(
    settings: Settings,
    size: str | None,
    clients: int,
    duration: str,
    message_size: str | None,
    *,
    lines: bool,
    as_json: bool,
) -> None:
    """Raises UsageProblem, and as `ChannelBench.run`."""
    default = str(LINE_BYTES if lines else FRAME_BYTES_MAX)
    plan = ChannelPlan(
        endpoint=settings.endpoint,
        clients=_within(clients, CLIENTS_MAX, "--clients"),
        seconds=_time(duration, "--duration"),
        size=None if size is None else _within(byte_count(size, "--size"), SIZE_MAX, "--size"),
        message_bytes=_message_bytes(message_size or default),
        lines=lines,
    )
    if plan.size is not None and plan.size < plan.clients:
        raise UsageProblem("--size is less than a byte for each client")
    _check_descriptors(plan.clients)
    bench = ChannelBench(plan)
    what = "a channel" if plan.clients == 1 else f"{plan.clients} channels"

    def show(complete: bool) -> None:
        rate, messages = _per(bench.bytes, bench.seconds), _per(bench.messages, bench.seconds)
        if as_json:
            print_json(
                _head("channel", settings, bench.seconds, complete=complete)
                | {"clients": plan.clients, "lines": lines, "message_size": plan.message_bytes}
                | {"bytes": bench.bytes, "messages": bench.messages}
                | {"bytes_per_second": rate, "messages_per_second": messages}
                | {"verified": bench.verified}
            )
            return
        print_table(
            ("CHANNELS", "BYTES", "LINES" if lines else "FRAMES", "SECONDS", "RATE", "A SECOND", "VERIFIED"),
            [
                (
                    str(plan.clients),
                    format_bytes(bench.bytes),
                    str(bench.messages),
                    f"{bench.seconds:.2f}",
                    format_bytes(rate),
                    f"{messages:.0f}",
                    f"{bench.verified} of {plan.clients}",
                )
            ],
        )

    _measure(bench.run, what, plan.seconds, show)


def bench_trigger(
    settings: Settings,
    function: str | None,
    payload: str,
    parallel: int,
    duration: str,
    calls: int,
    timeout: str,
    *,
    as_json: bool,
) -> None:
    """Raises UsageProblem, Failure where calls failed, and as `TriggerBench.run`."""
    plan = TriggerPlan(
        endpoint=settings.endpoint,
        function_id=function,
        data=_payload(payload),
        namespace="default" if function and function.startswith("engine::") else settings.namespace,
        in_flight=_within(parallel, IN_FLIGHT_MAX, "--parallel"),
        seconds=_time(duration, "--duration"),
        calls=_within(calls, CALLS_MAX, "--calls"),
        timeout=_time(timeout, "--timeout"),
    )
    bench = TriggerBench(plan)
    what = function or "a function of our own"

    def show(complete: bool) -> None:
        rate, latency = _per(bench.answered, bench.seconds), bench.latency
        if as_json:
            print_json(
                _head("trigger", settings, bench.seconds, complete=complete)
                | {"function": function, "parallel": plan.in_flight, "calls": bench.answered + bench.failed}
                | {"failed": bench.failed, "calls_per_second": rate, "latency_ms": _spread(latency)}
            )
            return
        row = (
            function or "our own",
            str(plan.in_flight),
            str(bench.answered + bench.failed),
            str(bench.failed),
        )
        print_table(
            ("FUNCTION", "AT ONCE", "CALLS", "FAILED", "SECONDS", "A SECOND", *map(str.upper, FIGURES)),
            [(*row, f"{bench.seconds:.2f}", f"{rate:.0f}", *_cells(latency))],
        )

    try:
        _measure(bench.run, what, plan.seconds, show)
    except FunctionNotFound as failure:
        hint = did_you_mean(meant_function(settings, function) if function else None)
        raise failure.with_hint(hint) from None
    if bench.first_failure is not None:
        made = bench.answered + bench.failed
        raise Failure(f"{bench.failed} of {made} calls failed, the first: {bench.first_failure.message}")


def bench_rtt(settings: Settings, duration: str, count: int, message_size: str, *, as_json: bool) -> None:
    """Raises UsageProblem, and as `RttBench.run`."""
    plan = RttPlan(
        endpoint=settings.endpoint,
        namespace=settings.namespace,
        seconds=_time(duration, "--duration"),
        count=_within(count, CALLS_MAX, "--count"),
        message_bytes=_message_bytes(message_size),
    )
    bench = RttBench(plan)
    what = f"round trips of {plan.message_bytes} bytes"

    def show(complete: bool) -> None:
        spreads = {way: bench.latency(way) for way in WAYS}
        if as_json:
            ways = {way: _spread(spread) for way, spread in spreads.items()}
            head = _head("rtt", settings, None, complete=complete)
            print_json(head | {"message_size": plan.message_bytes, "unit": "ms"} | ways)
            return
        rows = [(way, str(spread.count if spread else 0), *_cells(spread)) for way, spread in spreads.items()]
        print_table(("THROUGH", "COUNT", *map(str.upper, FIGURES)), rows)

    _measure(bench.run, what, plan.seconds, show)


def _measure(
    body: Callable[[], Awaitable[None]], what: str, limit: float, show: Callable[[bool], None]
) -> None:
    """Run and print. A signal prints what there is and stays a signal; a failure prints nothing."""
    try:
        tell(f"measuring {what} for {format_duration(limit)} at most; Ctrl-C ends it and tells so far")
        run(body)
    except (Interrupted, KeyboardInterrupt):
        show(False)
        raise
    show(True)


def _head(bench: str, settings: Settings, took: float | None, *, complete: bool) -> dict[str, Any]:
    head: dict[str, Any] = {"bench": bench, "url": settings.endpoint.address.url, "complete": complete}
    return head if took is None else head | {"seconds": round(took, 6)}


def _spread(spread: Spread | None) -> dict[str, Any] | None:
    """In milliseconds."""
    if spread is None:
        return None
    figures = {name: round(getattr(spread, name) * 1000, 4) for name in ("mean", *FIGURES)}
    return {"count": spread.count} | figures


def _cells(spread: Spread | None) -> tuple[str, ...]:
    if spread is None:
        return ("-",) * len(FIGURES)
    return tuple(f"{getattr(spread, name) * 1000:.2f} ms" for name in FIGURES)


def _per(count: int, span: float) -> float:
    return count / span if span else 0.0


def _within(number: int, most: int, option: str) -> int:
    if not 1 <= number <= most:
        raise UsageProblem(f"{option} is a number from 1 to {most}")
    return number


def _check_descriptors(clients: int) -> None:
    """Before the first channel: one whose ends cannot be opened stays on the engine for five minutes."""
    needed = 2 * clients + DESCRIPTORS_BESIDE
    allowed = allow_open_files(needed)
    if allowed is not None and allowed < needed:
        raise LocalProblem(
            f"{clients} channels need {needed} open files, and the limit is {allowed}",
            hint=f"`ulimit -n {needed}`, or a smaller -P",
        )


def _time(text: str, option: str) -> float:
    span = seconds(text, option)
    if span is None or span > SECONDS_MAX:
        raise UsageProblem(f"{option} is more than nothing and at most {SECONDS_MAX / 60:g}m")
    return span


def _message_bytes(text: str) -> int:
    return _within(byte_count(text, "--message-size"), FRAME_BYTES_MAX, "--message-size")


def _payload(text: str) -> Any:
    try:
        return parse(text)
    except MalformedJson as error:
        raise UsageProblem(f"--payload: {error}") from None

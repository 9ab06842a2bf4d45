"""`iii bench channel | trigger | rtt`: measure an engine, and print what was measured until a signal, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from iii_cli.commands.common import AsJson, meant_name, run, settings_of, tell, within
from iii_cli.config.settings import Settings
from iii_cli.config.store import did_you_mean
from iii_cli.errors import Failure, FunctionNotFound, Interrupted, LocalProblem, UsageProblem
from iii_cli.io.console import print_json, print_table
from iii_cli.io.descriptors import allow_open_files
from iii_cli.protocol.frames import FRAME_BYTES_MAX
from iii_cli.protocol.json_text import MalformedJson, parse
from iii_cli.quantities import byte_count, format_bytes, format_duration, seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("bench_app",)

bench_app = typer.Typer(
    no_args_is_help=True, help="Measure an engine: bytes, calls and round trips a second."
)

SECONDS_MAX = 600.0
SIZE_MAX = 1 << 40
CLIENTS_MAX = 256
DESCRIPTORS_BESIDE = 32  # beside the two ends of each channel: our own, the loop's, the connection for calls
IN_FLIGHT_MAX = 4096
CALLS_MAX = 1_000_000  # every time that was measured is kept, 8 bytes each
FIGURES = ("p50", "p90", "p99", "max")

Duration = Annotated[str, typer.Option("--duration", metavar="TIME", help="Stop after TIME, up to 10m.")]


@bench_app.command()
def channel(
    ctx: typer.Context,
    size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Send SIZE bytes in all channels together, up to 1T. [no limit]"),
    ] = None,
    clients: Annotated[
        int, typer.Option("-P", "--clients", metavar="N", help="Use N channels at once, up to 256.")
    ] = 1,
    duration: Duration = "3s",
    message_size: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Size of a frame or a line, up to 1M. [1M; with --lines 64]"),
    ] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Send text messages, not bytes.")] = False,
    json: AsJson = False,
) -> None:
    """Write into channels and read from them, as fast as the engine carries it; the seal proves every byte.

    One process is writer and reader, so the figure is of the whole way: the engine, the network and this
    machine. It ends with the first of SIZE and TIME. Ctrl-C prints what was measured so far.

    \b
    Examples:
      iii bench channel --size 64M
      iii bench channel -P 8 --duration 10s --json | jq .bytes_per_second
    """
    from iii_cli.client.benchmark import ChannelBench

    settings = settings_of(ctx)
    bench = ChannelBench(
        endpoint=settings.endpoint,
        clients=_count(clients, CLIENTS_MAX, "--clients"),
        seconds=_time(duration, "--duration"),
        size=None if size is None else _count(byte_count(size, "--size"), SIZE_MAX, "--size"),
        message_bytes=_message_bytes(message_size or ("64" if lines else str(FRAME_BYTES_MAX))),
        lines=lines,
    )
    if bench.size is not None and bench.size < clients:
        raise UsageProblem("--size is less than a byte for each client")
    _check_descriptors(clients)

    def show(complete: bool) -> None:
        took, rate = bench.took, _per_second(bench.bytes, bench.took)
        messages = _per_second(bench.messages, took)
        if json:
            print_json(
                _head("channel", settings, took, complete=complete)
                | {"clients": clients, "lines": lines, "message_size": bench.message_bytes}
                | {"bytes": bench.bytes, "messages": bench.messages}
                | {"bytes_per_second": rate, "messages_per_second": messages, "verified": bench.verified}
            )
            return
        print_table(
            ("CHANNELS", "BYTES", "LINES" if lines else "FRAMES", "SECONDS", "RATE", "A SECOND", "VERIFIED"),
            [
                (
                    *(str(clients), format_bytes(bench.bytes), str(bench.messages), f"{took:.2f}"),
                    *(format_bytes(rate), f"{messages:.0f}", f"{bench.verified} of {clients}"),
                )
            ],
        )

    _measure(bench.run, "a channel" if clients == 1 else f"{clients} channels", bench.seconds, show)


@bench_app.command()
def trigger(
    ctx: typer.Context,
    function: Annotated[
        str | None,
        typer.Argument(metavar="[FUNCTION]", help="Function id. [one of our own that answers at once]"),
    ] = None,
    data: Annotated[str, typer.Option("--payload", metavar="JSON", help="Payload of each call.")] = "{}",
    parallel: Annotated[
        int, typer.Option("-P", "--parallel", metavar="N", help="Keep N calls in flight, up to 4096.")
    ] = 1,
    duration: Duration = "3s",
    calls: Annotated[
        int, typer.Option("--calls", metavar="N", help="Stop after N calls, up to 1000000.")
    ] = CALLS_MAX,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Time limit of each call, up to 10m.")] = "30s",
    json: AsJson = False,
) -> None:
    """Call a function again and again, and tell calls a second and how long they take.

    Without FUNCTION a worker of our own serves one for as long as it lasts. A FUNCTION is really called, once
    more than is counted. Calls that fail are counted, and end it with 1. Ctrl-C prints what was measured so
    far.

    \b
    Examples:
      iii bench trigger -P 16 --calls 1000
      iii bench trigger engine::health::check --duration 500ms --json | jq .latency_ms.p99
    """
    from iii_cli.client.benchmark import TriggerBench, spread_of

    settings = settings_of(ctx)
    try:
        payload = parse(data)
    except MalformedJson as error:
        raise UsageProblem(f"--payload: {error}") from None
    bench = TriggerBench(
        endpoint=settings.endpoint,
        function_id=function,
        data=payload,
        namespace="default" if function and function.startswith("engine::") else settings.namespace,
        in_flight=_count(parallel, IN_FLIGHT_MAX, "--parallel"),
        seconds=_time(duration, "--duration"),
        calls=_count(calls, CALLS_MAX, "--calls"),
        timeout=_time(timeout, "--timeout"),
    )

    def show(complete: bool) -> None:
        spread, answered = spread_of(bench.times), len(bench.times)
        rate, made = _per_second(answered, bench.took), answered + bench.failed
        if json:
            print_json(
                _head("trigger", settings, bench.took, complete=complete)
                | {"function": function, "parallel": parallel, "calls": made, "failed": bench.failed}
                | {"calls_per_second": rate, "latency_ms": spread}
            )
            return
        row = (function or "our own", str(parallel), str(made), str(bench.failed), f"{bench.took:.2f}")
        print_table(
            ("FUNCTION", "AT ONCE", "CALLS", "FAILED", "SECONDS", "A SECOND", *map(str.upper, FIGURES)),
            [(*row, f"{rate:.0f}", *_cells(spread))],
        )

    try:
        _measure(bench.run, function or "a function of our own", bench.seconds, show)
    except FunctionNotFound as failure:
        hint = did_you_mean(meant_name(settings, function) if function else None)
        raise failure.with_hint(hint) from None
    if bench.first_failure is not None:
        made = len(bench.times) + bench.failed
        raise Failure(f"{bench.failed} of {made} calls failed, the first: {bench.first_failure.message}")


@bench_app.command()
def rtt(
    ctx: typer.Context,
    duration: Duration = "3s",
    count: Annotated[
        int, typer.Option(metavar="N", help="Stop each kind after N round trips, up to 1000000.")
    ] = CALLS_MAX,
    message_size: Annotated[str, typer.Option(metavar="SIZE", help="Size of each message, up to 1M.")] = "64",
    json: AsJson = False,
) -> None:
    """Time a small message there and back: to the engine, through a call, through two channels.

    One at a time, all of it served by ourselves. Ctrl-C prints what was measured so far.

    \b
    Examples:
      iii bench rtt --duration 500ms
      iii bench rtt --count 200 --json | jq .channels.p50
    """
    from iii_cli.client.benchmark import RttBench, spread_of

    settings = settings_of(ctx)
    bench = RttBench(
        endpoint=settings.endpoint,
        namespace=settings.namespace,
        seconds=_time(duration, "--duration"),
        count=_count(count, CALLS_MAX, "--count"),
        message_bytes=_message_bytes(message_size),
    )

    def show(complete: bool) -> None:
        spreads = {way: spread_of(times) for way, times in bench.times.items()}
        if json:
            head = _head("rtt", settings, None, complete=complete)
            print_json(head | {"message_size": bench.message_bytes, "unit": "ms"} | spreads)
            return
        rows = [
            (way, f"{spread['count'] if spread else 0}", *_cells(spread)) for way, spread in spreads.items()
        ]
        print_table(("THROUGH", "COUNT", *map(str.upper, FIGURES)), rows)

    _measure(bench.run, f"round trips of {bench.message_bytes} bytes", bench.seconds, show)


def _measure(
    body: Callable[[], Awaitable[None]], what: str, limit: float, show: Callable[[bool], None]
) -> None:
    """Run and print. A signal prints what there is and stays a signal; a failure prints nothing."""
    try:
        tell(f"measuring {what} for {format_duration(limit)} at most; Ctrl-C ends it and tells so far")
        run(body)
    except (Interrupted, SystemExit):
        show(False)
        raise
    show(True)


def _head(bench: str, settings: Settings, took: float | None, *, complete: bool) -> dict[str, Any]:
    head: dict[str, Any] = {"bench": bench, "url": settings.endpoint.address.url, "complete": complete}
    return head if took is None else head | {"seconds": round(took, 6)}


def _cells(spread: dict[str, float] | None) -> tuple[str, ...]:
    return tuple("-" if spread is None else f"{spread[name]:.2f} ms" for name in FIGURES)


def _per_second(count: int, span: float) -> float:
    return count / span if span else 0.0


def _count(number: int, most: int, option: str) -> int:
    return within(number, 1, most, f"{option} is a number")


def _time(text: str, option: str) -> float:
    span = seconds(text, option)
    if span is None or span > SECONDS_MAX:
        raise UsageProblem(f"{option} is more than nothing and at most {SECONDS_MAX / 60:g}m")
    return span


def _message_bytes(text: str) -> int:
    return _count(byte_count(text, "--message-size"), FRAME_BYTES_MAX, "--message-size")


def _check_descriptors(clients: int) -> None:
    """Before the first channel: one whose ends cannot be opened stays on the engine for five minutes."""
    needed = 2 * clients + DESCRIPTORS_BESIDE
    allowed = allow_open_files(needed)
    if allowed is not None and allowed < needed:
        raise LocalProblem(
            f"{clients} channels need {needed} open files, and the limit is {allowed}",
            hint=f"`ulimit -n {needed}`, or a smaller -P",
        )

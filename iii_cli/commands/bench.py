"""`iii bench channel | trigger | rtt`: measure an engine, and print what was measured until a signal, too."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iii_cli.commands.common import AsJson, meant_name, run, settings_of, tell, within
from iii_cli.config.store import did_you_mean
from iii_cli.errors import FunctionNotFound, Interrupted, UsageProblem
from iii_cli.io.console import print_json, print_table
from iii_cli.io.descriptors import allow_open_files
from iii_cli.protocol.json_text import MalformedJson, parse
from iii_cli.quantities import byte_count, format_bytes, format_duration, seconds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iii_cli.config.settings import Settings

__all__ = ("bench_app",)

bench_app = typer.Typer(
    no_args_is_help=True, help="Measure an engine: bytes, calls and round trips a second."
)

PARALLEL_MAX = 256
COUNT_MAX = 1_000_000  # every time that was measured is kept
UNITS = {"bytes", "calls"}  # of which is told how many a second
FIGURES = ("count", "mean", "p50", "p90", "p99", "max")

Duration = Annotated[str, typer.Option("--duration", metavar="TIME", help="Stop after TIME.")]
Count = Annotated[int, typer.Option("--count", metavar="N", help="Stop after N calls or round trips.")]
Parallel = Annotated[
    int, typer.Option("-P", "--parallel", metavar="N", help="N channels or calls at once, up to 256.")
]


@bench_app.command()
def channel(
    ctx: typer.Context,
    size: Annotated[
        str, typer.Option(metavar="SIZE", help="Send SIZE bytes in all channels together.")
    ] = "1T",
    parallel: Parallel = 1,
    duration: Duration = "3s",
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
    from iii_cli.client.benchmark import measure_channels

    within(parallel, 1, PARALLEL_MAX, "--parallel is a number")
    total = within(byte_count(size, "--size"), 1, 1 << 40, "--size is a number of bytes")
    allow_open_files(2 * parallel + 32)  # both ends of each, and what the rest of us needs
    settings = settings_of(ctx)
    figures = {"channels": parallel, "verified": 0, "bytes": 0, "seconds": 0.0}
    body = partial(measure_channels, figures, settings.endpoint, parallel, total)
    _measure("channel", settings, duration, body, figures, json)


@bench_app.command()
def trigger(
    ctx: typer.Context,
    function: Annotated[
        str | None,
        typer.Argument(metavar="[FUNCTION]", help="Function id. [one of our own that answers at once]"),
    ] = None,
    data: Annotated[str, typer.Option("--payload", metavar="JSON", help="Payload of each call.")] = "{}",
    parallel: Parallel = 1,
    count: Count = COUNT_MAX,
    duration: Duration = "3s",
    json: AsJson = False,
) -> None:
    """Call a function again and again, and tell calls a second and how long they take.

    Without FUNCTION a worker of our own serves one for as long as it lasts. A FUNCTION is really called, once
    more than is counted. A call that fails ends it. Ctrl-C prints what was measured so far.

    \b
    Examples:
      iii bench trigger -P 16 --count 1000
      iii bench trigger engine::health::check --duration 500ms --json | jq .latency_ms.p99
    """
    from iii_cli.client.benchmark import measure_calls

    within(parallel, 1, PARALLEL_MAX, "--parallel is a number")
    within(count, 1, COUNT_MAX, "--count is a number")
    try:
        payload = parse(data)
    except MalformedJson as error:
        raise UsageProblem(f"--payload: {error}") from None
    settings = settings_of(ctx)
    figures: dict[str, Any] = {"function": function, "parallel": parallel, "calls": 0, "seconds": 0.0}
    figures["latency_ms"] = []
    body = partial(measure_calls, figures, settings.endpoint, settings.namespace, payload, count)
    try:
        _measure("trigger", settings, duration, body, figures, json)
    except FunctionNotFound as failure:
        raise failure.with_hint(did_you_mean(meant_name(settings, function or ""))) from None


@bench_app.command()
def rtt(
    ctx: typer.Context, count: Count = COUNT_MAX, duration: Duration = "3s", json: AsJson = False
) -> None:
    """Time a message of 64 bytes there and back: to the engine, through a call, through two channels.

    One at a time, all of it served by ourselves; in milliseconds. Ctrl-C prints what was measured so far.

    \b
    Examples:
      iii bench rtt --duration 500ms
      iii bench rtt --count 200 --json | jq .channels.p50
    """
    from iii_cli.client.benchmark import measure_round_trips

    within(count, 1, COUNT_MAX, "--count is a number")
    settings = settings_of(ctx)
    figures: dict[str, Any] = {"engine": [], "call": [], "channels": []}
    body = partial(measure_round_trips, figures, settings.endpoint, settings.namespace, count)
    _measure("rtt", settings, duration, body, figures, json)


def _measure(
    kind: str,
    settings: Settings,
    duration: str,
    body: Callable[[float], Awaitable[None]],
    figures: dict[str, Any],
    json: bool,
) -> None:
    """Run it and print. A signal prints what there is and stays a signal; a failure prints nothing."""
    limit = seconds(duration, "--duration")
    if limit is None:
        raise UsageProblem("--duration is more than nothing")
    try:
        tell(f"measuring for {format_duration(limit)} at most; Ctrl-C ends it and tells so far")
        run(body, limit)
    except (Interrupted, SystemExit):
        _show(figures, json, bench=kind, url=settings.endpoint.address.url, complete=False)
        raise
    _show(figures, json, bench=kind, url=settings.endpoint.address.url, complete=True)


def _show(figures: dict[str, Any], json: bool, **head: Any) -> None:
    told = {name: value for name, value in figures.items() if not isinstance(value, list)}
    for unit in told.keys() & UNITS:
        told[f"{unit}_per_second"] = told[unit] / (told["seconds"] or 1)
    spreads = {name: _spread_of(times) for name, times in figures.items() if isinstance(times, list)}
    if json:
        print_json(head | told | spreads)
        return
    if told:
        header = [name.upper().replace("_", " ") for name in told]
        print_table(header, [[_cell(value, name) for name, value in told.items()]])
    if spreads:
        rows = [(name, *map(_cell, spread.values())) for name, spread in spreads.items()]
        print_table(("MILLISECONDS", *(name.upper() for name in FIGURES)), rows)


def _cell(value: Any, name: str = "") -> str:
    if name.startswith("bytes"):
        return format_bytes(value)
    return f"{value:.2f}" if isinstance(value, float) else "-" if value is None else str(value)


def _spread_of(times: list[float]) -> dict[str, float | None]:
    """FIGURES of `times`: seconds in, milliseconds out."""
    from statistics import fmean, quantiles

    if not times:
        return dict.fromkeys(FIGURES) | {"count": 0}
    percentiles = quantiles(times * 2, n=100, method="inclusive")  # twice, for it refuses a single one
    spans = (fmean(times), percentiles[49], percentiles[89], percentiles[98], max(times))
    return dict(zip(FIGURES, (len(times), *(round(1000 * span, 4) for span in spans)), strict=True))

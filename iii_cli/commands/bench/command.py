"""`iii bench channel | trigger | rtt`."""

from __future__ import annotations

from typing import Annotated

import typer

from iii_cli.commands.common import settings_of

__all__ = ("bench_app",)

bench_app = typer.Typer(
    no_args_is_help=True, help="Measure an engine: bytes, calls and round trips a second."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Duration = Annotated[str, typer.Option("--duration", metavar="TIME", help="At most so long, up to 10m.")]


@bench_app.command()
def channel(
    ctx: typer.Context,
    size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Bytes of all clients together, up to 1T. [no limit]")
    ] = None,
    clients: Annotated[
        int, typer.Option("-P", "--clients", metavar="N", help="Channels at once, up to 256.")
    ] = 1,
    duration: Duration = "3s",
    message_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Of a frame or a line, up to 1M. [1M; with --lines 64]")
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
    from iii_cli.commands.bench.measuring import bench_channel

    bench_channel(settings_of(ctx), size, clients, duration, message_size, lines=lines, as_json=json)


@bench_app.command()
def trigger(
    ctx: typer.Context,
    function: Annotated[
        str | None, typer.Argument(metavar="[FUNCTION]", help="Default: one of our own that answers at once.")
    ] = None,
    data: Annotated[str, typer.Option("--payload", metavar="JSON", help="What each call is given.")] = "{}",
    parallel: Annotated[
        int, typer.Option("-P", "--parallel", metavar="N", help="Calls in flight, up to 4096.")
    ] = 1,
    duration: Duration = "3s",
    calls: Annotated[
        int, typer.Option("--calls", metavar="N", help="At most so many, up to 1000000.")
    ] = 1_000_000,
    timeout: Annotated[str, typer.Option(metavar="TIME", help="For each call, up to 10m.")] = "30s",
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
    from iii_cli.commands.bench.measuring import bench_trigger

    bench_trigger(settings_of(ctx), function, data, parallel, duration, calls, timeout, as_json=json)


@bench_app.command()
def rtt(
    ctx: typer.Context,
    duration: Duration = "3s",
    count: Annotated[int, typer.Option(metavar="N", help="Of each kind at most, up to 1000000.")] = 1_000_000,
    message_size: Annotated[str, typer.Option(metavar="SIZE", help="Of each message, up to 1M.")] = "64",
    json: AsJson = False,
) -> None:
    """Time a small message there and back: to the engine, through a call, through two channels.

    One at a time, all of it served by ourselves. Ctrl-C prints what was measured so far.

    \b
    Examples:
      iii bench rtt --duration 500ms
      iii bench rtt --count 200 --json | jq .channels.p50
    """
    from iii_cli.commands.bench.measuring import bench_rtt

    bench_rtt(settings_of(ctx), duration, count, message_size, as_json=json)

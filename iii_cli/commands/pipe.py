"""`iii pipe STAGE [STAGE ...]`."""

from __future__ import annotations

import math
import re
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace

from iii_cli.commands.channel import Jsonl, Lines, Producer, ShowProgress, Timeout
from iii_cli.commands.common import PlainCommand, run, settings_of, tell
from iii_cli.errors import FunctionFailed, StageFailed, TimedOut, UnknownTarget, UsageProblem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.client.pipe import Ends
    from iii_cli.client.streams import CallStream
    from iii_cli.config.settings import Settings
    from iii_cli.protocol.pipeline import Stage

__all__ = ("pipe_app",)

pipe_app = typer.Typer()


class _PipeCommand(PlainCommand):
    """Takes a STAGE that begins with `-n` for a STAGE, and not for an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [re.sub(r"^(-n|--namespace)(?=\s)", r" \1", word) for word in args])


@pipe_app.command(name="pipe", cls=_PipeCommand)
def pipe_command(
    ctx: typer.Context,
    stages: Annotated[
        list[str],
        typer.Argument(metavar="STAGE...", help="`[-n NS] FUNCTION [KEY=VALUE]...`, one word of the shell."),
    ],
    source: Annotated[
        str | None,
        typer.Option("--in", metavar="FILE|cmd:COMMAND", help="Feed the first stage from there. [stdin]"),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE|cmd:COMMAND",
            help="Write there; FILE appears when every stage has succeeded. [stdout]",
        ),
    ] = None,
    no_in: Annotated[bool, typer.Option("--no-in", help="The first stage reads nothing.")] = False,
    no_out: Annotated[bool, typer.Option("--no-out", help="The last stage writes nothing.")] = False,
    lines: Lines = False,
    text: Annotated[bool, typer.Option("--text", help="Output: join text messages as they are.")] = False,
    jsonl: Jsonl = False,
    require_seal: Annotated[
        bool,
        typer.Option(
            "--require-seal",
            envvar="III_REQUIRE_SEAL",
            help="Fail if the output, or the input of a served stage, was not sealed.",
        ),
    ] = False,
    results: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the results to FILE, a JSON line for each stage."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Draw stages, keys and channels, and make no call.")
    ] = False,
    timeout: Timeout = None,
    stall_timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Fail if neither our input nor our output moves for TIME. [none]"),
    ] = None,
    producer: Producer = "warn",
    progress: ShowProgress = "auto",
) -> None:
    """Pipe data through functions of several workers, as `|` does for programs.

    Stages run side by side. Data goes from worker to worker through the engine; only the first input and the
    last output are ours. KEY=< is where a stage gets the reader of what comes in, KEY=> the writer of what
    goes out; else its published schema says so, else they are `stdin` and `stdout`. A first stage with a
    writer only is a source, and stdin is not read; a last one with a reader only is a sink.

    Exit 0 means that every call succeeded, that our output was verified as far as it was sealed, and that
    every filter of `iii serve` verified its input. A stage of an SDK that does not check seals takes a cut
    for an end, and succeeds; only the call of the stage before it tells. A failure names the stage that it
    began in.

    When one stage fails all streams are aborted; calls that do not end within 5 seconds are named and left
    running. A stage that answers while the one before it still writes, 10 seconds later, is a failure too.
    A stage must open its ends within 5 minutes of the start, or the engine sweeps them away. --require-seal
    names, in one line, the stages that do not say whether their input was sealed.

    \b
    Examples:
      iii pipe text::sort text::gzip < links.csv > links.gz
      iii pipe text::sort 'bulk-importer::import_csv reader=<' < links.csv
      iii pipe 'llm::chat prompt=hi stream=>' -o hi.txt --text
      iii pipe text::sort 'text::gzip level=9' --dry-run
    """
    from iii_cli.protocol.pipeline import draw, parse_stages, plan
    from iii_cli.protocol.records import asked_mode
    from iii_cli.protocol.refs import Direction

    began = time.monotonic()
    mode = asked_mode(lines=lines, text=text, jsonl=jsonl)
    settings = settings_of(ctx)
    parsed = parse_stages(stages, settings.namespace)
    places = plan(parsed, _look_up(settings, parsed), no_in=no_in, no_out=no_out)
    if source is not None:
        places[0].demand(Direction.READ, "--in")
    if target is not None:
        places[-1].demand(Direction.WRITE, "-o")
    if dry_run:
        from iii_cli.io.console import clean, emit

        drawn = draw(places, source or "standard input", target or "standard output")
        emit(clean(drawn, keep_newlines=True))
        return

    import json
    import sys
    from contextlib import ExitStack

    import anyio

    from iii_cli.client.channels import CHANNEL_BUFFER
    from iii_cli.client.connection import open_connection
    from iii_cli.client.pipe import Pipe
    from iii_cli.client.streams import frame_bytes
    from iii_cli.commands.streams import limits_of, message_output, watch_producers
    from iii_cli.commands.trigger import traceparent
    from iii_cli.commands.trigger_streams import (
        StreamSpec,
        input_stream,
        meter_of,
        open_sink,
        open_sources,
        output_stream,
    )
    from iii_cli.io.outfile import open_output, share_a_file
    from iii_cli.io.progress import Progress, progress_mode

    # Everything local first: a call that was made cannot be taken back.
    limits = limits_of(timeout, stall_timeout)
    given = StreamSpec("--in", (), source or "-") if Direction.READ in places[0].keys else None
    taken = StreamSpec("--out", (), target or "-") if Direction.WRITE in places[-1].keys else None
    on_screen = taken is not None and taken.is_standard and sys.stdout is not None and sys.stdout.isatty()
    shown = Progress(progress_mode(progress, data_on_terminal=on_screen), color=settings.use_color(True))
    if limits.stall is not None and given is None and taken is None:
        raise UsageProblem("--stall-timeout is about our own streams, and there are none")
    if given is not None and given.is_standard and settings.stdin_taken:
        raise UsageProblem("--token-file - and the data cannot both be read from standard input")
    if share_a_file([name for name in (target, results) if name not in (None, "-")]):
        raise UsageProblem("-o and --results cannot write to the same FILE")
    kept = None if results is None else open_output(results)
    sink = None if taken is None else open_sink(taken, no_clobber=False, keep_partial=False)
    files = [each for each in (kept, sink) if each is not None]

    def read_ours(ends: Ends) -> CallStream:
        assert given is not None
        seal, longest = True if places[0].served else None, frame_bytes(CHANNEL_BUFFER)
        return input_stream(
            settings.endpoint, given, sources, ended, ends,
            mode=mode, seal=seal, longest=longest, pass_on=False, stdin_taken=settings.stdin_taken,
        )  # fmt: skip

    def write_ours(ends: Ends) -> CallStream:
        assert taken is not None
        return output_stream(
            settings.endpoint, taken, sink, theirs=ends[0], ours=ends[1], mode=mode, message=show_message,
            require_seal=require_seal, allow_empty=False, stop_early=False, pass_on=False,
        )  # fmt: skip

    async def keep(values: list[Any]) -> None:
        if kept is not None:
            for place, value in zip(places, values, strict=True):
                row = {"stage": place.number, "function": place.function_id, "result": value}
                await kept.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")

    async def run_it() -> None:
        whole, since = limits.whole, anyio.current_time() - (time.monotonic() - began)
        deadline = math.inf if whole is None else since + whole

        def opened() -> None:
            opening.deadline = math.inf
            for stream in pipe.streams:
                shown.add(meter_of(stream, pipe.streams, labelled=True))

        try:
            with anyio.CancelScope(deadline=deadline) as opening:
                async with open_connection(settings.endpoint) as connection, shown:
                    for each in files:
                        await each.open()
                    pipe = Pipe(
                        connection,
                        settings.endpoint,
                        places,
                        notice=tell,
                        traceparent=traceparent(begin=False),
                        require_seal=require_seal,
                    )
                    await pipe.run(
                        read_ours if given else None,
                        write_ours if taken else None,
                        opened=opened,
                        answered=keep,
                        stall=limits.stall,
                        deadline=deadline,
                        whole=whole,
                    )
                    if kept is not None:
                        await kept.finish()
                    return
            raise TimedOut(f"the streams were not open within {whole:g} s")
        finally:
            for each in files:
                each.discard()

    with ExitStack() as stack:
        show_message = stack.enter_context(message_output(None, quiet=settings.quiet))
        sources = [] if given is None else open_sources(given)
        for each in sources:
            stack.callback(each.close)
            if each.is_terminal:
                tell("reading from the terminal; Ctrl-D ends it")
        ended = watch_producers(producer, sources)
        run(run_it)


def _look_up(settings: Settings, stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """What the engine knows of each function. Raises StageFailed, with the nearest name."""
    from iii_cli.commands.listing import find_function

    infos = []
    for number, stage in enumerate(stages, 1):
        try:
            infos.append(find_function(replace(settings, namespace=stage.home), stage.function_id))
        except (UnknownTarget, FunctionFailed) as failure:
            raise StageFailed(number, stage.function_id, failure) from None
    return infos

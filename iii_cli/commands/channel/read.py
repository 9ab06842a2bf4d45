"""What `iii channel read` does with its options."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from iii_cli.client.channels import ChannelReader
from iii_cli.client.transfer import CONNECTING, Limits, ReadOrder, opened_within, read_stream
from iii_cli.commands.channel.message_door import NO_FILES, MessageDoor
from iii_cli.commands.common import find_ref, opening, run, tell
from iii_cli.commands.spawning import spawn
from iii_cli.commands.stream_progress import conclude_read, mode_for, progress_of_read, say_early
from iii_cli.config.settings import seconds
from iii_cli.errors import UsageProblem
from iii_cli.io.console import stdout_is_terminal
from iii_cli.io.process import PIPE, ConsumerSink, prepare_command
from iii_cli.io.sinks import open_output, share_a_file
from iii_cli.protocol.records import asked_mode
from iii_cli.protocol.refs import Direction
from iii_cli.protocol.seal import BEAT_AFTER, PEER_TIMEOUT, Mode
from iii_cli.protocol.verifier import Outcome, Verifier

if TYPE_CHECKING:
    import typer

    from iii_cli.config.refspec import ResolvedRef
    from iii_cli.io.sinks import Sink
    from iii_cli.protocol.verifier import Verdict

__all__ = ("ReadOptions", "read_channel")


class ReadOptions(Struct, frozen=True):
    """The options, as typed."""

    ref: str | None
    command: list[str] | None
    output: str | None
    no_clobber: bool
    keep_partial: bool
    lines: bool
    text: bool
    jsonl: bool
    messages: str | None
    require_seal: bool
    allow_empty: bool
    deliver_partial: bool
    stop_early: bool
    peer_timeout: str | None
    timeout: str | None
    stall_timeout: str | None
    exit_code: bool
    progress: str


def read_channel(ctx: typer.Context, options: ReadOptions) -> None:
    """Check everything local, then read the stream."""
    import anyio

    to_screen = options.output in (None, "-") and stdout_is_terminal()
    shown = mode_for(options.progress, shares_terminal=to_screen)
    mode = asked_mode(lines=options.lines, text=options.text, jsonl=options.jsonl)
    peer_timeout = _peer_timeout(options.peer_timeout)
    limits = Limits(
        whole=None if options.timeout is None else seconds(options.timeout, "--timeout"),
        stall=None if options.stall_timeout is None else seconds(options.stall_timeout, "--stall-timeout"),
    )
    _check_files(options)
    sink = _sink(options)
    given, settings = find_ref(ctx, options.ref, Direction.READ, stdin_free=True)
    verifier = Verifier(
        require_seal=options.require_seal,
        allow_empty=options.allow_empty,
        expect="messages" if mode in (Mode.LINES, Mode.TEXT) else None,
    )
    with MessageDoor(options.messages, quiet=settings.quiet) as door:
        order = ReadOrder(
            reader=ChannelReader(settings.endpoint, given.ref, verifier, peer_timeout=peer_timeout),
            sink=sink,
            endpoint=settings.endpoint,
            mode=mode,
            limits=limits,
            message=door.show,
            deliver_partial=options.deliver_partial,
            stop_early=options.stop_early,
            early=say_early,
        )
        progress = progress_of_read(shown, settings, order)

        async def read() -> Verdict | None:
            order.limits = replace(limits, since=anyio.current_time())
            await _open(order, given, options)
            async with progress:
                verdict = await _read(order, options)
                conclude_read(progress, verdict)
            return verdict

        verdict = run(read)
    _remark(verdict, mode)


async def _open(order: ReadOrder, given: ResolvedRef, options: ReadOptions) -> None:
    """Open the ends, the output first: a ref is not spent on an output that cannot be opened.

    A FIFO is opened by somebody's reading it, which the time limit does not wait for.
    """

    standing = "our output is not open yet: what should read it has not come"

    async def both() -> None:
        nonlocal standing
        if options.command is None:
            await order.sink.open()
        standing = CONNECTING
        with opening(given):
            await order.reader.open()

    try:
        await opened_within(order.limits, both, lambda span: standing)
    except BaseException:
        order.sink.discard()  # the file beside FILE
        raise


async def _read(order: ReadOrder, options: ReadOptions) -> Verdict | None:
    if options.command is None:
        return await read_stream(order)
    async with spawn(options.command, stdin=PIPE) as child:

        async def ended_well() -> None:
            await child.wait()
            failure = child.failure(pass_on=options.exit_code)
            if failure is not None:
                raise failure

        order.sink = ConsumerSink(child)
        order.beside = order.conclude = ended_well
        return await read_stream(order)


def _peer_timeout(text: str | None) -> float | None:
    """None: no limit. One within a beat would call a writer gone that only has nothing to say."""
    span = PEER_TIMEOUT if text is None else seconds(text, "--peer-timeout")
    if span is not None and span <= BEAT_AFTER:
        raise UsageProblem(
            f"--peer-timeout is more than {BEAT_AFTER:g}s, the time between two beats of a writer"
        )
    return span


def _check_files(options: ReadOptions) -> None:
    """Data and messages in one file would be neither; a device takes both."""
    output, messages = options.output, options.messages
    if output in (None, "-") and (options.no_clobber or options.keep_partial):
        raise UsageProblem("--no-clobber and --keep-partial are about a FILE; they need -o FILE")
    if messages is not None and (options.lines or options.text or options.jsonl):
        raise UsageProblem("--lines, --text and --jsonl show the messages themselves; leave --messages out")
    if output in (None, "-") or messages in (None, *NO_FILES):
        return
    if share_a_file([output, messages]) and (os.path.isfile(output) or not os.path.exists(output)):
        raise UsageProblem("-o and --messages cannot write to the same FILE")


def _sink(options: ReadOptions) -> Sink:
    if options.command is None:
        if options.exit_code or options.deliver_partial or options.stop_early:
            raise UsageProblem("--exit-code, --deliver-partial and --stop-early need a COMMAND behind `--`")
        return open_output(options.output, no_clobber=options.no_clobber, keep_partial=options.keep_partial)
    if options.stop_early and options.require_seal:
        raise UsageProblem("--stop-early verifies nothing, and --require-seal wants it verified")
    if options.output is not None:
        raise UsageProblem("either -o FILE or a COMMAND behind `--`")
    prepare_command(options.command)
    return open_output("-")  # stands in until the COMMAND runs


def _remark(verdict: Verdict | None, mode: Mode | None) -> None:
    if verdict is None or verdict.outcome is not Outcome.FOREIGN:
        return
    tell(verdict.text)
    if mode in (Mode.LINES, Mode.TEXT) and verdict.figures.bytes:
        tell(f"{verdict.figures.bytes} bytes beside the messages were not shown; --jsonl shows both")

"""What `iii channel write` does with its options."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from iii_cli.client.identity import new_stream_id
from iii_cli.client.limits import Limits, opened_within
from iii_cli.client.sending import WriteOrder, write_stream
from iii_cli.client.writer import ChannelWriter
from iii_cli.commands.channel.given_ref import find_ref, opening
from iii_cli.commands.producing import watch_producers
from iii_cli.commands.running import run, tell
from iii_cli.commands.spawning import spawn
from iii_cli.commands.stream_progress import conclude_write, mode_for, progress_of_write
from iii_cli.config.quantities import byte_count, seconds
from iii_cli.errors import UsageProblem
from iii_cli.terminal.children import PIPE, prepare_command
from iii_cli.terminal.descriptors import is_standard
from iii_cli.terminal.sources import Source
from iii_cli.wire.figures import DIGESTS
from iii_cli.wire.records import asked_mode
from iii_cli.wire.ref import Direction
from iii_cli.wire.seal import RECEIPT_BEAT, RECEIPT_TIMEOUT, Mode
from iii_cli.wire.sealing import Sealer
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    import typer

    from iii_cli.client.receipts import AwaitedReceipt
    from iii_cli.wire.address import Endpoint
    from iii_cli.wire.ref import ChannelRef

__all__ = ("WriteOptions", "limits_of", "write_channel")


RECEIPT_BUFFER = 4  # messages: beats and a receipt, which the writer takes at once


class WriteOptions(Value):
    """The options, as typed."""

    ref: str | None
    files: list[str]
    command: list[str] | None
    lines: bool
    jsonl: bool
    seal: bool
    digest: str
    size: str | None
    receipt: bool
    receipt_timeout: str | None
    timeout: str | None
    stall_timeout: str | None
    exit_code: bool
    producer: str
    progress: str


def write_channel(ctx: typer.Context, options: WriteOptions) -> None:
    """Check everything local, then write the stream."""
    import anyio

    shown = mode_for(options.progress)
    mode = asked_mode(lines=options.lines, jsonl=options.jsonl) or Mode.BYTES
    limits = limits_of(options)
    receipt_timeout = (
        RECEIPT_TIMEOUT
        if options.receipt_timeout is None
        else seconds(options.receipt_timeout, "--receipt-timeout")
    )
    _check(options)
    promised = _promised(options, mode)
    sources = _sources(options)
    size = _size(sources, promised)
    conclude = watch_producers(options.producer, sources)
    from_stdin = options.command is None and (
        not options.files or any(is_standard(file, 0) for file in options.files)
    )
    given, settings = find_ref(ctx, options.ref, Direction.WRITE, stdin_free=not from_stdin)
    if from_stdin and sources[0].is_terminal:
        shown = mode_for(options.progress, shares_terminal=True)
        tell("reading from the terminal; Ctrl-D ends it")
    endpoint = settings.endpoint
    began = time.monotonic()
    receipt, receipt_ref = None, None
    if options.receipt:
        receipt, receipt_ref = _receipt(endpoint, receipt_timeout, limits.whole)
    sealer = None
    if options.seal:
        hint = size if mode is Mode.BYTES else None
        sealer = Sealer(
            new_stream_id(),
            mode=mode,
            digest=options.digest,
            size=hint,
            receipt=receipt_ref,
            receipt_beat=None if receipt_ref is None else RECEIPT_BEAT,
        )
    writers = {"the engine": ChannelWriter(endpoint, given.ref, sealer)}
    order = WriteOrder(
        writer=writers["the engine"],
        sources=sources,
        mode=mode,
        size=promised,
        limits=limits,
        receipt=receipt,
        conclude=conclude,
    )
    progress = progress_of_write(shown, settings, order, writers, size)

    async def open_end() -> None:
        with opening(given):
            await order.writer.open()

    async def write() -> None:
        order.limits = limits.replace(since=anyio.current_time() - (time.monotonic() - began))
        await opened_within(order.limits, open_end)
        async with progress:
            await _write(order, options)
            conclude_write(progress, order, writers)

    run(write)


async def _write(order: WriteOrder, options: WriteOptions) -> None:
    if options.command is None:
        await write_stream(order)
        return
    async with spawn(options.command, stdout=PIPE) as child:
        assert child.stdout is not None

        async def conclude() -> None:
            await child.wait()
            failure = child.failure(pass_on=options.exit_code)
            if failure is not None:
                raise failure

        order.sources = [child.stdout]
        order.conclude = conclude
        await write_stream(order)


def _receipt(
    endpoint: Endpoint, limit: float | None, whole: float | None
) -> tuple[AwaitedReceipt, ChannelRef]:
    """A second channel: its reader end, and the writer ref that the open frame carries.

    `limit` is on the wait for the receipt, `whole` on all that the command does, in seconds.
    """
    from iii_cli.client.call import (  # a tenth of the start of a write, and few ask for one
        CALL_SECONDS,
        create_channel,
    )
    from iii_cli.client.reader import ChannelReader
    from iii_cli.client.receipts import AwaitedReceipt

    limited = whole is not None
    writer_ref, reader_ref = create_channel(
        endpoint, RECEIPT_BUFFER, timeout=whole if limited else CALL_SECONDS, whole=limited
    )
    reader = ChannelReader(endpoint, reader_ref)
    return AwaitedReceipt(reader, limit, will_not_confirm=_say_no_confirmation), writer_ref


def _say_no_confirmation() -> None:
    tell("note: the reader cannot confirm this stream (its output is a pipe)")


def _check(options: WriteOptions) -> None:
    if options.receipt and not options.seal:
        raise UsageProblem("--receipt needs the seal; leave --no-seal out")
    if options.digest not in DIGESTS:
        raise UsageProblem(f"--digest is {' or '.join(DIGESTS)}")
    if options.command is not None and options.files:
        raise UsageProblem("either FILEs or a COMMAND behind `--`")
    if options.exit_code and options.command is None:
        raise UsageProblem("--exit-code needs a COMMAND behind `--`")


def _sources(options: WriteOptions) -> list[Source]:
    """Open what can be opened, and find the COMMAND, before an end is taken."""
    if options.command is not None:
        prepare_command(options.command)
        return []
    if not options.files:
        return [Source.stdin()]
    return [Source.stdin() if name == "-" else Source.open_file(name) for name in options.files]


def _promised(options: WriteOptions, mode: Mode) -> int | None:
    if options.size is None:
        return None
    if mode is not Mode.BYTES:
        raise UsageProblem("--size counts bytes; it cannot be combined with --lines and --jsonl")
    return byte_count(options.size, "--size")


def _size(sources: list[Source], promised: int | None) -> int | None:
    """How much will come, as far as it is known. Raises UsageProblem where that is not what was promised."""
    sizes = [source.size for source in sources]
    known = sum(size or 0 for size in sizes) if sizes and None not in sizes else None
    if None not in (known, promised) and known != promised:
        raise UsageProblem(f"the input has {known} bytes, --size promises {promised}")
    return promised if known is None else known


def limits_of(options: WriteOptions) -> Limits:
    """The time limits that the options name."""
    return Limits(
        whole=None if options.timeout is None else seconds(options.timeout, "--timeout"),
        stall=None if options.stall_timeout is None else seconds(options.stall_timeout, "--stall-timeout"),
    )

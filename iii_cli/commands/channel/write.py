"""What `iii channel write` and `tee` do with their options."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from iii_cli.client.call import new_stream_id
from iii_cli.client.channels import AwaitedReceipt, ChannelWriter, ConfirmedWriter
from iii_cli.client.transfer import Branch, FanOut, Limits, WriteOrder, opened_within, write_stream
from iii_cli.commands.common import find_ref, mark_used, opening, run, tell
from iii_cli.commands.producing import watch_producers
from iii_cli.commands.spawning import spawn
from iii_cli.commands.stream_progress import conclude_write, mode_for, progress_of_write
from iii_cli.config.settings import byte_count, seconds
from iii_cli.errors import UsageProblem, gravest
from iii_cli.io.console import talk
from iii_cli.io.descriptors import is_standard
from iii_cli.io.process import PIPE, prepare_command
from iii_cli.io.sources import Source
from iii_cli.protocol.records import asked_mode
from iii_cli.protocol.refs import Direction
from iii_cli.protocol.seal import DIGESTS, RECEIPT_BEAT, RECEIPT_TIMEOUT, Mode, Sealer

if TYPE_CHECKING:
    import typer

    from iii_cli.config.refspec import ResolvedRef
    from iii_cli.config.settings import Settings
    from iii_cli.protocol.refs import ChannelRef

__all__ = ("WriteOptions", "limits_of", "write_channels")


RECEIPT_BUFFER = 4  # messages: beats and a receipt, which the writer takes at once


class WriteOptions(Struct, frozen=True):
    """The options, as typed."""

    refs: list[str | None]
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


class _End(Struct, frozen=True):
    """A writer end, as it was found. `name` holds no key."""

    name: str
    given: ResolvedRef
    settings: Settings


def write_channels(ctx: typer.Context, options: WriteOptions) -> None:
    """Check everything local, then write the stream into every channel that was named."""
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
    stdin_free = not from_stdin and len(options.refs) == 1
    ends = [
        _End(_shown(text, number), *find_ref(ctx, text, Direction.WRITE, stdin_free=stdin_free))
        for number, text in enumerate(options.refs, start=1)
    ]
    if from_stdin and sources[0].is_terminal:
        shown = mode_for(options.progress, shares_terminal=True)
        tell("reading from the terminal; Ctrl-D ends it")
    began = time.monotonic()

    receipts: list[AwaitedReceipt] = []

    def writer_of(end: _End) -> ChannelWriter:
        endpoint, ref = end.settings.endpoint, end.given.ref
        if not options.receipt:
            return ChannelWriter(endpoint, ref, sealer_of(None) if options.seal else None)
        receipt, receipt_ref = _receipt(end, receipt_timeout, limits.whole, told_apart=len(ends) > 1)
        receipts.append(receipt)
        return ConfirmedWriter(endpoint, ref, sealer_of(receipt_ref), receipt)

    def sealer_of(receipt: ChannelRef | None) -> Sealer:
        return Sealer(
            new_stream_id(),
            mode=mode,
            digest=options.digest,
            size=size if mode is Mode.BYTES else None,
            receipt=receipt,
            receipt_beat=None if receipt is None else RECEIPT_BEAT,
        )

    branches = [Branch(end.name, writer_of(end)) for end in ends]
    fan = FanOut(branches) if len(branches) > 1 else None
    order = WriteOrder(
        writer=fan or branches[0].writer,
        sources=sources,
        mode=mode,
        size=promised,
        conclude=conclude,
    )
    progress = progress_of_write(shown, ends[0].settings, order, branches, receipts, size)

    async def open_ends() -> None:
        if fan is None:
            with opening(ends[0].given):
                await order.writer.open()
            return
        await fan.open()
        for end, branch in zip(ends, branches, strict=True):
            if branch.failure is None:
                mark_used(end.given)

    async def write() -> None:
        import anyio

        order.limits = replace(limits, since=anyio.current_time() - (time.monotonic() - began))
        try:
            await opened_within(order.limits, open_ends)
            async with progress:
                await _write(order, options)
                figures = next(each.writer.figures for each in branches if each.failure is None)
                conclude_write(progress, figures, confirmed=options.receipt)
        finally:
            if fan is not None:
                _say_which(fan)
        if fan is not None and fan.failures:
            raise gravest(fan.failures).about(f"{len(fan.failures)} of {len(branches)} channels failed")

    run(write)


def _say_which(fan: FanOut) -> None:
    for branch in fan.branches:
        if branch.failure is not None:
            talk.tell(f"{branch.name}: {branch.failure.message}")  # an error, which -q does not silence


def _shown(text: str | None, number: int) -> str:
    """A name that holds no key."""
    return text if text and text.startswith(("@", "env:", "file:")) else f"REF {number}"


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
    end: _End, limit: float | None, whole: float | None, *, told_apart: bool
) -> tuple[AwaitedReceipt, ChannelRef]:
    """A second channel: its reader end, and the writer ref that the open frame carries.

    `limit` is on the wait for the receipt, `whole` on all that the command does, in seconds.
    """
    from iii_cli.client.call import (  # a tenth of the start of a write, and few ask for one
        CALL_SECONDS,
        create_channel,
    )
    from iii_cli.client.channels import ChannelReader

    endpoint, limited = end.settings.endpoint, whole is not None
    writer_ref, reader_ref = create_channel(
        endpoint, RECEIPT_BUFFER, timeout=whole if limited else CALL_SECONDS, whole=limited
    )

    def will_not_confirm() -> None:
        reader = f"the reader of {end.name}" if told_apart else "the reader"
        tell(f"note: {reader} cannot confirm this stream (its output is a pipe)")

    reader = ChannelReader(endpoint, reader_ref)
    return AwaitedReceipt(reader, limit, will_not_confirm=will_not_confirm), writer_ref


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

"""`iii channel create | write | tee | read`."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iii_cli.commands.common import (
    KeepPartial,
    Messages,
    NoClobber,
    PassthroughCommand,
    PassToken,
    check_buffer,
    choice,
    find_ref,
    hand_over_token,
    mark_used,
    opening,
    passthrough_of,
    run,
    settings_of,
    span_of,
    tell,
)
from iii_cli.errors import UsageProblem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from iii_cli.client.receipts import ConfirmedWriter
    from iii_cli.client.transfer import Branch
    from iii_cli.config.settings import Settings
    from iii_cli.io.progress import Progress
    from iii_cli.io.sinks import Sink
    from iii_cli.io.sources import Source
    from iii_cli.protocol.refs import ChannelRef
    from iii_cli.protocol.seal import Mode, Sealer
    from iii_cli.protocol.verifier import Verdict

__all__ = ("Jsonl", "Lines", "Producer", "ShowProgress", "Timeout", "channel_app")

channel_app = typer.Typer(no_args_is_help=True, help="Make channels, write into them and read from them.")

Ref = Annotated[str | None, typer.Argument(metavar="[REF]", help="@NAME, a token, env:NAME, file:PATH or -.")]
Timeout = Annotated[
    str | None, typer.Option(metavar="TIME", help="Fail after TIME in total: 500ms, 30s, 5m.")
]
Stall = Annotated[str | None, typer.Option(metavar="TIME", help="Fail if no data moves for TIME.")]
ShowProgress = Annotated[str, typer.Option(metavar="auto|always|never|json", help="Show progress on stderr.")]
ExitCode = Annotated[bool, typer.Option("--exit-code", help="Exit with COMMAND's own exit code.")]
StopEarly = Annotated[
    bool,
    typer.Option(
        "--stop-early", help="Stop when COMMAND wants no more; the rest is neither read nor verified."
    ),
]
Producer = Annotated[
    str,
    typer.Option(
        "--producer",
        metavar="warn|strict|ignore",
        envvar="III_PRODUCER",
        help="What to do if the program before the pipe fails.",
    ),
]
Digest = Annotated[str, typer.Option(metavar="xxh3_128|sha256", help="Digest algorithm of the seal.")]
ReceiptTimeout = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Wait up to TIME for the confirmation. [60s]"),
]
Lines = Annotated[bool, typer.Option("--lines", help="Lines are text messages.")]
Jsonl = Annotated[bool, typer.Option("--jsonl", help='Lines are frames: {"text":…} or {"base64":…}.')]


@channel_app.command()
def create(
    ctx: typer.Context,
    buffer: Annotated[
        int | None, typer.Option(metavar="N", help="Messages that the engine buffers. [64]")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the engine's own object.")] = False,
    export: Annotated[
        bool, typer.Option("--export", help="Print lines for eval: III_WRITER, III_READER.")
    ] = False,
    only: Annotated[str | None, typer.Option(metavar="writer|reader", help="Print one token alone.")] = None,
    save: Annotated[str | None, typer.Option(metavar="NAME", help="Save both ends as @NAME.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace a saved name that is not used yet.")
    ] = False,
) -> None:
    """Make a channel and print the refs of its two ends.

    A ref is a secret and is good for one use within 5 minutes. --save alone prints nothing.

    \b
    Examples:
      iii channel create --save backup
      eval "$(iii channel create --export)"
    """
    from iii_cli.client.call import create_channel
    from iii_cli.config.store import SavedRef, SavedRefs, absolute

    settings = settings_of(ctx)
    if sum((json, export, only is not None)) > 1:
        raise UsageProblem("one of --json, --export and --only is enough")
    choice(only, "--only", ("writer", "reader"))
    check_buffer(buffer)
    store = SavedRefs()
    if save is not None:
        save = save.removeprefix("@")
        store.check_free(save, force=force)
    writer, reader = create_channel(settings.endpoint, buffer)
    if save is not None:
        saved = SavedRef(
            name=save,
            channel_id=writer.channel_id,
            access_key=writer.access_key,
            engine_url=settings.endpoint.address.full_url,
            created_at=store.now(),
            buffer=buffer,
            tls=absolute(settings.endpoint.tls),
        )
        store.save(saved, force=force)
    if json:
        from json import dumps

        text = dumps({"writer": writer.to_json(), "reader": reader.to_json()}, indent=2) + "\n"
    elif export:
        text = f"export III_WRITER={writer.to_token()}\nexport III_READER={reader.to_token()}\n"
    elif only is not None:
        text = f"{(writer if only == 'writer' else reader).to_token()}\n"
    else:
        text = "" if save else f"writer\t{writer.to_token()}\nreader\t{reader.to_token()}\n"
    sys.stdout.write(text)


@channel_app.command(cls=PassthroughCommand)
def write(
    ctx: typer.Context,
    ref: Ref = None,
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="Read FILEs instead of stdin.")
    ] = None,
    lines: Lines = False,
    jsonl: Jsonl = False,
    no_seal: Annotated[bool, typer.Option("--no-seal", help="Send the bytes without a seal.")] = False,
    digest: Digest = "xxh3_128",
    size: Annotated[
        str | None,
        typer.Option(metavar="BYTES", help="Promise exactly BYTES; any other count aborts the stream."),
    ] = None,
    receipt: Annotated[
        bool, typer.Option("--receipt", help="Wait until the reader confirms that it has the data.")
    ] = False,
    receipt_timeout: ReceiptTimeout = None,
    timeout: Timeout = None,
    stall_timeout: Stall = None,
    exit_code: ExitCode = False,
    producer: Producer = "warn",
    pass_token: PassToken = False,
    progress: ShowProgress = "auto",
) -> None:
    """Write stdin, FILEs or the output of COMMAND into a channel.

    A COMMAND that fails aborts the stream, which the reader sees. A program before a pipe is watched where
    the system can tell how it ended: death by a signal aborts, another failure is a line (--producer).

    \b
    Examples:
      iii channel write @backup --receipt -- pg_dump db
      iii channel write @x < big.csv
    """
    from iii_cli.protocol.records import asked_mode
    from iii_cli.protocol.seal import Mode
    from iii_cli.quantities import byte_count

    if receipt and no_seal:
        raise UsageProblem("--receipt needs the seal; leave --no-seal out")
    hand_over_token(pass_token, to_command=passthrough_of(ctx) is not None)
    mode = asked_mode(lines=lines, jsonl=jsonl) or Mode.BYTES
    if size is not None and mode is not Mode.BYTES:
        raise UsageProblem("--size counts bytes; it cannot be combined with --lines and --jsonl")
    _write(
        ctx,
        [ref],
        files or [],
        mode,
        digest=None if no_seal else digest,
        promised=None if size is None else byte_count(size, "--size"),
        **_shared(ctx),
    )


@channel_app.command(cls=PassthroughCommand)
def tee(
    ctx: typer.Context,
    refs: Annotated[list[str], typer.Argument(metavar="REF...", help="Writer refs.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="FILE", help="Read FILE instead of stdin.")
    ] = None,
    lines: Lines = False,
    digest: Digest = "xxh3_128",
    receipt: Annotated[
        bool, typer.Option("--receipt", help="Wait until each reader confirms that it has the data.")
    ] = False,
    receipt_timeout: ReceiptTimeout = None,
    timeout: Timeout = None,
    stall_timeout: Stall = None,
    exit_code: ExitCode = False,
    producer: Producer = "warn",
    pass_token: PassToken = False,
    progress: ShowProgress = "auto",
) -> None:
    """Write stdin, FILE or the output of COMMAND into several channels, each a sealed stream of its own.

    A reader that dies stops none of the others; the exit code and a line say which failed.

    \b
    Examples:
      iii channel tee @here @there --receipt -- pg_dump db
      iii channel tee @here @there --from big.csv
      tail -f app.log | iii channel tee --lines @one @two
    """
    from iii_cli.protocol.seal import Mode

    hand_over_token(pass_token, to_command=passthrough_of(ctx) is not None)
    _write(
        ctx,
        refs,
        [] if source is None else [source],
        Mode.LINES if lines else Mode.BYTES,
        digest=digest,
        promised=None,
        **_shared(ctx),
    )


def _shared(ctx: typer.Context) -> dict[str, Any]:
    """The options that `write` and `tee` only hand on, by the names that they have here and there."""
    names = ("receipt", "receipt_timeout", "timeout", "stall_timeout", "exit_code", "producer", "progress")
    return {name: ctx.params[name] for name in names}


def _write(
    ctx: typer.Context,
    refs: Sequence[str | None],
    files: list[str],
    mode: Mode,
    *,
    digest: str | None,
    promised: int | None,
    receipt: bool,
    receipt_timeout: str | None,
    timeout: str | None,
    stall_timeout: str | None,
    exit_code: bool,
    producer: str,
    progress: str,
) -> None:
    """Check everything local, then write one stream into every channel. Without a `digest` it has no seal."""
    from iii_cli.client.call import new_stream_id
    from iii_cli.client.channels import ChannelWriter
    from iii_cli.client.transfer import Branch, FanOut, UploadStatus, opened_within, upload
    from iii_cli.commands.streams import giving, limits_of, transfer_meter, watch_producers
    from iii_cli.errors import gravest
    from iii_cli.io.console import console
    from iii_cli.io.descriptors import is_standard
    from iii_cli.io.process import prepare_command
    from iii_cli.io.progress import Progress, progress_mode
    from iii_cli.io.sources import Source
    from iii_cli.protocol.refs import Direction
    from iii_cli.protocol.seal import DIGESTS, RECEIPT_TIMEOUT, Mode, Sealer

    # Everything local first: an end is good for one use.
    limits = limits_of(timeout, stall_timeout)
    mode_shown = progress_mode(progress)
    patience = span_of(receipt_timeout, "--receipt-timeout", RECEIPT_TIMEOUT)
    command = passthrough_of(ctx)
    choice(digest, "--digest", tuple(DIGESTS))
    if command is not None and files:
        raise UsageProblem("either FILEs or a COMMAND behind `--`")
    if exit_code and command is None:
        raise UsageProblem("--exit-code needs a COMMAND behind `--`")
    inputs = [] if command is not None else files or ["-"]
    if command is not None:
        prepare_command(command)
    sources = [Source.stdin() if name == "-" else Source.open_file(name) for name in inputs]
    size = _known_size(sources, promised)
    producers_ended = watch_producers(producer, sources)
    from_stdin = any(is_standard(name, 0) for name in inputs)
    stdin_free = not from_stdin and len(refs) == 1
    ends = [find_ref(ctx, text, Direction.WRITE, stdin_free=stdin_free) for text in refs]
    if from_stdin and sources[0].is_terminal:
        mode_shown = progress_mode(progress, data_on_terminal=True)
        tell("reading from the terminal; Ctrl-D ends it")
    began = time.monotonic()

    seal = None
    if digest is not None:
        seal = partial(Sealer, mode=mode, digest=digest, size=size if mode is Mode.BYTES else None)
    branches: list[Branch] = []
    confirming: list[ConfirmedWriter] = []
    for number, (text, (given, settings)) in enumerate(zip(refs, ends, strict=True), start=1):
        # A name that holds no key.
        name = text if text and text.startswith(("@", "env:", "file:")) else f"REF {number}"
        if seal is not None and receipt:
            reader = "the reader" if len(refs) == 1 else f"the reader of {name}"
            confirming.append(_confirmed_writer(settings, given.ref, seal, reader, patience, limits.whole))
            branches.append(Branch(name, confirming[-1]))
        else:
            sealer = None if seal is None else seal(new_stream_id())
            branches.append(Branch(name, ChannelWriter(settings.endpoint, given.ref, sealer)))
    fan = FanOut(branches) if len(branches) > 1 else None
    writer = fan or branches[0].writer
    status = UploadStatus({branch.name: branch.writer for branch in branches})
    confirmed = (lambda: min(each.confirmed or 0 for each in confirming)) if confirming else None
    shown = Progress(
        mode_shown, transfer_meter(status, total=size, confirmed=confirmed), color=ends[0][1].use_color(True)
    )

    async def open_ends() -> None:
        if fan is None:
            with opening(ends[0][0]):
                await writer.open()
            return
        await fan.open()
        for (given, _), branch in zip(ends, branches, strict=True):
            if branch.failure is None:
                mark_used(given)

    async def write_stream() -> None:
        import anyio
        from msgspec.structs import replace

        whole = replace(limits, since=anyio.current_time() - (time.monotonic() - began))
        try:
            await opened_within(whole, open_ends)
            async with shown:
                async with giving(sources, producers_ended, command, pass_on=exit_code) as (given, check_end):
                    await upload(
                        given,
                        writer,
                        mode=mode,
                        size=promised,
                        limits=whole,
                        status=status,
                        check_end=check_end,
                    )
                figures = next(each.writer.figures for each in branches if each.failure is None)
                shown.conclude(
                    digest=None if figures is None else figures.digest,
                    verified=receipt,
                    words=["confirmed by the reader" if receipt else "not confirmed by the reader"],
                )
        finally:
            for branch in branches:
                if fan is not None and branch.failure is not None:
                    # An error, which -q does not silence.
                    console.tell(f"{branch.name}: {branch.failure.message}")
        if fan is not None and fan.failures:
            raise gravest(fan.failures).about(f"{len(fan.failures)} of {len(branches)} channels failed")

    run(write_stream)


RECEIPT_BUFFER = 4  # messages: beats and a receipt, which the writer takes at once


def _confirmed_writer(
    settings: Settings,
    ref: ChannelRef,
    seal: Callable[..., Sealer],
    reader_name: str,
    patience: float | None,
    whole: float | None,
) -> ConfirmedWriter:
    """A writer with a second channel, whose writer ref the open frame carries.

    `patience` is for the receipt, `whole` for all that the command does, in seconds.
    """
    from iii_cli.client.call import CALL_SECONDS, create_channel, new_stream_id
    from iii_cli.client.channels import ChannelReader
    from iii_cli.client.receipts import ConfirmedWriter
    from iii_cli.protocol.seal import RECEIPT_BEAT

    limited = whole is not None
    writer_ref, reader_ref = create_channel(
        settings.endpoint, RECEIPT_BUFFER, timeout=whole if limited else CALL_SECONDS, whole=limited
    )

    def will_not_confirm() -> None:
        tell(f"note: {reader_name} cannot confirm this stream (its output is a pipe)")

    sealer = seal(new_stream_id(), receipt=writer_ref, receipt_beat=RECEIPT_BEAT)
    receipt = ChannelReader(settings.endpoint, reader_ref)
    return ConfirmedWriter(
        settings.endpoint, ref, sealer, receipt, patience, will_not_confirm=will_not_confirm
    )


def _known_size(sources: Sequence[Source], promised: int | None) -> int | None:
    """How much will come, as far as it is known. Raises UsageProblem where that is not what was promised."""
    sizes = [source.size for source in sources]
    known = sum(size or 0 for size in sizes) if sizes and None not in sizes else None
    if None not in (known, promised) and known != promised:
        raise UsageProblem(f"the input has {known} bytes, --size promises {promised}")
    return promised if known is None else known


@channel_app.command(cls=PassthroughCommand)
def read(
    ctx: typer.Context,
    ref: Ref = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="FILE|-", help="Write to FILE, which appears when complete. [stdout]"
        ),
    ] = None,
    no_clobber: NoClobber = False,
    keep_partial: KeepPartial = False,
    lines: Lines = False,
    text: Annotated[bool, typer.Option("--text", help="Join text messages as they are.")] = False,
    jsonl: Jsonl = False,
    messages: Messages = None,
    require_seal: Annotated[
        bool,
        typer.Option(
            "--require-seal", envvar="III_REQUIRE_SEAL", help="Fail if the stream cannot be verified."
        ),
    ] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Accept an empty stream.")] = False,
    deliver_partial: Annotated[
        bool, typer.Option("--deliver-partial", help="Close COMMAND's stdin even if the stream was cut.")
    ] = False,
    stop_early: StopEarly = False,
    peer_timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Give up if no byte, not even a heartbeat, comes for TIME. [60s]"),
    ] = None,
    timeout: Timeout = None,
    stall_timeout: Stall = None,
    exit_code: ExitCode = False,
    pass_token: PassToken = False,
    progress: ShowProgress = "auto",
) -> None:
    """Read a channel to stdout, into FILE or into COMMAND; exit 0 means that every byte arrived.

    A stream that cannot be verified (its writer is not ours) ends with 0 and one line that says so. When
    COMMAND ends with 0 before the stream does, the rest is read and verified all the same.

    \b
    Examples:
      iii channel read @backup -o db.sql
      iii channel read @x -- tar x
    """
    from iii_cli.client.channels import ChannelReader
    from iii_cli.client.transfer import CONNECTING, DownloadStatus, download, opened_within
    from iii_cli.commands.streams import (
        check_stop_early,
        limits_of,
        message_output,
        say_early,
        taking,
        transfer_meter,
    )
    from iii_cli.io.console import stdout_is_terminal
    from iii_cli.io.progress import Progress, progress_mode
    from iii_cli.protocol.records import asked_mode
    from iii_cli.protocol.refs import Direction
    from iii_cli.protocol.seal import BEAT_AFTER, PEER_TIMEOUT, Mode
    from iii_cli.protocol.verifier import Outcome, Verifier

    command = passthrough_of(ctx)
    hand_over_token(pass_token, to_command=command is not None)
    to_screen = output in (None, "-") and stdout_is_terminal()
    mode_shown = progress_mode(progress, data_on_terminal=to_screen)
    mode = asked_mode(lines=lines, text=text, jsonl=jsonl)
    silence = span_of(peer_timeout, "--peer-timeout", PEER_TIMEOUT)
    if silence is not None and silence <= BEAT_AFTER:  # it would call a writer gone that has nothing to say
        raise UsageProblem(
            f"--peer-timeout is more than {BEAT_AFTER:g}s, the time between two beats of a writer"
        )
    limits = limits_of(timeout, stall_timeout)
    if messages is not None and mode is not None:
        raise UsageProblem("--lines, --text and --jsonl show the messages themselves; leave --messages out")
    if command is None and (exit_code or deliver_partial or stop_early):
        raise UsageProblem("--exit-code, --deliver-partial and --stop-early need a COMMAND behind `--`")
    check_stop_early(stop_early, require_seal)
    sink = _sink(command, output, messages, no_clobber=no_clobber, keep_partial=keep_partial)
    given, settings = find_ref(ctx, ref, Direction.READ, stdin_free=True)
    verifier = Verifier(
        require_seal=require_seal,
        allow_empty=allow_empty,
        expect="messages" if mode in (Mode.LINES, Mode.TEXT) else None,
    )
    reader = ChannelReader(settings.endpoint, given.ref, verifier, peer_timeout=silence)
    status = DownloadStatus(reader)
    meter = transfer_meter(status, total=lambda: None if reader.opened is None else reader.opened.size)
    shown = Progress(mode_shown, meter, color=settings.use_color(True))

    not_open = "our output is not open yet: what should read it has not come"

    async def open_ends() -> None:
        """The output first: a ref is not spent on an output that cannot be opened. Somebody's reading opens a
        FIFO, which the time limit does not wait for.
        """
        nonlocal not_open
        if sink is not None:
            await sink.open()
        not_open = CONNECTING
        with opening(given):
            await reader.open()

    async def read_stream() -> Verdict | None:
        import anyio
        from msgspec.structs import replace

        whole = replace(limits, since=anyio.current_time())
        try:
            await opened_within(whole, open_ends, lambda span: not_open)
        except BaseException:
            if sink is not None:
                sink.discard()  # the file beside FILE
            raise
        async with shown:
            async with taking(sink, command, pass_on=exit_code) as (target, consumer):
                verdict = await download(
                    reader,
                    target,
                    mode=mode,
                    limits=whole,
                    status=status,
                    message=show_message,
                    consumer=consumer,
                    deliver_partial=deliver_partial,
                    stop_early=stop_early,
                    early=say_early,
                )
            _conclude_read(shown, verdict)
        return verdict

    with message_output(messages, quiet=settings.quiet) as show_message:
        verdict = run(read_stream)
    if verdict is not None and verdict.outcome is Outcome.FOREIGN:
        tell(verdict.text)
        if mode in (Mode.LINES, Mode.TEXT) and verdict.figures.bytes:
            tell(f"{verdict.figures.bytes} bytes beside the messages were not shown; --jsonl shows both")


def _sink(
    command: list[str] | None,
    output: str | None,
    messages: str | None,
    *,
    no_clobber: bool,
    keep_partial: bool,
) -> Sink | None:
    """Where the stream goes, checked; None: into COMMAND, which starts when the end is open.

    Data and messages in one file would be neither; a device takes both.
    """
    from iii_cli.commands.streams import NOT_FILES
    from iii_cli.io.outfile import open_output, share_a_file
    from iii_cli.io.process import prepare_command

    to_file = output not in (None, "-")
    if not to_file and (no_clobber or keep_partial):
        raise UsageProblem("--no-clobber and --keep-partial are about a FILE; they need -o FILE")
    if output is not None and command is not None:
        raise UsageProblem("either -o FILE or a COMMAND behind `--`")
    if output is not None and to_file and messages not in (None, *NOT_FILES):
        is_device = os.path.exists(output) and not os.path.isfile(output)
        if share_a_file([output, str(messages)]) and not is_device:
            raise UsageProblem("-o and --messages cannot write to the same FILE")
    if command is None:
        return open_output(output, no_clobber=no_clobber, keep_partial=keep_partial)
    prepare_command(command)
    return None


def _conclude_read(shown: Progress, verdict: Verdict | None) -> None:
    """What the end of the stream proved."""
    from iii_cli.protocol.verifier import Outcome

    if verdict is None:
        shown.conclude(words=["stopped early"])
        return
    words = {Outcome.VERIFIED: "verified", Outcome.ALLOWED_EMPTY: "empty"}
    word = words.get(verdict.outcome, "the end could not be verified")
    shown.conclude(digest=verdict.figures.digest, verified=verdict.verified, words=[word])

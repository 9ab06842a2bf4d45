"""`iii channel create | write | read`."""

from __future__ import annotations

from typing import Annotated

import typer

from iii_cli.commands.common import PassToken, TailCommand, hand_over_token, settings_of, tail_of

__all__ = ("channel_app",)

channel_app = typer.Typer(no_args_is_help=True, help="Make channels, write into them and read from them.")

Ref = Annotated[str | None, typer.Argument(metavar="[REF]", help="@NAME, a token, env:NAME, file:PATH or -.")]
Timeout = Annotated[
    str | None, typer.Option(metavar="TIME", help="Limit for the whole of it: 500ms, 30s, 5m.")
]
Stall = Annotated[str | None, typer.Option(metavar="TIME", help="End when nothing moved for so long.")]
Progress = Annotated[str, typer.Option(metavar="auto|always|never|json", help="How it gets on, on stderr.")]
ExitCode = Annotated[bool, typer.Option("--exit-code", help="Pass COMMAND's own exit code on.")]
StopEarly = Annotated[
    bool,
    typer.Option("--stop-early", help="End when COMMAND wants no more; do not read and verify the rest."),
]
Producer = Annotated[
    str,
    typer.Option(
        "--producer",
        metavar="warn|strict|ignore",
        envvar="III_PRODUCER",
        help="What it means when the program before the pipe fails.",
    ),
]
Digest = Annotated[str, typer.Option(metavar="xxh3_128|sha256", help="What the seal promises.")]
ReceiptTimeout = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Without a word from the reader, after our close. [60s]"),
]
Lines = Annotated[bool, typer.Option("--lines", help="A line is a text message.")]
Jsonl = Annotated[bool, typer.Option("--jsonl", help='A line is a frame, {"text":…} or {"base64":…}.')]


@channel_app.command()
def create(
    ctx: typer.Context,
    buffer: Annotated[
        int | None, typer.Option(metavar="N", help="Messages that the engine holds. [64]")
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
    from iii_cli.commands.channel.create import CreateOrder, create_channel_ends

    create_channel_ends(
        settings_of(ctx),
        CreateOrder(buffer=buffer, json=json, export=export, only=only, save=save, force=force),
    )


@channel_app.command(cls=TailCommand)
def write(
    ctx: typer.Context,
    ref: Ref = None,
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", help="Instead of stdin.")] = None,
    lines: Lines = False,
    jsonl: Jsonl = False,
    no_seal: Annotated[bool, typer.Option("--no-seal", help="Send the bare bytes.")] = False,
    digest: Digest = "xxh3_128",
    size: Annotated[
        str | None,
        typer.Option(metavar="BYTES", help="Promise exactly that many: other than that aborts the stream."),
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
    progress: Progress = "auto",
) -> None:
    """Write stdin, FILEs or the output of COMMAND into a channel.

    A COMMAND that fails aborts the stream, which the reader sees. A program before a pipe is watched where
    the system can tell how it ended: death by a signal aborts, another failure is a line (--producer).

    \b
    Examples:
      iii channel write @backup --receipt -- pg_dump db
      iii channel write @x < big.csv
    """
    from iii_cli.commands.channel.write import WriteOptions, write_channels

    hand_over_token(pass_token, to_command=tail_of(ctx) is not None)
    write_channels(
        ctx,
        WriteOptions(
            refs=[ref],
            files=files or [],
            command=tail_of(ctx),
            lines=lines,
            jsonl=jsonl,
            seal=not no_seal,
            digest=digest,
            size=size,
            receipt=receipt,
            receipt_timeout=receipt_timeout,
            timeout=timeout,
            stall_timeout=stall_timeout,
            exit_code=exit_code,
            producer=producer,
            progress=progress,
        ),
    )


@channel_app.command(cls=TailCommand)
def tee(
    ctx: typer.Context,
    refs: Annotated[list[str], typer.Argument(metavar="REF...", help="The writers.")],
    source: Annotated[str | None, typer.Option("--from", metavar="FILE", help="Instead of stdin.")] = None,
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
    progress: Progress = "auto",
) -> None:
    """Write stdin, FILE or the output of COMMAND into several channels, each a sealed stream of its own.

    A reader that dies stops none of the others; the exit code and a line say which failed.

    \b
    Examples:
      iii channel tee @here @there --receipt -- pg_dump db
      iii channel tee @here @there --from big.csv
      tail -f app.log | iii channel tee --lines @one @two
    """
    from iii_cli.commands.channel.write import WriteOptions, write_channels

    hand_over_token(pass_token, to_command=tail_of(ctx) is not None)
    write_channels(
        ctx,
        WriteOptions(
            refs=list(refs),
            files=[] if source is None else [source],
            command=tail_of(ctx),
            lines=lines,
            jsonl=False,
            seal=True,
            digest=digest,
            size=None,
            receipt=receipt,
            receipt_timeout=receipt_timeout,
            timeout=timeout,
            stall_timeout=stall_timeout,
            exit_code=exit_code,
            producer=producer,
            progress=progress,
        ),
    )


@channel_app.command(cls=TailCommand)
def read(
    ctx: typer.Context,
    ref: Ref = None,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE|-", help="Instead of stdout; appears when whole."),
    ] = None,
    no_clobber: Annotated[bool, typer.Option("--no-clobber", help="Refuse a FILE that exists.")] = False,
    keep_partial: Annotated[bool, typer.Option("--keep-partial", help="Keep FILE.part on failure.")] = False,
    lines: Lines = False,
    text: Annotated[bool, typer.Option("--text", help="Text messages joined as they are.")] = False,
    jsonl: Jsonl = False,
    messages: Annotated[
        str | None,
        typer.Option(metavar="stderr|drop|FILE", help="Where text messages beside bytes go. [stderr]"),
    ] = None,
    require_seal: Annotated[
        bool,
        typer.Option(
            "--require-seal", envvar="III_REQUIRE_SEAL", help="A stream that cannot be verified fails."
        ),
    ] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Nothing at all is no failure.")] = False,
    deliver_partial: Annotated[
        bool, typer.Option("--deliver-partial", help="COMMAND sees a truncated stream's end too.")
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
    progress: Progress = "auto",
) -> None:
    """Read a channel to stdout, into FILE or into COMMAND; exit 0 means that every byte arrived.

    A stream that cannot be verified (its writer is not ours) ends with 0 and one line that says so. When
    COMMAND ends with 0 before the stream does, the rest is read and verified all the same.

    \b
    Examples:
      iii channel read @backup -o db.sql
      iii channel read @x -- tar x
    """
    from iii_cli.commands.channel.read import ReadOptions, read_channel

    hand_over_token(pass_token, to_command=tail_of(ctx) is not None)
    read_channel(
        ctx,
        ReadOptions(
            ref=ref,
            command=tail_of(ctx),
            output=output,
            no_clobber=no_clobber,
            keep_partial=keep_partial,
            lines=lines,
            text=text,
            jsonl=jsonl,
            messages=messages,
            require_seal=require_seal,
            allow_empty=allow_empty,
            deliver_partial=deliver_partial,
            stop_early=stop_early,
            peer_timeout=peer_timeout,
            timeout=timeout,
            stall_timeout=stall_timeout,
            exit_code=exit_code,
            progress=progress,
        ),
    )

"""`iii trigger` with streams: everything local first, then the ends, then the call beside its streams."""

from __future__ import annotations

import math
import os
import sys
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio  # noqa: TID253 - loaded only where a call has streams
from msgspec import Struct
from msgspec.structs import replace

from iii_cli.client.call import new_stream_id
from iii_cli.client.channels import CHANNEL_BUFFER, ChannelReader, ChannelWriter
from iii_cli.client.connection import open_connection
from iii_cli.client.streams import LINGER_SECONDS, STALL_SECONDS, CallStream, StreamedCall, frame_bytes
from iii_cli.client.transfer import FUNCTION, DownloadStatus, UploadStatus, download, span_words, upload
from iii_cli.commands.calls import embed, key_of, rendered, spending
from iii_cli.commands.common import check_buffer, hand_over_token, run, span_of, tell
from iii_cli.commands.streams import (
    check_stop_early,
    giving,
    message_output,
    say_early,
    taking,
    transfer_meter,
    watch_producers,
)
from iii_cli.errors import ContentDiffers, Failure, FunctionFailed, TimedOut, UsageProblem
from iii_cli.io.console import console
from iii_cli.io.descriptors import is_standard
from iii_cli.io.outfile import open_output, share_a_file
from iii_cli.io.process import DEVNULL, prepare_command, shell_command
from iii_cli.io.progress import Progress, progress_mode
from iii_cli.io.sinks import DescriptorSink, StdoutSink
from iii_cli.io.sources import Source
from iii_cli.protocol.payload import MalformedPath, check_keys, find, masked, redacted, show, split_key
from iii_cli.protocol.records import asked_mode
from iii_cli.protocol.refs import ChannelRef, Direction, MalformedRef
from iii_cli.protocol.seal import Mode, Sealer, is_count
from iii_cli.protocol.verifier import Verifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from iii_cli.client.connection import Connection
    from iii_cli.commands.calls import Request
    from iii_cli.io.progress import Meter
    from iii_cli.io.sinks import Sink
    from iii_cli.protocol.payload import KeyPath
    from iii_cli.protocol.refs import Endpoint
    from iii_cli.protocol.verifier import Verdict

__all__ = (
    "StreamSpec",
    "call_with_streams",
    "command_word",
    "input_stream",
    "meter_of",
    "open_sink",
    "open_sources",
    "output_stream",
    "parse_read",
    "parse_spec",
    "with_placeholders",
)


# What was typed.

COMMAND = "cmd:"
_REF_FORMS = ("@", "iii:", "env:", "file:", "{")
_PLACES = "a FILE, - or cmd:COMMAND"
_DEFAULT_KEYS = {"--in": "stdin", "--out": "stdout"}


class StreamSpec(Struct, frozen=True):
    """One stream: the KEY of the payload where its ref goes, and the FILE, `-` or `cmd:COMMAND`.

    Of `--read` the KEY is where in the result the ref is.
    """

    option: str
    key: KeyPath
    place: str

    @property
    def label(self) -> str:
        """How people know it."""
        return f"{self.option} {show(self.key)}"

    @property
    def argv(self) -> list[str] | None:
        """What runs the COMMAND of `cmd:COMMAND`. Raises UsageProblem."""
        return shell_command(self.place.removeprefix(COMMAND)) if self.place.startswith(COMMAND) else None

    @property
    def command_name(self) -> str:
        """What people call it."""
        return command_word(self.place.removeprefix(COMMAND))

    @property
    def is_standard(self) -> bool:
        """Is it our own stdin or stdout, by whatever name?"""
        return is_standard(self.place, 0 if self.option == "--in" else 1)


def parse_spec(text: str, option: str) -> StreamSpec:
    """Read `KEY=PLACE`, or PLACE alone, whose KEY is then `stdin` or `stdout`. Raises UsageProblem."""
    parts = split_key(text)
    if parts is None and text.startswith("="):
        raise UsageProblem(f"{option}: the KEY before `=` is empty", hint=f"{option} KEY={_PLACES}")
    key, place = parts if parts is not None else (_DEFAULT_KEYS[option], text)
    if not place or place == COMMAND:
        raise UsageProblem(f"{option} {key}= names nothing", hint=f"give it {_PLACES}")
    spec = StreamSpec(option, key_of(key, option), place)
    if place.startswith(_REF_FORMS):
        raise _is_a_ref(spec, key)
    return spec


def parse_read(text: str) -> StreamSpec:
    """Read `PATH` or `PATH=TARGET` of `--read`; `.` is the result itself. Raises UsageProblem."""
    parts = (".", text[2:]) if text.startswith(".=") else split_key(text)
    path, place = parts if parts is not None else (text, "-")
    key = () if path == "." else key_of(path, "--read")
    return replace(parse_spec(f"read={place}", "--out"), option="--read", key=key)


def command_word(command: str) -> str:
    """The first word of a shell command, for people: no assignment before it, which may hold a secret."""
    words = [word for word in command.split() if "=" not in word]
    word = os.path.basename(words[0].strip("\"'();&|{}")) if words else ""
    return word or "the command"


def _is_a_ref(spec: StreamSpec, key: str) -> UsageProblem:
    """Who knows curl writes @ before the name of a file. Never repeats what may be a key."""
    noun = "SOURCE" if spec.option == "--in" else "TARGET"
    name = spec.place[1:]
    if spec.place.startswith("@") and ":" not in name and "{" not in name:
        hint = f"an existing ref goes with --ref {key}={spec.place}"
        if spec.option == "--in" and ("." in name or "/" in name or os.path.exists(name)):
            hint = f"did you mean the file? {spec.option} {key}={name}"
            hint += f"; a ref goes with --ref {key}={spec.place}"
    else:
        hint = f"an existing ref goes with --ref {key}=REF; a file of that name is ./NAME"
    return UsageProblem(f"{spec.option} {key}: a {noun} is {_PLACES}, not a ref", hint=hint)


def _check_specs(
    request: Request, specs: Sequence[StreamSpec], result: str | None, *, about_file: bool, stop_early: bool
) -> None:
    """Find what contradicts. `about_file`: is there an option that needs a FILE? Raises UsageProblem."""
    keys = [("--ref", key) for key, _ in request.refs]
    check_keys([*keys, *((spec.option, spec.key) for spec in specs if spec.option != "--read")])
    targets = [spec for spec in specs if spec.option != "--in"]
    writers = [f"{spec.label}=-" for spec in targets if spec.is_standard]
    writers += ["--result -"] if result == "-" else []
    if len(writers) > 1:
        raise UsageProblem(f"{' and '.join(writers)} cannot both write to standard output")
    files = [spec.place for spec in targets if spec.argv is None and not spec.is_standard]
    if about_file and not files:
        raise UsageProblem("--no-clobber and --keep-partial are about a FILE; they need --out FILE")
    if share_a_file([*files, *([] if result in (None, "-") else [str(result)])]):
        raise UsageProblem("two streams cannot write to the same FILE")
    if stop_early and all(spec.argv is None for spec in targets):
        raise UsageProblem("--stop-early needs a cmd:COMMAND that takes a stream")


PLACEHOLDER = {"channel_id": "(made by the call)", "access_key": "***"}


def with_placeholders(payload: Any, specs: Sequence[StreamSpec]) -> Any:
    """A payload with stand-ins where the refs of new channels would be. Raises UsageProblem."""
    payload = deepcopy(payload)
    for spec in specs:
        if spec.option != "--read":
            direction = "read" if spec.option == "--in" else "write"
            payload = embed(payload, spec.key, PLACEHOLDER | {"direction": direction}, spec.option)
    return payload


# The call.


def call_with_streams(
    request: Request,
    specs: Sequence[StreamSpec],
    *,
    stdin_taken: bool,
    form: str,
    result: str | None,
    lines: bool,
    text: bool,
    jsonl: bool,
    messages: str | None,
    seal: bool | None,
    require_seal: bool,
    allow_empty: bool,
    stop_early: bool,
    no_clobber: bool,
    keep_partial: bool,
    pass_token: bool,
    buffer: int | None,
    linger: str | None,
    stall_timeout: str | None,
    progress: str,
    producer: str,
    exit_code: bool,
) -> Any:
    """Make the call with its streams, print its result, and return it.

    `stdin_taken`: an option reads our stdin, so no COMMAND gets it. Everything that can be known locally is
    checked before an end is opened or the call is made.
    """
    settings, endpoint = request.settings, request.settings.endpoint
    about_file = no_clobber or keep_partial
    _check_specs(request, specs, result, about_file=about_file, stop_early=stop_early)
    check_stop_early(stop_early, require_seal)
    mode = asked_mode(lines=lines, text=text, jsonl=jsonl)
    hand_over_token(pass_token, to_command=any(spec.argv is not None for spec in specs))
    check_buffer(buffer)
    linger_seconds = span_of(linger, "--linger", LINGER_SECONDS)
    stall_seconds = span_of(stall_timeout, "--stall-timeout", STALL_SECONDS)
    with_placeholders(request.payload, specs)
    inputs = [spec for spec in specs if spec.option == "--in"]
    outputs = [spec for spec in specs if spec.option != "--in"]
    to_stdout = any(spec.is_standard for spec in outputs)
    shows_data = to_stdout and sys.stdout is not None and sys.stdout.isatty()
    shown = Progress(progress_mode(progress, data_on_terminal=shows_data), color=settings.use_color(True))
    streams: list[CallStream] = []

    def add(stream: CallStream) -> None:
        streams.append(stream)
        shown.add(meter_of(stream, streams, labelled=len(specs) > 1))

    async def open_streams(connection: Connection) -> Any:
        """Open what is local, then make the channels and take our ends; the payload with the refs."""
        payload = deepcopy(request.payload)
        for sink in files():
            await sink.open()
        for spec in [spec for spec in specs if spec.option != "--read"]:
            held = CHANNEL_BUFFER if buffer is None and spec.option == "--in" else buffer
            writer, reader = await connection.create_channel(held, traceparent=request.traceparent)
            if spec.option == "--out":
                add(output(spec, sinks[spec], theirs=writer, ours=reader))
            else:
                stream = input_stream(
                    endpoint, spec, sources[spec], ended[spec], (writer, reader), mode=mode, seal=seal,
                    longest=frame_bytes(held or CHANNEL_BUFFER), pass_on=exit_code, stdin_taken=stdin_taken,
                )  # fmt: skip
                add(stream)
            payload = embed(payload, spec.key, streams[-1].theirs.to_json(), spec.option)
        for stream in streams:
            await stream.end.open()
        return payload

    async def answered(value: Any) -> list[CallStream]:
        """Show the result, and open the stream that `--read` finds in it."""
        await _show_result(value, form, result_file, on_stderr=to_stdout and result_file is None)
        before = len(streams)
        for spec in [spec for spec in specs if spec.option == "--read"]:
            ref, size = _ref_in_result(value, spec.key)
            theirs = ref.facing(Direction.WRITE)
            stream = output(spec, sinks[spec], theirs=theirs, ours=ref, expected=size)
            await stream.end.open()
            add(stream)
        return streams[before:]

    async def call() -> Any:
        whole = request.timeout
        deadline = math.inf if whole is None else anyio.current_time() + whole
        try:
            with anyio.CancelScope(deadline=deadline) as opening:
                async with open_connection(endpoint) as connection:
                    try:
                        payload = await open_streams(connection)
                        opening.deadline = math.inf
                        async with shown:
                            return await StreamedCall(
                                function_id=request.function_id,
                                endpoint=endpoint,
                                streams=list(streams),
                                invoke=partial(_invoke, connection, request, payload),
                                answered=answered,
                                notice=tell,
                                linger=linger_seconds,
                                stall=stall_seconds,
                                stall_asked=stall_timeout is not None,
                                deadline=deadline,
                                whole=whole,
                            ).run()
                    finally:
                        for stream in streams:
                            await stream.close()
            raise TimedOut(f"the streams were not open within {whole:g} s")
        finally:
            for sink in files():
                sink.discard()

    def files() -> list[Sink]:
        return [sink for sink in [result_file, *sinks.values()] if sink is not None]

    with ExitStack() as stack:
        show_message = stack.enter_context(message_output(messages, quiet=settings.quiet))
        result_file = None if result in (None, "-") else open_output(result)
        sinks = {spec: open_sink(spec, no_clobber=no_clobber, keep_partial=keep_partial) for spec in outputs}
        sources: dict[StreamSpec, list[Source]] = {}
        for spec in inputs:
            sources[spec] = open_sources(spec)
            for source in sources[spec]:
                stack.callback(source.close)
        ended = {spec: watch_producers(producer, given) for spec, given in sources.items()}
        if any(source.is_terminal for given in sources.values() for source in given):
            tell("reading from the terminal; Ctrl-D ends it")
        output = partial(
            output_stream, endpoint, mode=mode, message=show_message, require_seal=require_seal,
            allow_empty=allow_empty, stop_early=stop_early, pass_on=exit_code,
        )  # fmt: skip
        with spending(request):
            return run(call)


async def _invoke(connection: Connection, request: Request, payload: Any) -> Any:
    try:
        return await connection.call(
            request.function_id,
            payload,
            namespace=request.namespace,
            metadata=request.metadata,
            traceparent=request.traceparent,
        )
    except FunctionFailed as failure:
        raise redacted(failure, payload) from None


# Its streams.


def open_sources(spec: StreamSpec) -> list[Source]:
    """FILE or stdin, open; nothing for a COMMAND, which starts when the call is made."""
    if spec.argv is not None:
        prepare_command(spec.argv)
        return []
    return [Source.stdin() if spec.is_standard else Source.open_file(spec.place)]


def open_sink(spec: StreamSpec, *, no_clobber: bool, keep_partial: bool) -> Sink | None:
    """FILE or stdout, checked and not yet open; None for a COMMAND, which starts when the call is made."""
    if spec.argv is not None:
        prepare_command(spec.argv)
        return None
    path = None if spec.is_standard else spec.place
    return open_output(path, no_clobber=no_clobber, keep_partial=keep_partial)


def input_stream(
    endpoint: Endpoint,
    spec: StreamSpec,
    sources: list[Source],
    producers_ended: Callable[[], Awaitable[None]],
    ends: tuple[ChannelRef, ChannelRef],
    *,
    mode: Mode | None,
    seal: bool | None,
    longest: int,
    pass_on: bool,
    stdin_taken: bool,
) -> CallStream:
    """`--in`: a channel that we write, in frames of at most `longest` bytes."""
    writer_ref, reader_ref = ends
    written = Mode.BYTES if mode in (None, Mode.TEXT) else mode
    size = sources[0].size if sources else None
    sealer = None
    if written is Mode.BYTES if seal is None else seal:
        sealer = Sealer(new_stream_id(), mode=written, size=size if written is Mode.BYTES else None)
    writer = ChannelWriter(endpoint, writer_ref, sealer)
    status = UploadStatus({"": writer}, reader=FUNCTION)

    async def move(stream: CallStream) -> Verdict | None:
        async with giving(
            sources,
            producers_ended,
            spec.argv,
            name=spec.command_name,
            stdin=DEVNULL if stdin_taken else None,
            pass_on=pass_on,
        ) as (given, check_end):
            await upload(
                given,
                writer,
                mode=written,
                frame_bytes=longest,
                status=status,
                check_end=check_end,
                words=stream.abort_words,
            )
        return None

    return CallStream(spec.label, reader_ref, writer, status, move, size)


def output_stream(
    endpoint: Endpoint,
    spec: StreamSpec,
    sink: Sink | None,
    *,
    theirs: ChannelRef,
    ours: ChannelRef,
    expected: int | None = None,
    mode: Mode | None,
    message: Callable[[bytes], None],
    require_seal: bool,
    allow_empty: bool,
    stop_early: bool,
    pass_on: bool,
) -> CallStream:
    """`--out` and `--read`: a channel that we read. `expected`: how many bytes the result says."""
    verifier = Verifier(
        require_seal=require_seal,
        allow_empty=allow_empty or expected == 0,
        expect="messages" if mode in (Mode.LINES, Mode.TEXT) else None,
    )
    reader = ChannelReader(endpoint, ours, verifier)
    status = DownloadStatus(reader, writer=FUNCTION)

    async def move(stream: CallStream) -> Verdict | None:
        async with taking(sink, spec.argv, name=spec.command_name, pass_on=pass_on) as (target, consumer):
            return await download(
                reader,
                target,
                mode=mode,
                status=status,
                message=message,
                consumer=consumer,
                stop_early=stop_early,
                early=say_early,
                before_finish=stream.permit,
            )

    return CallStream(spec.label, theirs, reader, status, move, expected)


def meter_of(stream: CallStream, streams: Sequence[CallStream], *, labelled: bool) -> Meter:
    """What is counted of one of the `streams`, which may become more."""

    def waiting(seconds: float) -> str | None:
        if not stream.ended:
            return stream.status.reason(span_words(seconds))
        everything = all(each.ended for each in streams)
        return f"waiting {seconds:.0f} s for the result" if everything else None

    return transfer_meter(
        stream.status,
        label=stream.label if labelled else "",
        total=lambda: stream.total,
        waiting=waiting,
        over=lambda: stream.ended,
    )


# Its result.


async def _show_result(value: Any, form: str, file: Sink | None, *, on_stderr: bool) -> None:
    """Into FILE, or on stdout, or on stderr where stdout is a stream, with masked keys; nothing for null.

    Raises LocalProblem.
    """

    def text(value: Any, *, for_terminal: bool) -> bytes:
        return b"" if value is None else rendered(value, form, for_terminal=for_terminal).encode()

    if file is not None:
        await file.write(text(value, for_terminal=False))
        await file.finish()
    elif value is None:
        return
    elif not on_stderr:
        console.draw()  # both may be the same terminal
        await StdoutSink().write(text(value, for_terminal=sys.stdout.isatty()))
    elif console.as_json:
        console.event("result", {"result": masked(value)})
    else:
        console.draw()
        line = console.new_line().encode() + text(masked(value), for_terminal=sys.stderr.isatty())
        await DescriptorSink(2, name="standard error", owned=False).write(line)


def _ref_in_result(result: Any, path: KeyPath) -> tuple[ChannelRef, int | None]:
    """The reader ref at `path` of the result, and the number `size` beside it, if there is one.

    Raises Failure, ContentDiffers where that is no count.
    """
    try:
        ref = ChannelRef.from_json(find(result, path))
    except (MalformedPath, MalformedRef):
        raise Failure(f"the result has no ref at {show(path) or '.'}", where="peer") from None
    if ref.direction is not Direction.READ:
        raise Failure(f"the ref at {show(path) or '.'} of the result is a writer's", where="peer")
    size = find(result, path[:-1]).get("size") if path and isinstance(path[-1], str) else None
    if not isinstance(size, (int, float)) or isinstance(size, bool):
        return ref, None
    if not is_count(size):
        raise ContentDiffers("the size beside the ref in the result is not a count of bytes")
    return ref, size

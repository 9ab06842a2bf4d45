"""`iii trigger FUNCTION [key=value …]`."""

from __future__ import annotations

import os
import re
import stat
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iii_cli.commands.common import (
    KeepPartial,
    Messages,
    NoClobber,
    PassToken,
    flags_of,
    settings_of,
    span_of,
    tell,
    within,
)
from iii_cli.errors import ExitStatus, Failure, FunctionFailed, Interrupted, UsageProblem, cannot_read
from iii_cli.limits import limit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from iii_cli.commands.calls import Request
    from iii_cli.commands.trigger_streams import StreamSpec
    from iii_cli.config.refspec import ResolvedRef
    from iii_cli.config.settings import Settings
    from iii_cli.protocol.payload import KeyPath

__all__ = ("traceparent", "trigger_app")

trigger_app = typer.Typer()

# `--help` is an option of ours: it knows the function
CONTEXT: dict[str, list[str]] = {"help_option_names": []}


@trigger_app.command(name="t", hidden=True, context_settings=CONTEXT)
@trigger_app.command(name="trigger", context_settings=CONTEXT)
def trigger_command(
    ctx: typer.Context,
    function: Annotated[str | None, typer.Argument(metavar="FUNCTION", help="Function id.")] = None,
    pairs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Payload fields; VALUE is parsed as JSON if possible."),
    ] = None,
    strings: Annotated[
        list[str] | None,
        typer.Option(
            "-s", "--string", metavar="KEY=VALUE", help="A payload field whose VALUE stays a string."
        ),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(metavar="JSON|@FILE|-", help="Payload; KEY=VALUE is merged into it."),
    ] = None,
    refs: Annotated[
        list[str] | None,
        typer.Option("--ref", metavar="KEY=REF", help="Put a ref at KEY (a.b[0].reader) of the payload."),
    ] = None,
    metadata: Annotated[
        str | None, typer.Option(metavar="JSON|@FILE", help="Metadata, sent beside the payload.")
    ] = None,
    void: Annotated[bool, typer.Option("--void", help="Do not wait for an answer.")] = False,
    form: Annotated[
        str,
        typer.Option(
            "--format", metavar="pretty|jsonl|raw", help="Output format; raw prints strings unquoted."
        ),
    ] = "pretty",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the payload, keys masked, and make no call.")
    ] = False,
    ins: Annotated[
        list[str] | None,
        typer.Option(
            "--in",
            metavar="[KEY=]SOURCE",
            help="Stream FILE, - or cmd:COMMAND to the function; its reader ref is put at KEY. [stdin]",
        ),
    ] = None,
    outs: Annotated[
        list[str] | None,
        typer.Option(
            "--out",
            metavar="[KEY=]TARGET",
            help="Stream from the function to FILE, - or cmd:COMMAND; a writer ref is put at KEY. [stdout]",
        ),
    ] = None,
    read: Annotated[
        str | None,
        typer.Option(metavar="PATH[=TARGET]", help="Read the ref found at PATH of the result."),
    ] = None,
    result: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Write the result to FILE. [stdout, or stderr if stdout is a stream]"
        ),
    ] = None,
    lines: Annotated[bool, typer.Option("--lines", help="Streams: lines are text messages.")] = False,
    text: Annotated[bool, typer.Option("--text", help="--out: join text messages as they are.")] = False,
    jsonl: Annotated[
        bool, typer.Option("--jsonl", help='Streams: lines are frames, {"text":…} or {"base64":…}.')
    ] = False,
    messages: Messages = None,
    seal: Annotated[
        bool | None,
        typer.Option("--seal/--no-seal", help="Seal what --in sends. [bytes: yes, text messages: no]"),
    ] = None,
    require_seal: Annotated[
        bool, typer.Option("--require-seal", help="Fail if an --out cannot be verified.")
    ] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Accept an empty --out.")] = False,
    stop_early: Annotated[
        bool,
        typer.Option("--stop-early", help="cmd: targets: stop when COMMAND wants no more, unverified."),
    ] = False,
    no_clobber: NoClobber = False,
    keep_partial: KeepPartial = False,
    pass_token: PassToken = False,
    buffer: Annotated[
        int | None, typer.Option(metavar="N", help="Messages that the engine buffers for a stream.")
    ] = None,
    linger: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="After the result: check a stream that is silent for TIME. [5s]"),
    ] = None,
    stall_timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Fail if no data moves for TIME. [60s after the result]"),
    ] = None,
    progress: Annotated[
        str, typer.Option(metavar="auto|always|never|json", help="Show progress of the streams on stderr.")
    ] = "auto",
    producer: Annotated[
        str,
        typer.Option(
            metavar="warn|strict|ignore",
            envvar="III_PRODUCER",
            help="--in -: what to do if the program before the pipe fails.",
        ),
    ] = "warn",
    each: Annotated[
        bool,
        typer.Option(
            "--each", help="Call for each line of JSON on stdin; print a line of JSON for each answer."
        ),
    ] = False,
    parallel: Annotated[
        int | None, typer.Option("-P", "--parallel", metavar="N", help="--each: calls in flight. [1]")
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="--each: start no more calls after a failure.")
    ] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Print the trace id, and what the engine knows of the trace.")
    ] = False,
    exit_code: Annotated[
        bool,
        typer.Option(
            "--exit-code", help="Exit with the code of a COMMAND, or with `exit_code` of the result."
        ),
    ] = False,
    timeout: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Fail after TIME in total (--each: per call); 0: no limit. [30s, none with streams]",
        ),
    ] = None,
    timeout_ms: Annotated[
        int | None, typer.Option(metavar="N", help="--timeout in milliseconds, as in the engine's CLI.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(metavar="HOST", help="Engine host, instead of --url.")
    ] = None,
    port: Annotated[int | None, typer.Option(metavar="N", help="Engine port. [49134]")] = None,
    help_wanted: Annotated[
        bool, typer.Option("-h", "--help", help="Show help; with FUNCTION, its parameters.")
    ] = False,
) -> int:
    """Call a function, with streams if it wants some, and print its result as JSON; nothing for null.

    The error of a function goes to stderr, with exit 1; an unknown function is exit 5, a worker that was lost
    during the call exit 9.

    \b
    Examples:
      iii trigger orders::create id=7 -s zip=01234
      iii trigger orders::create --help
      iii trigger text::gzip --in big.bin --out big.gz
      iii trigger llm::chat prompt=hi --out stream=- --text
    """
    if help_wanted and function is None:
        typer.echo(ctx.get_help())
        return 0
    _use_address(ctx, address, port)
    if help_wanted:
        return _show_function_help(ctx, str(function))
    given = {
        part.name
        for part in ctx.command.params
        if part.name and ctx.params.get(part.name) not in (part.default, None, (), [])
    }
    _check_options(given, parallel)
    if not function:
        raise UsageProblem("missing FUNCTION", hint="iii trigger FUNCTION [key=value]...")
    if form not in ("pretty", "jsonl", "raw"):
        raise UsageProblem("--format is one of pretty, jsonl, raw")
    _check_stream_options(given)
    specs: list[StreamSpec] = []
    if given & STREAMS:
        from iii_cli.commands.trigger_streams import parse_read, parse_spec

        specs += [parse_spec(text, "--in") for text in ins or ()]
        specs += [parse_spec(text, "--out") for text in outs or ()]
        specs += [] if read is None else [parse_read(read)]
    stdin_users = ["--token-file -"] if flags_of(ctx).token_file == "-" else []
    stdin_users += ["--each"] if each else []
    stdin_users += ["--json -"] if json == "-" else []
    stdin_users += ["--metadata -"] if metadata == "-" else []
    stdin_users += [f"{spec.label}=-" for spec in specs if spec.option == "--in" and spec.is_standard]
    if len(stdin_users) > 1:
        raise UsageProblem(f"{' and '.join(stdin_users)} cannot both read standard input")
    seconds = _limit(timeout, timeout_ms, None if specs else CALL_SECONDS)

    from iii_cli.commands.calls import Request, embed, exit_code_of
    from iii_cli.protocol.payload import build_payload

    # Everything local, before a connection is made.
    documents = [] if json is None else [_document(json, "--json")]
    payload = build_payload(pairs or (), strings or (), *documents)
    given_refs = [_find_ref(text) for text in refs or ()]
    settings = _settings_for(ctx, given_refs)
    for key, ref in given_refs:
        payload = embed(payload, key, ref.ref.to_json(), "--ref")
        for notice in ref.notices:
            tell(notice)
    try:
        function.encode()
    except UnicodeEncodeError:
        raise UsageProblem("FUNCTION is not UTF-8") from None
    # Every SDK does so: the engine's own functions are in `default` unless the person says otherwise.
    of_engine = function.startswith("engine::") and flags_of(ctx).namespace is None
    request = Request(
        settings=settings,
        function_id=function,
        payload=payload,
        metadata=None if metadata is None else _document(metadata, "--metadata"),
        namespace=None if of_engine else settings.namespace,
        timeout=seconds,
        whole=timeout is not None or timeout_ms is not None,
        traceparent=traceparent(begin=trace),
        refs=given_refs,
    )
    if dry_run:
        return _show_payload(request, specs)
    with _traced(request, trace):
        if each:
            from iii_cli.commands.trigger_each import call_for_each

            call_for_each(request, parallel=parallel or 1, fail_fast=fail_fast, progress=progress)
            return 0
        if not specs and result is None:
            value = _call(request, form, void=void)
        else:
            from iii_cli.commands.trigger_streams import call_with_streams

            options = {name: ctx.params[name] for name in (*ABOUT_STREAMS, *ALSO_FOR_STREAMS)}
            value = call_with_streams(request, specs, stdin_taken=bool(stdin_users), **options)
    return exit_code_of(value) if exit_code else 0


# What does not go together.

STREAMS = frozenset({"ins", "outs", "read"})
# Parameters of the command that `call_with_streams` takes: those of no use without a stream, and others.
ABOUT_STREAMS = (
    *("lines", "text", "jsonl", "messages", "seal", "require_seal", "allow_empty", "stop_early"),
    *("no_clobber", "keep_partial", "pass_token", "buffer", "linger", "stall_timeout"),
)
ALSO_FOR_STREAMS = ("form", "result", "progress", "producer", "exit_code")
PARALLEL_MAX = 4096  # calls of one connection in flight: beyond that nothing gets faster


def _check_options(given: set[str], parallel: int | None) -> None:
    """Raises UsageProblem for what --void and --each cannot do, or what only --each can."""
    if "void" in given and given & {"form", "exit_code", "result"}:
        raise UsageProblem(
            "--void returns no result; it cannot be combined with --format, --result or --exit-code"
        )
    if "void" in given and given & STREAMS:
        raise UsageProblem("--void does not wait, so nothing can be streamed")
    if "each" not in given:
        for name, option in (("parallel", "-P"), ("fail_fast", "--fail-fast")):
            if name in given:
                raise UsageProblem(f"{option} needs --each")
        return
    for name in ("json", "refs", "void", "form", "dry_run", "exit_code", "result", "ins", "outs", "read"):
        if name in given:
            words = {"refs": "--ref", "form": "--format"}
            what = "a stream" if name in STREAMS else words.get(name, f"--{name.replace('_', '-')}")
            raise UsageProblem(f"--each makes many calls, and {what} is for one")
    if parallel is not None:
        within(parallel, 1, PARALLEL_MAX, "-P is a number of calls")


def _check_stream_options(given: set[str]) -> None:
    """Raises UsageProblem for options that need a stream, and for two that contradict each other."""
    if not given & STREAMS:
        for name in ABOUT_STREAMS:
            if name in given:
                option = "seal and --no-seal" if name == "seal" else name.replace("_", "-")
                raise UsageProblem(f"--{option} is about streams", hint="it needs --in, --out or --read")
    if "messages" in given and given & {"lines", "text", "jsonl"}:
        raise UsageProblem("--lines, --text and --jsonl show the messages themselves; leave --messages out")


# What is to be called.

CALL_SECONDS = limit("call", 30.0)  # without streams, as every SDK and the engine's CLI


def _use_address(ctx: typer.Context, address: str | None, port: int | None) -> None:
    """Let --address and --port stand in place of --url. Raises UsageProblem."""
    if address is None and port is None:
        return
    from msgspec.structs import replace

    flags = flags_of(ctx)
    if flags.url is not None:
        raise UsageProblem("either --url or --address and --port")
    host = "localhost" if address is None else address
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    ctx.obj = replace(flags, url=f"ws://{host}:{49134 if port is None else port}")


def _limit(timeout: str | None, timeout_ms: int | None, default: float | None) -> float | None:
    """In seconds; None: no limit. Raises UsageProblem."""
    if timeout_ms is None:
        return span_of(timeout, "--timeout", default)
    if timeout is not None:
        raise UsageProblem("either --timeout or --timeout-ms")
    if timeout_ms < 0:
        raise UsageProblem("--timeout-ms is a number of milliseconds, 0 or more")
    return timeout_ms / 1000 or None


def _settings_for(ctx: typer.Context, refs: Sequence[tuple[KeyPath, ResolvedRef]]) -> Settings:
    """The settings, with the engine of saved refs. Raises UsageProblem, LocalProblem."""
    saved = [ref for _, ref in refs if ref.engine_url is not None]
    if len({ref.engine_url for ref in saved}) > 1:
        raise UsageProblem("the saved refs belong to different engines, and a call has one")
    return settings_of(ctx, saved[0] if saved else None)


def _document(text: str, option: str) -> Any:
    """JSON, `@FILE`, or `-`. Raises UsageProblem and LocalProblem."""
    from iii_cli.protocol.payload import parse_document

    if text == "-":
        try:
            data = sys.stdin.buffer.read()
        except (OSError, ValueError, AttributeError) as error:
            raise cannot_read(
                "standard input", error if isinstance(error, OSError) else "it is closed"
            ) from None
        return parse_document(data, f"{option} -")
    if not text.startswith("@"):
        return parse_document(text, option)
    try:
        with open(text[1:], "rb") as file:
            data = file.read()
    except (OSError, ValueError) as error:
        raise cannot_read(text[1:], error if isinstance(error, OSError) else "no such name") from None
    return parse_document(data, f"{option} {text}")


def _find_ref(text: str) -> tuple[KeyPath, ResolvedRef]:
    """`KEY=REF` of --ref. Raises UsageProblem, UnknownTarget, RefSpent, LocalProblem."""
    from iii_cli.commands.calls import key_of
    from iii_cli.config.refspec import resolve_ref
    from iii_cli.config.store import SavedRefs
    from iii_cli.protocol.payload import split_key

    parts = split_key(text)
    if parts is None:
        raise UsageProblem("--ref is written KEY=REF, such as --ref reader=@x/reader")
    key, ref = parts
    path = key_of(key, "--ref")
    return path, resolve_ref(ref, None, environ=os.environ, store=SavedRefs(), option=f"--ref {key}=")


# The call.


def _show_payload(request: Request, specs: Sequence[StreamSpec]) -> int:
    """--dry-run: keys masked, and a stand-in where the ref of a new channel would be."""
    from iii_cli.commands.calls import print_document
    from iii_cli.protocol.payload import masked

    payload = request.payload
    if specs:
        from iii_cli.commands.trigger_streams import with_placeholders

        payload = with_placeholders(payload, specs)
    print_document(masked(payload))
    return 0


def _call(request: Request, form: str, *, void: bool) -> Any:
    """A call without streams: print its result, and return it. With `void` there is none."""
    from iii_cli.client.call import call
    from iii_cli.commands.calls import print_document, spending
    from iii_cli.protocol.payload import redacted

    with spending(request):
        try:
            result = call(
                request.settings.endpoint,
                request.function_id,
                request.payload,
                namespace=request.namespace,
                timeout=request.timeout,
                whole=request.whole,
                void=void,
                metadata=request.metadata,
                traceparent=request.traceparent,
            )
        except FunctionFailed as failure:
            told = redacted(failure, request.payload)
            raise told.with_hint(told.hint or _pointer_to_pipe(request, told)) from None
    print_document(result, form)
    return result


def _pointer_to_pipe(request: Request, failure: Failure) -> str | None:
    """For `trigger FUNCTION < FILE`: where its parameters are stream ends, and none was given.

    An extra call, on the way to an error only.
    """
    from iii_cli.commands.listing import find_function, schema_of
    from iii_cli.protocol.payload import keys_in
    from iii_cli.protocol.pipeline import stream_keys

    if failure.exit_status != ExitStatus.FAILED or keys_in(request.payload) or not _has_input():
        return None
    try:
        found = find_function(request.settings, request.function_id, timeout=POINTER_SECONDS)
    except Failure:
        return None
    streams = stream_keys(schema_of(found, "request"))
    return f"its parameters are streams: `iii pipe {request.function_id} < FILE > FILE`" if streams else None


def _has_input() -> bool:
    """Is stdin a file or a pipe?"""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


# Its trace, and its function.

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?"
)
POINTER_SECONDS = 1.0  # an error that is late is worse than one without a hint
TREE_SECONDS = 5.0  # the call is over; its tree is worth a moment, not more
HELP_SECONDS = 10.0


def traceparent(*, begin: bool) -> str | None:
    """TRACEPARENT where it is valid, as W3C wants it; else a new one if `begin`."""
    given = os.environ.get("TRACEPARENT", "").strip()
    if _TRACEPARENT.fullmatch(given):
        return given
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01" if begin else None


@contextmanager
def _traced(request: Request, wanted: bool) -> Iterator[None]:
    """--trace: print the trace id, and the tree where the engine can tell it, on stderr."""
    try:
        yield
    except Failure as failure:
        if wanted and not isinstance(failure, Interrupted):
            _say_trace(request.settings, str(request.traceparent))
        raise
    if wanted:
        _say_trace(request.settings, str(request.traceparent))


def _say_trace(settings: Settings, traceparent: str) -> None:
    from iii_cli.client.call import call
    from iii_cli.commands.common import rows_of
    from iii_cli.commands.listing import draw_tree
    from iii_cli.io.console import console

    trace_id = traceparent.split("-")[1]
    lines: list[str] = []
    try:
        answer = call(settings.endpoint, "engine::traces::tree", {"trace_id": trace_id}, timeout=TREE_SECONDS)
        roots = rows_of(answer, "roots")
        lines = draw_tree(roots) if roots else []
    except Failure:
        answer = None  # an engine that keeps no spans, or that is gone
    if console.as_json:
        console.event("trace", {"trace_id": trace_id, "tree": answer})
        return
    console.tell(f"trace {trace_id}")
    console.stderr.write("".join(f"{line}\n" for line in lines))


def _show_function_help(ctx: typer.Context, function: str) -> int:
    """What the engine knows of the function. Without an engine: the help of `trigger` itself.

    Raises UnknownTarget.
    """
    from iii_cli.commands.listing import find_function, parameter_lines, parameters_of, schema_of
    from iii_cli.errors import EngineUnreachable
    from iii_cli.io.console import clean, emit

    try:
        found = find_function(settings_of(ctx), function, timeout=HELP_SECONDS)
    except EngineUnreachable as error:
        tell(f"{error.message}, so this is the help of `trigger` itself")
        emit(ctx.get_help() + "\n")
        return 0
    schema = schema_of(found, "request")
    lines = [clean(f"Usage: iii trigger {function} [KEY=VALUE]...")]
    if found.get("description"):
        lines += ["", clean(str(found["description"]), keep_newlines=True)]
    lines += ["", clean(f"Worker {found.get('worker_name')}, namespace {found.get('namespace')}.")]
    if schema is None:
        lines += ["", "No parameter schema published."]
    lines += parameter_lines("Parameters" if parameters_of(schema) else "Takes", schema)
    lines += parameter_lines("Gives", schema_of(found, "response"))
    emit("\n".join(lines) + "\n")
    return 0

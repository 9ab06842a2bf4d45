"""What was typed behind `iii trigger`, and what it means: one call, ready to be made."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from iii_cli.commands.common import flags_of, settings_of, tell
from iii_cli.commands.stream_specs import key_of, parse_spec
from iii_cli.commands.trigger.trace import traceparent_of
from iii_cli.errors import UsageProblem, cannot_read
from iii_cli.limits import limit
from iii_cli.protocol.payload import MalformedPath, build_payload, parse_document, place, split_key
from iii_cli.quantities import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import typer

    from iii_cli.config.refspec import ResolvedRef
    from iii_cli.config.settings import Settings
    from iii_cli.protocol.payload import KeyPath

__all__ = (
    "Invocation",
    "StreamOptions",
    "TriggerOptions",
    "check_each",
    "embed",
    "prepare",
    "target_settings",
)

CALL_SECONDS = limit("call", 30.0)  # without streams, as every SDK and the engine's CLI
PARALLEL_MAX = 4096  # calls of one connection in flight: beyond that nothing gets faster
FORMATS = ("pretty", "jsonl", "raw")


class StreamOptions(Struct, frozen=True):
    """The options about streams, as typed."""

    ins: Sequence[str] = ()
    outs: Sequence[str] = ()
    read: str | None = None
    result: str | None = None
    lines: bool = False
    text: bool = False
    jsonl: bool = False
    messages: str | None = None
    seal: bool | None = None
    require_seal: bool = False
    allow_empty: bool = False
    stop_early: bool = False
    no_clobber: bool = False
    keep_partial: bool = False
    pass_token: bool = False
    buffer: int | None = None
    linger: str | None = None
    stall_timeout: str | None = None
    progress: str = "auto"
    producer: str = "warn"

    @property
    def wanted(self) -> bool:
        """Is there a stream at all?"""
        return bool(self.ins or self.outs or self.read is not None)

    def check(self) -> None:
        """Raises UsageProblem for options that need a stream, or each other."""
        if self.wanted:
            return
        untouched = StreamOptions()
        for name in self.__struct_fields__:
            if name not in ("result", "progress", "producer") and getattr(self, name) != getattr(
                untouched, name
            ):
                option = _OPTION_NAMES.get(name, name.replace("_", "-"))
                raise UsageProblem(f"--{option} is about streams", hint="it needs --in, --out or --read")


_OPTION_NAMES = {"seal": "seal and --no-seal"}


class TriggerOptions(Struct, frozen=True):
    """The options, as typed."""

    function: str | None
    pairs: Sequence[str] = ()
    strings: Sequence[str] = ()
    json: str | None = None
    refs: Sequence[str] = ()
    metadata: str | None = None
    void: bool = False
    form: str = "pretty"
    dry_run: bool = False
    timeout: str | None = None
    timeout_ms: int | None = None
    address: str | None = None
    port: int | None = None
    exit_code: bool = False
    trace: bool = False
    each: bool = False
    parallel: int | None = None
    fail_fast: bool = False
    help_wanted: bool = False
    streams: StreamOptions = StreamOptions()

    @property
    def reads_stdin(self) -> list[str]:
        """Which options want our stdin. Raises UsageProblem for an `--in` that cannot be meant."""
        users = ["--each"] if self.each else []
        users += ["--json -"] if self.json == "-" else []
        users += ["--metadata -"] if self.metadata == "-" else []
        specs = [parse_spec(text, "--in") for text in self.streams.ins]
        return users + [f"{spec.label}=-" for spec in specs if spec.is_standard]


class Invocation(Struct, frozen=True):
    """One call. `timeout` in seconds; None: no limit."""

    settings: Settings
    function_id: str
    payload: Any
    metadata: Any = None
    namespace: str | None = None
    timeout: float | None = CALL_SECONDS
    whole: bool = False  # was it asked for? Then it counts from the beginning, not from the connection
    traceparent: str | None = None
    ref_keys: Sequence[tuple[str, KeyPath]] = ()
    given: Sequence[ResolvedRef] = ()  # refs of the person's that it hands over


def prepare(ctx: typer.Context, options: TriggerOptions) -> Invocation:
    """Check and read everything local. No connection is made. Raises UsageProblem, LocalProblem,
    UnknownTarget, RefSpent.
    """
    if not options.function:
        raise UsageProblem("missing FUNCTION", hint="iii trigger FUNCTION [key=value]...")
    if options.form not in FORMATS:
        raise UsageProblem(f"--format is one of {', '.join(FORMATS)}")
    options.streams.check()
    _check_stdin(ctx, options)
    timeout = _timeout(options)
    documents = _documents(options)
    payload = build_payload(options.pairs, options.strings, *documents)
    given = [_find_ref(text) for text in options.refs]
    settings = target_settings(ctx, options, [ref for _, ref in given])
    for key, ref in given:
        payload = embed(payload, key, ref.ref.to_json(), "--ref")
        _notices(ref, settings)
    _check_argument(options.function)
    return Invocation(
        settings=settings,
        function_id=options.function,
        payload=payload,
        metadata=None if options.metadata is None else _document(options.metadata, "--metadata"),
        namespace=_namespace(ctx, settings, options.function),
        timeout=timeout,
        whole=options.timeout is not None or options.timeout_ms is not None,
        traceparent=traceparent_of(os.environ, begin=options.trace),
        ref_keys=[("--ref", key) for key, _ in given],
        given=[ref for _, ref in given],
    )


def check_each(options: TriggerOptions) -> None:
    """Raises UsageProblem for what `--each` cannot do, or what only it can."""
    if not options.each:
        for typed, option in ((options.parallel, "-P"), (options.fail_fast or None, "--fail-fast")):
            if typed is not None:
                raise UsageProblem(f"{option} needs --each")
        return
    others = {
        "--json": options.json is not None,
        "--ref": bool(options.refs),
        "--void": options.void,
        "--format": options.form != "pretty",
        "--dry-run": options.dry_run,
        "--exit-code": options.exit_code,
        "--result": options.streams.result is not None,
        "a stream": options.streams.wanted,
    }
    for option, typed in others.items():
        if typed:
            raise UsageProblem(f"--each makes many calls, and {option} is for one")
    if options.parallel is not None and not 1 <= options.parallel <= PARALLEL_MAX:
        raise UsageProblem(f"-P is a number of calls from 1 to {PARALLEL_MAX}")


def target_settings(
    ctx: typer.Context, options: TriggerOptions, refs: Sequence[ResolvedRef] = ()
) -> Settings:
    """The settings, with `--address` and `--port` in place of `--url`, at the engine of the saved refs."""
    if options.address is not None or options.port is not None:
        flags = flags_of(ctx)
        if flags.url is not None:
            raise UsageProblem("either --url or --address and --port")
        host = "localhost" if options.address is None else options.address
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        ctx.obj = replace(flags, url=f"ws://{host}:{49134 if options.port is None else options.port}")
    saved = [ref for ref in refs if ref.engine_url is not None]
    if len({ref.engine_url for ref in saved}) > 1:
        raise UsageProblem("the saved refs belong to different engines, and a call has one")
    if not saved:
        return settings_of(ctx)
    return settings_of(ctx, engine_url=saved[0].engine_url, engine_tls=saved[0].engine_tls)


def embed(payload: Any, key: KeyPath, value: Any, option: str) -> Any:
    """The payload with `value` at `key`. Raises UsageProblem."""
    try:
        return place(payload, key, value)
    except MalformedPath as error:
        raise UsageProblem(f"{option}: {error}") from None


def _check_stdin(ctx: typer.Context, options: TriggerOptions) -> None:
    """Before any of it is read."""
    users = (["--token-file -"] if flags_of(ctx).token_file == "-" else []) + options.reads_stdin
    if len(users) > 1:
        raise UsageProblem(f"{' and '.join(users)} cannot both read standard input")


def _documents(options: TriggerOptions) -> list[Any]:
    return [] if options.json is None else [_document(options.json, "--json")]


def _document(text: str, option: str) -> Any:
    """JSON, `@FILE`, or `-`. Raises UsageProblem and LocalProblem."""
    if text == "-":
        return parse_document(_read_stdin(), f"{option} -")
    if text.startswith("@"):
        return parse_document(_read_file(text[1:]), f"{option} {text}")
    return parse_document(text, option)


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise cannot_read(path, error) from None


def _read_stdin() -> bytes:
    try:
        return sys.stdin.buffer.read()
    except (OSError, ValueError, AttributeError) as error:
        raise cannot_read("standard input", error if isinstance(error, OSError) else "it is closed") from None


def _find_ref(text: str) -> tuple[KeyPath, ResolvedRef]:
    from iii_cli.config.refspec import resolve_ref
    from iii_cli.config.store import SavedRefs

    parts = split_key(text)
    if parts is None:
        raise UsageProblem("--ref is written KEY=REF, such as --ref reader=@x/reader")
    key, ref = parts
    path = key_of(key, "--ref")
    return path, resolve_ref(ref, None, environ=os.environ, store=SavedRefs(), option=f"--ref {key}=")


def _notices(ref: ResolvedRef, settings: Settings) -> None:
    if not settings.quiet:
        for notice in ref.notices:
            tell(notice)


def _timeout(options: TriggerOptions) -> float | None:
    if options.timeout is not None and options.timeout_ms is not None:
        raise UsageProblem("either --timeout or --timeout-ms")
    if options.timeout is not None:
        return seconds(options.timeout, "--timeout")
    if options.timeout_ms is None:
        return None if options.streams.wanted else CALL_SECONDS
    if options.timeout_ms < 0:
        raise UsageProblem("--timeout-ms is a number of milliseconds, 0 or more")
    return options.timeout_ms / 1000 or None


def _namespace(ctx: typer.Context, settings: Settings, function_id: str) -> str | None:
    """What every SDK sends: the engine's own functions are in `default` unless the person says otherwise."""
    if function_id.startswith("engine::") and flags_of(ctx).namespace is None:
        return None
    return settings.namespace


def _check_argument(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageProblem("FUNCTION is not UTF-8") from None

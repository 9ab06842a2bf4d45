"""`iii trigger` with streams: everything local first, then the ends, then the call."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from msgspec.structs import replace

from iii_cli.client.streams import LINGER_SECONDS, STALL_SECONDS, StreamedCall, call_with_lanes
from iii_cli.commands.common import hand_over_token, run, tell
from iii_cli.commands.stream_specs import StreamSpec, check_keys, key_of, parse_spec
from iii_cli.commands.streams import MessageOutput
from iii_cli.commands.trigger.ends import SourceEnd, TargetEnd
from iii_cli.commands.trigger.lanes import LaneMaker
from iii_cli.commands.trigger.order import embed
from iii_cli.commands.trigger.progress import meter_of
from iii_cli.commands.trigger.result import ResultDoor, ref_in_result
from iii_cli.errors import FunctionFailed, UsageProblem
from iii_cli.io.progress import Progress, progress_mode
from iii_cli.io.sinks import share_a_file
from iii_cli.protocol.payload import redacted, split_key
from iii_cli.protocol.refs import Direction
from iii_cli.quantities import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.client.connection import Caller
    from iii_cli.client.streams import Lane
    from iii_cli.commands.trigger.order import Invocation, TriggerOptions
    from iii_cli.protocol.payload import KeyPath

__all__ = ("call_with_streams", "stream_payload")

PLACEHOLDER = {"channel_id": "(made by the call)", "access_key": "***"}


@dataclass(frozen=True, slots=True)
class _Specs:
    """The streams, as meant. `read` is where in the result a ref is looked for, and its TARGET."""

    ins: list[StreamSpec]
    outs: list[StreamSpec]
    read: tuple[KeyPath, StreamSpec] | None

    @property
    def targets(self) -> list[StreamSpec]:
        return [*self.outs, *([self.read[1]] if self.read else [])]


def stream_payload(invocation: Invocation, options: TriggerOptions) -> Any:
    """The payload as `--dry-run` shows it: a stand-in where a ref of a new channel would be."""
    return _with_placeholders(invocation, _specs(invocation, options))


def call_with_streams(invocation: Invocation, options: TriggerOptions) -> Any:
    """Make the call with its streams, print its result, and return it.

    Everything that can be known locally is checked before an end is opened or the call is made.
    """
    specs = _specs(invocation, options)
    _with_placeholders(invocation, specs)
    _check_stop_early(options, specs)
    with ExitStack() as stack:
        door = stack.enter_context(MessageOutput(options.streams.messages, quiet=invocation.settings.quiet))
        plan = _Plan(invocation, options, specs, door)
        stack.callback(plan.close)
        return run(call_with_lanes, plan)


def _specs(invocation: Invocation, options: TriggerOptions) -> _Specs:
    """Read the specs and find what contradicts. Raises UsageProblem."""
    streams = options.streams
    specs = _Specs(
        [parse_spec(text, "--in") for text in streams.ins],
        [parse_spec(text, "--out") for text in streams.outs],
        None if streams.read is None else _read_spec(streams.read),
    )
    keys = [(spec.option, spec.key) for spec in (*specs.ins, *specs.outs)]
    check_keys([*invocation.ref_keys, *keys])
    writers = [f"{spec.label}=-" for spec in specs.targets if spec.is_standard]
    writers += ["--result -"] if streams.result == "-" else []
    if len(writers) > 1:
        raise UsageProblem(f"{' and '.join(writers)} cannot both write to standard output")
    files = [spec.place for spec in specs.targets if spec.command is None and not spec.is_standard]
    if not files and (streams.no_clobber or streams.keep_partial):
        raise UsageProblem("--no-clobber and --keep-partial are about a FILE; they need --out FILE")
    if streams.messages is not None and (streams.lines or streams.text or streams.jsonl):
        raise UsageProblem("--lines, --text and --jsonl show the messages themselves; leave --messages out")
    files += [] if streams.result in (None, "-") else [str(streams.result)]
    if share_a_file(files):
        raise UsageProblem("two streams cannot write to the same FILE")
    return specs


def _check_stop_early(options: TriggerOptions, specs: _Specs) -> None:
    if not options.streams.stop_early:
        return
    if options.streams.require_seal:
        raise UsageProblem("--stop-early verifies nothing, and --require-seal wants it verified")
    if all(spec.command is None for spec in specs.targets):
        raise UsageProblem("--stop-early needs a cmd:COMMAND that takes a stream")


def _read_spec(text: str) -> tuple[KeyPath, StreamSpec]:
    """`PATH` or `PATH=TARGET`; `.` is the result itself."""
    parts = (".", text[2:]) if text.startswith(".=") else split_key(text)
    path, place = parts if parts is not None else (text, "-")
    key = () if path == "." else key_of(path, "--read")
    return key, replace(parse_spec(f"read={place}", "--out"), option="--read", key=key)


def _with_placeholders(invocation: Invocation, specs: _Specs) -> Any:
    payload = deepcopy(invocation.payload)
    for spec, direction in [(spec, "read") for spec in specs.ins] + [(spec, "write") for spec in specs.outs]:
        payload = embed(payload, spec.key, PLACEHOLDER | {"direction": direction}, spec.option)
    return payload


@final
class _Plan:
    """A CallPlan: everything that was typed, checked and opened locally."""

    def __init__(
        self, invocation: Invocation, options: TriggerOptions, specs: _Specs, door: MessageOutput
    ) -> None:
        """Raises whatever can be known before a connection is made."""
        streams = options.streams
        self.endpoint = invocation.settings.endpoint
        self.whole = invocation.timeout
        self._invocation = invocation
        self._specs = specs
        self._stall_asked = streams.stall_timeout is not None
        self._linger = _span(streams.linger, "--linger", LINGER_SECONDS)
        self._stall = _span(streams.stall_timeout, "--stall-timeout", STALL_SECONDS)
        commands = [spec.command for spec in (*specs.ins, *specs.targets) if spec.command is not None]
        hand_over_token(streams.pass_token, to_command=bool(commands))
        self._maker = LaneMaker(self.endpoint, streams, door, invocation.traceparent)
        stdout_taken = any(spec.is_standard for spec in specs.targets)
        shown = stdout_taken and sys.stdout is not None and sys.stdout.isatty()
        self._progress = progress_mode(streams.progress, data_on_terminal=shown)
        self._result = ResultDoor(streams.result, options.form, stdout_taken=stdout_taken)
        self._targets = [self._target(spec, options) for spec in specs.targets]
        stdin_taken = invocation.settings.stdin_taken or bool(options.reads_stdin)
        self._sources: list[SourceEnd] = []
        for spec in specs.ins:
            self._sources.append(
                SourceEnd(
                    spec,
                    pass_on=options.exit_code,
                    stdin_taken=stdin_taken,
                    producer=options.streams.producer,
                )
            )
        if any(source.asks_a_person for source in self._sources):
            self._notice("reading from the terminal; Ctrl-D ends it")

    def close(self) -> None:
        """Give back what was opened."""
        for source in self._sources:
            source.close()

    # what the client asks for

    async def lay(self, caller: Caller, lanes: list[Lane]) -> Any:
        payload = deepcopy(self._invocation.payload)
        await self._result.ready()
        for spec, source in zip(self._specs.ins, self._sources, strict=True):
            lane: Lane = await self._maker.in_lane(caller, spec, source)
            lanes.append(lane)
            payload = embed(payload, spec.key, lane.theirs.to_json(), spec.option)
        for spec, target in zip(self._specs.outs, self._targets, strict=False):
            lane = await self._maker.out_lane(caller, spec, target)
            lanes.append(lane)
            payload = embed(payload, spec.key, lane.theirs.to_json(), spec.option)
        if self._specs.read is not None:
            await self._targets[-1].ready()
        return payload

    def order(self, caller: Caller, payload: Any, lanes: list[Lane]) -> StreamedCall:
        invocation = self._invocation

        async def invoke() -> Any:
            try:
                return await caller.call(
                    invocation.function_id,
                    payload,
                    namespace=invocation.namespace,
                    metadata=invocation.metadata,
                    traceparent=invocation.traceparent,
                )
            except FunctionFailed as failure:
                raise redacted(failure, payload) from None

        async def answered(result: Any) -> Sequence[Lane]:
            await self._result.show(result)
            more = self._lanes_of(result)
            lanes.extend(more)
            for lane in more:
                self._shown.add(meter_of(lane, lanes, size=None, label=len(lanes) > 1))
            return more

        return StreamedCall(
            function_id=invocation.function_id,
            endpoint=self.endpoint,
            invoke=invoke,
            lanes=tuple(lanes),
            answered=answered,
            notice=self._notice,
            linger=self._linger,
            stall=self._stall,
            stall_asked=self._stall_asked,
            whole=self.whole,
        )

    def watching(self, lanes: list[Lane]) -> Progress:
        settings, specs = self._invocation.settings, self._specs
        several = len(specs.ins) + len(specs.targets) > 1
        sizes = [*(source.size for source in self._sources), *(None for _ in specs.targets)]
        meters = [
            meter_of(lane, lanes, size=size, label=several) for lane, size in zip(lanes, sizes, strict=False)
        ]
        self._shown = Progress(self._progress, *meters, color=settings.use_color(True))
        return self._shown

    def release(self) -> None:
        self._result.dismiss()
        for target in self._targets:
            target.dismiss()

    # inside

    def _target(self, spec: StreamSpec, options: TriggerOptions) -> TargetEnd:
        return TargetEnd(
            spec,
            no_clobber=options.streams.no_clobber,
            keep_partial=options.streams.keep_partial,
            pass_on=options.exit_code,
        )

    def _lanes_of(self, result: Any) -> list[Lane]:
        """The stream that `--read` finds in the result. Raises Failure."""
        if self._specs.read is None:
            return []
        path, spec = self._specs.read
        ref, size = ref_in_result(result, path)
        theirs = ref.facing(Direction.WRITE)
        return [self._maker.lane_of(spec, self._targets[-1], theirs=theirs, ours=ref, expected_bytes=size)]

    def _notice(self, text: str) -> None:
        if not self._invocation.settings.quiet:
            tell(text)


def _span(text: str | None, option: str, default: float) -> float | None:
    return default if text is None else seconds(text, option)

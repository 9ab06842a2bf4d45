"""The streams of a trigger, from the options to the lanes of the client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, final

from iii_cli.client.call import new_stream_id
from iii_cli.client.channels import ChannelReader, ChannelWriter
from iii_cli.client.streams import InLane, OutLane, frame_bytes
from iii_cli.client.transfer import download
from iii_cli.commands.streams import say_early
from iii_cli.errors import UsageProblem
from iii_cli.protocol.records import asked_mode
from iii_cli.protocol.seal import Mode, Sealer
from iii_cli.protocol.verifier import Verifier

if TYPE_CHECKING:
    from iii_cli.client.connection import Caller
    from iii_cli.client.transfer import ByteSink
    from iii_cli.commands.stream_specs import StreamSpec
    from iii_cli.commands.streams import MessageOutput
    from iii_cli.commands.trigger.ends import SourceEnd, TargetEnd
    from iii_cli.commands.trigger.order import StreamOptions
    from iii_cli.protocol.refs import ChannelRef, Endpoint
    from iii_cli.protocol.verifier import Verdict

__all__ = ("LaneMaker",)

BUFFER = 16  # messages of at most 1 MiB: what a channel whose writer is ours may hold (design.md section 4)


@final
class LaneMaker:
    """Makes lanes that share their options."""

    def __init__(
        self, endpoint: Endpoint, streams: StreamOptions, door: MessageOutput, traceparent: str | None
    ) -> None:
        """Raises UsageProblem for options that cannot be meant."""
        if streams.buffer is not None and not 1 <= streams.buffer <= 1024:
            raise UsageProblem("--buffer is a number of messages from 1 to 1024")
        self._endpoint = endpoint
        self._streams = streams
        self._door = door
        self._traceparent = traceparent  # so that the engine knows whose channels they are
        self._mode = asked_mode(lines=streams.lines, text=streams.text, jsonl=streams.jsonl)

    async def in_lane(self, caller: Caller, spec: StreamSpec, source: SourceEnd) -> InLane:
        """A channel that we write. Raises as `Caller.create_channel`."""
        buffer = BUFFER if self._streams.buffer is None else self._streams.buffer
        mode = Mode.BYTES if self._mode in (None, Mode.TEXT) else self._mode
        writer, reader = await caller.create_channel(buffer, traceparent=self._traceparent)
        sealed = mode is Mode.BYTES if self._streams.seal is None else self._streams.seal
        size = source.size if mode is Mode.BYTES else None
        sealer = Sealer(new_stream_id(), mode=mode, size=size) if sealed else None
        return InLane(
            label=spec.label,
            theirs=reader,
            writer=ChannelWriter(self._endpoint, writer, sealer),
            supply=source.supply,
            mode=mode,
            longest_frame=frame_bytes(buffer),
        )

    async def out_lane(self, caller: Caller, spec: StreamSpec, target: TargetEnd) -> OutLane:
        """A channel that we read. Raises as `Caller.create_channel`."""
        writer, reader = await caller.create_channel(self._streams.buffer, traceparent=self._traceparent)
        return self.lane_of(spec, target, theirs=writer, ours=reader)

    def lane_of(
        self,
        spec: StreamSpec,
        target: TargetEnd,
        *,
        theirs: ChannelRef,
        ours: ChannelRef,
        expected_bytes: int | None = None,
    ) -> OutLane:
        """A channel that is there already, which we read."""
        verifier = Verifier(
            require_seal=self._streams.require_seal,
            allow_empty=self._streams.allow_empty or expected_bytes == 0,
            expect="messages" if self._mode in (Mode.LINES, Mode.TEXT) else None,
        )
        reader = ChannelReader(self._endpoint, ours, verifier)

        async def copy(sink: ByteSink, **more: Any) -> Verdict | None:
            return await download(
                reader,
                sink,
                mode=self._mode,
                message=self._door.show,
                **more,
                stop_early=self._streams.stop_early,
                early=say_early,
            )

        return OutLane(
            label=spec.label,
            theirs=theirs,
            reader=reader,
            demand=target.demand,
            copy=copy,
            ready=target.ready,
            dismiss=target.dismiss,
            expected_bytes=expected_bytes,
        )

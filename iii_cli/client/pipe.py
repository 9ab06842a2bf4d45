"""A pipeline that runs: its channels, its calls side by side, and how it ends (docs: design, "Pipelines")."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, final

import anyio

from iii_cli.client.call import CALL_SECONDS, new_stream_id
from iii_cli.client.channels import CHANNEL_BUFFER, ChannelReader, ChannelWriter, EndState, probe
from iii_cli.client.streams import LINGER_SECONDS, CallStream, StreamedCall
from iii_cli.client.transfer import FUNCTION, DownloadStatus, UploadStatus, upload
from iii_cli.errors import (
    ContentDiffers,
    Failure,
    FunctionFailed,
    NotConfirmed,
    NothingArrived,
    PeerLeft,
    StageFailed,
    StreamTruncated,
    TimedOut,
    UnknownTarget,
    sole_cause,
)
from iii_cli.limits import limit
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.payload import redacted
from iii_cli.protocol.pipeline import cause_of, is_consequence, plan
from iii_cli.protocol.refs import Direction
from iii_cli.protocol.seal import Sealer
from iii_cli.protocol.verifier import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Sequence

    from anyio.abc import ByteSendStream

    from iii_cli.client.connection import Connection
    from iii_cli.protocol.pipeline import Place, Stage
    from iii_cli.protocol.refs import ChannelRef, Endpoint
    from iii_cli.protocol.verifier import Verdict

__all__ = ("Ends", "Pipe", "pipe")

CAUSE_SECONDS = limit("cause", 1.0)  # until the failure comes that others are a consequence of
EARLY_SECONDS = limit("early", 10.0)  # after its answer a stage neither reads nor begins to write
SETTLE_SECONDS = limit("settle", 5.0)  # for the calls to end, where one has failed
SWEPT_SECONDS = limit("swept", 300.0)  # after which the engine takes an end away that nobody has opened

Ends: TypeAlias = "tuple[ChannelRef, ChannelRef]"  # of one channel: the writer's, the reader's
MakeStream: TypeAlias = "Callable[[Ends], CallStream]"


async def pipe(
    connection: Connection,
    endpoint: Endpoint,
    stages: Sequence[Stage],
    source: AsyncIterable[bytes] | None,
    sink: ByteSendStream | None,
    *,
    timeout: float | None,  # noqa: ASYNC109 - of the whole, in seconds
    require_seal: bool,
    notice: Callable[[str], None],
) -> list[Any]:
    """`Worker.pipe`, which says what it promises."""
    deadline = math.inf if timeout is None else anyio.current_time() + timeout
    infos = []
    for number, stage in enumerate(stages, 1):
        named = {"function_id": stage.function_id, "namespace": stage.home}
        try:
            infos.append(await connection.call("engine::functions::info", named, timeout=CALL_SECONDS))
        except FunctionFailed as failure:
            known = failure if failure.code != "NOT_FOUND" else UnknownTarget(failure.remote_message)
            raise StageFailed(number, stage.function_id, known) from None
    places = plan(stages, infos, no_in=source is None, no_out=sink is None)
    if source is not None:
        places[0].demand(Direction.READ, "the source")
    if sink is not None:
        places[-1].demand(Direction.WRITE, "the sink")

    def give(ends: Ends) -> CallStream:
        writer = ChannelWriter(endpoint, ends[0], Sealer(new_stream_id()))
        status = UploadStatus({"": writer}, reader=FUNCTION)

        async def move(stream: CallStream) -> None:
            assert source is not None
            await upload([_Chunks(source)], writer, status=status, words=stream.abort_words)

        return CallStream("input", ends[1], writer, status, move)

    def take(ends: Ends) -> CallStream:
        reader = ChannelReader(endpoint, ends[1], Verifier(require_seal=require_seal))
        status = DownloadStatus(reader, writer=FUNCTION, stage="moving")

        async def move(stream: CallStream) -> Verdict | None:
            assert sink is not None
            while events := await reader.pull():
                for opcode, payload, _ in events:
                    if opcode == Opcode.BINARY:
                        await sink.send(bytes(payload))
            failure, verdict = await reader.failure(), reader.verdict
            if failure is not None or verdict is None:
                raise failure or StreamTruncated("the output was left")
            await stream.permit(verdict)
            return verdict

        return CallStream("output", ends[0], reader, status, move)

    run = Pipe(connection, endpoint, places, notice=notice, require_seal=require_seal)
    try:
        return await run.run(
            None if source is None else give, None if sink is None else take, deadline=deadline, whole=timeout
        )
    except BaseExceptionGroup as group:
        raise sole_cause(group) from None


@final
class _Chunks:
    """What an async iterable gives, as an upload reads it."""

    name = "the source"
    short_by = 0

    def __init__(self, chunks: AsyncIterable[bytes]) -> None:
        self._chunks = aiter(chunks)
        self._rest = memoryview(b"")

    async def read_into(self, view: memoryview) -> int:
        while not self._rest:
            try:
                self._rest = memoryview(await anext(self._chunks))
            except StopAsyncIteration:
                return 0
        count = min(len(view), len(self._rest))
        view[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


@final
class Pipe:
    """One run of a pipeline. `require_seal`: a link must be sealed where its reader says whether it was."""

    def __init__(
        self,
        connection: Connection,
        endpoint: Endpoint,
        places: Sequence[Place],
        *,
        notice: Callable[[str], None],
        traceparent: str | None = None,
        require_seal: bool = False,
    ) -> None:
        self.input: CallStream | None = None
        self.output: CallStream | None = None
        self._connection = connection
        self._endpoint = endpoint
        self._places = places
        self._notice = notice
        self._traceparent = traceparent
        self._require_seal = require_seal
        self._links: list[Ends | None] = []  # the one before each stage, and the one behind the last
        self._results: dict[Place, Any] = {}  # of the calls that succeeded
        self._running = set(places)  # calls without an answer
        self._failures: list[tuple[int, Failure]] = []  # as they came, each with its place
        self._changed = anyio.Event()
        self._tasks = anyio.create_task_group()
        self._began = anyio.current_time()

    @property
    def streams(self) -> list[CallStream]:
        """Our own ends."""
        return [stream for stream in (self.input, self.output) if stream is not None]

    async def run(
        self,
        source: MakeStream | None,
        sink: MakeStream | None,
        *,
        opened: Callable[[], None] = lambda: None,
        answered: Callable[[list[Any]], Awaitable[None]] | None = None,
        stall: float | None = None,
        deadline: float = math.inf,
        whole: float | None = None,
    ) -> list[Any]:
        """Make the channels and the calls, to the end of each and of our streams; the results.

        `opened` hears when our ends are connected. Once all calls have succeeded `answered` takes the
        results, before the output is kept. Limits as of a StreamedCall.

        Raises as `create_channel` and the ends' `open`; then the failure that others are consequences of, a
        StageFailed where it is a stage's. However it ends, cancelled too: our ends are given up, those that
        no stage has taken are taken, and the calls get SETTLE_SECONDS to end.
        """
        try:
            await self._open(source, sink)
            opened()
            return await self._run(answered, stall, deadline, whole)
        finally:
            for stream in self.streams:
                await stream.close()

    async def _open(self, source: MakeStream | None, sink: MakeStream | None) -> None:
        wanted = [Direction.READ in place.keys for place in self._places]
        wanted.append(Direction.WRITE in self._places[-1].keys)
        for each in wanted:
            create = partial(self._connection.create_channel, CHANNEL_BUFFER, traceparent=self._traceparent)
            self._links.append(await create() if each else None)
        first, last = self._links[0], self._links[-1]
        if first is not None and source is not None:
            self.input = source(first)
            self.input.label = "input"
        if last is not None and sink is not None:
            self.output = sink(last)
            self.output.label = "output"
            self.output.check = self._check_output
        for stream in self.streams:
            await stream.end.open()

    async def _run(
        self,
        answered: Callable[[list[Any]], Awaitable[None]] | None,
        stall: float | None,
        deadline: float,
        whole: float | None,
    ) -> list[Any]:
        calling = anyio.CancelScope(shield=True)
        failure: Failure | None = None
        results: list[Any] = []

        async def call_all() -> None:
            with calling:
                async with anyio.create_task_group() as calls:
                    for at in range(len(self._places)):
                        calls.start_soon(self._call, at)

        async def hand_on(values: list[Any]) -> list[CallStream]:
            if answered is not None:
                await answered(values)
            return []

        streamed = StreamedCall(
            function_id="the pipeline",
            endpoint=self._endpoint,
            streams=self.streams,
            invoke=self._outcome,
            answered=hand_on,
            notice=self._notice,
            linger=LINGER_SECONDS,
            stall=stall,
            stall_asked=stall is not None,
            deadline=deadline,
            whole=whole,
            unanswered=lambda: f"no answer of {self._names_of_running()}",
        )
        async with self._tasks as tasks:
            tasks.start_soon(call_all)
            for stream in self.streams:
                tasks.start_soon(self._watch_stream, stream)
            try:
                results = await streamed.run()
            except Failure as error:
                failure = error
            finally:
                never_opened = await self._settle()
                calling.cancel()
                tasks.cancel_scope.cancel()
        if failure is not None:
            raise self._explained(failure, never_opened)
        return results

    # inside

    async def _call(self, at: int) -> None:
        place, before, behind = self._places[at], self._links[at], self._links[at + 1]
        refs = {Direction.READ: before and before[1], Direction.WRITE: behind and behind[0]}
        payload = place.with_refs({side: ref.to_json() for side, ref in refs.items() if ref is not None})
        try:
            self._results[place] = await self._connection.call(
                place.function_id, payload, namespace=place.namespace, traceparent=self._traceparent
            )
        except FunctionFailed as failure:
            self._fail(place.number, place.failed(redacted(failure, payload)))
        except Failure as failure:
            self._fail(place.number, failure)
        else:
            self._tasks.start_soon(self._watch_neighbours, at)
        self._running.discard(place)
        self._note_change()

    async def _outcome(self) -> list[Any]:
        """Wait for every call's success, and for our input's end. Raises what a failure comes down to."""
        given = self.input
        await self._until(
            lambda: bool(self._failures) or not (self._running or (given and not given.over.is_set()))
        )
        if self._failures:
            with anyio.move_on_after(CAUSE_SECONDS):
                await self._until(
                    lambda: not self._running or not all(is_consequence(each) for _, each in self._failures)
                )
            for stream in self.streams:
                stream.failure = None  # it is among them
            raise cause_of(self._failures)
        self._check_links()
        return [self._results[place] for place in self._places]

    async def _watch_stream(self, stream: CallStream) -> None:
        """An end of ours that fails ends the pipeline, but not where a stage wanted no more of our input."""
        await stream.over.wait()
        if stream.failure is not None and not isinstance(stream.failure, PeerLeft):
            self._fail(0 if stream.is_input else len(self._places) + 1, stream.failure)
        self._note_change()

    async def _watch_neighbours(self, at: int) -> None:
        """A stage that has answered is read from and written to in vain."""
        place, link = self._places[at], self._links[at + 1]
        name, count = f"stage {place.number} answered and", -1
        await anyio.sleep(EARLY_SECONDS)
        if self._fact(place, "stdin_digest") is None and self._links[at] is not None:
            if at and self._places[at - 1] in self._running:
                self._fail(place.number, NotConfirmed(f"{name} no longer reads; stage {at} is still writing"))
            while at == 0 and self.input is not None and not self.input.ended:
                if count == (count := self.input.end.statistics().progress):
                    self._fail(1, NotConfirmed(f"{name} no longer reads; the input has not ended"))
                    break
                await anyio.sleep(EARLY_SECONDS)
        waits = at + 1 < len(self._places) and self._places[at + 1] in self._running
        if link is not None and waits and await self._take(link[0]):
            self._fail(place.number, NothingArrived(f"{name} never opened its output"))

    def _fail(self, number: int, failure: Failure) -> None:
        self._failures.append((number, failure))
        self._note_change()

    def _note_change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    # what was read is what was written

    def _fact(self, place: Place, name: str) -> Any:
        """What a served filter says of its streams."""
        result = self._results.get(place)
        return result.get(name) if place.served and isinstance(result, dict) else None

    def _check_links(self) -> None:
        """All calls have succeeded. Raises ContentDiffers, StreamTruncated for an input without a seal."""
        unknown = []
        figures = None if self.input is None else self.input.end.figures
        wrote, writer = None if figures is None else figures.digest, "we"
        for place in self._places:
            read, takes = self._fact(place, "stdin_digest"), Direction.READ in place.keys
            if None not in (wrote, read) and wrote != read:
                raise ContentDiffers(f"{place.name} has read other bytes than {writer} wrote")
            if takes and self._require_seal and place.served and not self._fact(place, "stdin_verified"):
                raise StreamTruncated(f"{place.name}: its input was not sealed, and a seal is required")
            unknown += [place.name] if takes and not place.served else []
            wrote, writer = self._fact(place, "digest"), place.name
        if self._require_seal and unknown:
            self._notice(f"not verifiable, as only `serve` says what it read: {'; '.join(unknown)}")

    def _check_output(self, verdict: Verdict) -> None:
        place = self._places[-1]
        if self._fact(place, "digest") not in (None, verdict.figures.digest):
            raise ContentDiffers(f"the output has other bytes than {place.name} wrote")

    # how it ends

    async def _settle(self) -> list[str]:
        """Take what nobody has taken, and give the calls time to end. The ends that were never opened."""
        never_opened: list[str] = []

        async def take(number: int, ref: ChannelRef) -> None:
            if await self._take(ref):
                never_opened.append(f"the {ref.direction.noun} of stage {number}")

        with anyio.move_on_after(SETTLE_SECONDS, shield=True):
            async with anyio.create_task_group() as tasks:
                for at, link in enumerate(self._links if self._running else ()):
                    if link is not None and at > 0:
                        tasks.start_soon(take, at, link[0])
                    if link is not None and at < len(self._places):
                        tasks.start_soon(take, at + 1, link[1])
            await self._until(lambda: not self._running)
        if self._running:
            self._notice(f"left running, since nothing can stop it: {self._names_of_running()}")
        return sorted(never_opened)

    async def _take(self, ref: ChannelRef) -> bool:
        """Take an end if nobody has: its reader hears an abort, its writer that it was left."""
        seal = Sealer(new_stream_id())
        words = [seal.open_frame(), seal.abort_frame(1, "the pipeline has ended")]
        return await probe(self._endpoint, ref, words) is EndState.UNTAKEN

    def _names_of_running(self) -> str:
        return "; ".join(place.name for place in self._places if place in self._running)

    def _explained(self, failure: Failure, never_opened: Sequence[str]) -> Failure:
        """With what was found out since."""
        if isinstance(failure, TimedOut) and never_opened:
            return failure.with_message(f"{failure.message}; never opened: {', '.join(never_opened)}")
        if isinstance(failure, NothingArrived):
            return failure.with_hint(None)  # it names an option of other commands
        if isinstance(failure, StageFailed) and anyio.current_time() - self._began > SWEPT_SECONDS:
            text = failure.failure.message  # an end that is gone is a 404
            if "nothing_arrived" in text or "404" in text:
                return failure.with_hint("an end that is not opened within 5 minutes is swept away")
        return failure

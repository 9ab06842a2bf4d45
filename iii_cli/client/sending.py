"""From sources into a channel: the writing half of every pipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from mmap import mmap
from typing import TYPE_CHECKING, Protocol

import anyio

from iii_cli.client.limits import Limits, within
from iii_cli.errors import Failure, Interrupted, LocalProblem, ProducerFailed, sole_cause
from iii_cli.wire.frames import FRAME_BYTES_MAX
from iii_cli.wire.records import LONGEST_JSONL, LineSplitter, jsonl_to_record
from iii_cli.wire.seal import Mode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from iii_cli.client.fan_out import FanOut
    from iii_cli.client.writer import ChannelWriter

__all__ = ("ByteSource", "WriteOrder", "abort_words", "write_stream")


class ByteSource(Protocol):
    """Where bytes come from; `terminal.sources.Source` is one."""

    name: str

    @property
    def short_by(self) -> int:
        """Bytes that the source promised and did not have."""

    async def read_into(self, view: memoryview) -> int:
        """Fill some of `view` and say how much; 0 is the end."""


@dataclass(slots=True)
class WriteOrder:
    """One stream to be written.

    `conclude` runs after the last byte and before the stream is ended: it raises where the producer failed,
    so that the stream is aborted instead. Other than `size` bytes abort it too, in byte mode. `moved` hears
    of every payload byte. `words` finds the code and reason of an abort, for whoever knows more of the cause
    than that the writing was cancelled.
    """

    writer: ChannelWriter | FanOut
    sources: Sequence[ByteSource]
    mode: Mode = Mode.BYTES
    size: int | None = None
    limits: Limits = field(default_factory=Limits)
    moved: Callable[[int], None] = lambda count: None
    conclude: Callable[[], Awaitable[None]] | None = None
    words: Callable[[BaseException], tuple[int, str]] = field(default_factory=lambda: abort_words)


async def write_stream(order: WriteOrder) -> None:
    """Write the sources, in order, as one stream, and end it.

    Returns when the writer has finished: the engine has everything, or the reader has confirmed it. Whatever
    else happens, cancellation included, aborts the stream and is raised: one Failure where it is ours.
    """
    writer = order.writer
    try:
        await within(order.limits, lambda: _progress(writer), lambda: _write(order), "the stream")
    except BaseException as error:
        cause = sole_cause(error)
        await writer.abort(*order.words(cause))
        if isinstance(cause, Failure):
            cause = await writer.cause_of(cause)
        if cause is error:
            raise
        raise cause from None


async def _write(order: WriteOrder) -> None:
    writer = order.writer
    await writer.open()
    async with anyio.create_task_group() as tasks:
        await tasks.start(writer.attend)
        for source in order.sources:
            await _PUMPS[order.mode](source, order)
            if source.short_by > 0:
                raise LocalProblem(f"{source.name} ended {source.short_by} bytes before its size")
        if order.conclude is not None:
            await order.conclude()
        if order.size is not None and (count := writer.statistics().bytes) < order.size:
            raise LocalProblem(f"the input ended after {count} bytes, --size promised {order.size}")
        await writer.finish()
        tasks.cancel_scope.cancel()


def abort_words(cause: BaseException) -> tuple[int, str]:
    """The code and reason that an abort frame carries."""
    if isinstance(cause, Interrupted):
        return cause.exit_status, "interrupted"
    if isinstance(cause, ProducerFailed):
        return cause.exit_status, cause.reason
    if isinstance(cause, Failure):
        return cause.exit_status, cause.message
    if isinstance(cause, anyio.get_cancelled_exc_class()):
        return 130, "interrupted"
    return 1, "internal error"


def _progress(writer: ChannelWriter | FanOut) -> int:
    """Grows while the socket takes anything, even the rest of a frame."""
    counted = writer.statistics()
    return counted.bytes + counted.messages - counted.unsent_bytes


async def _pump_bytes(source: ByteSource, order: WriteOrder) -> None:
    """The fast path: one buffer, and frames as large as what the source has at hand."""
    # On a page of its own: a copy to an address that is none of a cache line's takes the kernel nearly twice
    # as long, and that copy is half of what a writer of files does.
    buffer = memoryview(mmap(-1, FRAME_BYTES_MAX))
    while count := await source.read_into(buffer):
        if order.size is not None and order.writer.statistics().bytes + count > order.size:
            raise LocalProblem(f"{source.name} gave more than the {order.size} bytes that --size promised")
        await order.writer.push(buffer[:count])
        order.moved(count)


async def _pump_lines(source: ByteSource, order: WriteOrder) -> None:
    splitter = LineSplitter(what=source.name)
    buffer = memoryview(bytearray(LINES_BYTES))
    while count := await source.read_into(buffer):
        await order.writer.push_messages(splitter.feed(buffer[:count]))
        order.moved(count)
    last = splitter.finish()
    if last is not None:
        await order.writer.push_messages([last])


async def _pump_jsonl(source: ByteSource, order: WriteOrder) -> None:
    splitter = LineSplitter(longest=LONGEST_JSONL, what=source.name)
    buffer = memoryview(bytearray(LINES_BYTES))
    number = 0
    while True:
        count = await source.read_into(buffer)
        lines = splitter.feed(buffer[:count]) if count else [splitter.finish()]
        for line in lines:
            if line is None:
                return
            number += 1
            is_text, payload = jsonl_to_record(line, number, source.name)
            if is_text:
                await order.writer.push_message(payload)
            else:
                await order.writer.push_whole(payload)
        order.moved(count)
        if not count:
            return


LINES_BYTES = 256 << 10  # many short lines at once; each becomes a Python object, so not a megabyte of them

_PUMPS = {Mode.BYTES: _pump_bytes, Mode.LINES: _pump_lines, Mode.TEXT: _pump_lines, Mode.RECORDS: _pump_jsonl}

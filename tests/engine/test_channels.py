"""The channel table and the queue between two ends."""

from __future__ import annotations

from itertools import count, product
from typing import TYPE_CHECKING, Any

import pytest

from iii_cli.engine.channels import TABLE, Channel, ChannelTable, Ending, State, Step, TooManyChannels
from iii_cli.engine.model import SECOND, Settings, TraceContext
from iii_cli.engine.spans import SpanStore
from iii_cli.protocol.refs import Direction
from tests.engine.bench import Bench, uuid

if TYPE_CHECKING:
    from iii_cli.protocol.frames import Event

READ, WRITE = Direction.READ, Direction.WRITE


def _table(**settings: Any) -> ChannelTable:
    ids = count(1)
    spans = SpanStore(lambda: uuid(next(ids)), 10**6)
    return ChannelTable(lambda: uuid(next(ids)), Settings(**settings), spans)


def _opened(table: ChannelTable, buffer_size: int | None = None) -> Channel:
    channel = table.create(buffer_size, 0)
    for direction in Direction:
        assert table.take(channel.id, direction, 0) is channel
    return channel


def _put(channel: Channel, *sizes: int) -> int:
    """Offer messages of these sizes, and say how many were taken."""
    return channel.put([(2, bytes(size), True) for size in sizes])[0]


# The states


def _at(direction: Direction, state: State) -> Channel:
    """A channel of which that end is in that state, and the other one free."""
    channel = _table().create(None, 0)
    for step in {State.FREE: (), State.TAKEN: (Step.CAME,), State.OVER: (Step.CAME, Step.LEFT)}[state]:
        assert channel.step(direction, step)
    return channel


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize(("state", "step"), list(product(State, Step)), ids=lambda value: value.name)
def test_every_step_of_an_end_in_every_state(direction: Direction, state: State, step: Step) -> None:
    channel = _at(direction, state)
    end = channel.end(direction)
    assert end.state is state
    channel.put([(2, b"data", True)])
    heard: list[Direction] = []
    channel.wake_reader = lambda: heard.append(READ)
    channel.wake_writer = lambda: heard.append(WRITE)
    after = TABLE.get((state, step))
    assert channel.step(direction, step) is (after is not None)
    assert end.state is (after or state)
    assert (channel.ended, channel.unread) == (
        channel.writer.state is State.OVER,
        channel.reader.state is State.OVER,
    )
    came_to_its_end = after is State.OVER
    assert heard == ([READ if direction is WRITE else WRITE] if came_to_its_end else [])
    wanted = not (direction is READ and came_to_its_end)
    assert (len(channel), channel.queued_bytes) == ((1, 4) if wanted else (0, 0))


# The queue


@pytest.mark.parametrize(
    ("asked", "given"), [(None, 64), (0, 1), (1, 1), (64, 64), (1024, 1024), (5000, 1024)]
)
def test_the_buffer_is_bounded(asked: int | None, given: int) -> None:
    assert _table().create(asked, 0).limit == given


def test_the_queue_is_bounded_by_number() -> None:
    channel = _opened(_table(), 2)
    messages: list[Event] = [(1, b"", True)] * 5
    assert channel.put(messages) == (2, 0)
    assert channel.put(messages, 2) == (2, 0)
    channel.sent(1)
    assert channel.put(messages, 2) == (3, 0)


def test_the_queue_is_bounded_by_bytes_but_one_message_always_fits() -> None:
    table = _table(max_buffer_bytes=100)
    channel = _opened(table)
    assert _put(channel, 101, 0) == 1
    assert channel.sent(1) == 101
    assert _put(channel, 60, 41) == 1
    assert table.buffered_bytes == channel.queued_bytes == 60
    assert _put(channel, 40, 0, 1) == 2
    assert table.buffered_bytes == channel.queued_bytes == 100


def test_a_batch_is_bounded_and_stays_queued_until_it_was_sent() -> None:
    channel = _opened(_table())
    assert channel.batch(10, 10) == []
    _put(channel, 4, 4, 4, 50, 1)
    assert [len(payload) for _, payload, _ in channel.batch(10, 10)] == [4, 4]
    assert [len(payload) for _, payload, _ in channel.batch(1, 10)] == [4]
    assert len(channel) == 5
    channel.sent(3)
    assert [len(payload) for _, payload, _ in channel.batch(10, 10)] == [50]
    channel.sent(2)
    assert (len(channel), channel.queued_bytes) == (0, 0)


def test_ends_are_woken_by_messages_and_by_room() -> None:
    channel = _opened(_table())
    heard: list[str] = []
    channel.wake_reader = lambda: heard.append("reader")
    channel.wake_writer = lambda: heard.append("writer")
    channel.put([(2, b"x", True)])
    channel.sent(1)
    assert heard == ["reader", "writer"]


def test_an_end_is_taken_once() -> None:
    table = _table()
    channel = _opened(table)
    assert table.take(channel.id, READ, 0) is None
    assert table.take("unknown", READ, 0) is None


def test_keys_are_checked_before_and_after_the_end() -> None:
    table = _table(max_closed=1)
    first, second = _opened(table), _opened(table)
    key = first.key.reveal()
    assert table.exists(first.id, key)
    assert not table.exists(first.id, second.key.reveal())
    assert not table.exists("nope", key)
    assert not table.exists(first.id, "ü")
    for direction in Direction:
        table.finish(first, direction, Ending.CLOSED, 0)
    assert len(table) == 1
    assert table.exists(first.id, key)
    assert table.take(first.id, READ, 0) is None
    for direction in Direction:
        table.finish(second, direction, Ending.CLOSED, 0)
    assert not table.exists(first.id, key), "the oldest is forgotten first"


@pytest.mark.parametrize("taken", [(), (READ,), (WRITE,), (READ, WRITE)])
def test_the_sweep_takes_what_is_old_and_has_an_end_nobody_took(taken: tuple[Direction, ...]) -> None:
    table = _table()
    channel = table.create(None, 0)
    for direction in taken:
        table.take(channel.id, direction, 0)
    channel.put([(2, b"data", True)])
    for minute in range(1, 6):
        assert table.sweep(minute * 60 * SECOND) == [], f"after {minute} minutes"
    swept = table.sweep(360 * SECOND)
    if len(taken) == 2:
        assert swept == []
        assert table.exists(channel.id, channel.key.reveal())
        return
    assert swept == [channel]
    assert not table.exists(channel.id, channel.key.reveal())
    assert (channel.ended, channel.unread) == (WRITE not in taken, READ not in taken)
    assert len(channel) == (READ in taken)
    for direction in taken:
        table.finish(channel, direction, Ending.CLOSED, 0)
    assert table.buffered_bytes == 0 or READ in taken
    assert not table.exists(channel.id, channel.key.reveal()), "a swept channel is forgotten"


def test_the_sweep_comes_every_minute_and_only_then() -> None:
    table = _table()
    assert not table.next_sweep, "there is nothing to look at"
    table.create(None, 7 * SECOND)
    assert table.next_sweep == 67 * SECOND
    assert len(table.sweep(500 * SECOND)) == 1
    table.create(None, 501 * SECOND)
    assert table.next_sweep == 547 * SECOND


def test_the_engine_refuses_new_channels_at_its_limits_and_open_ones_go_on() -> None:
    table = _table(max_channels=2, max_total_bytes=10)
    channel = _opened(table)
    table.create(None, 0)
    with pytest.raises(TooManyChannels, match="2 channels"):
        table.create(None, 0)
    table.sweep(1000 * SECOND)
    assert _put(channel, 10) == 1
    with pytest.raises(TooManyChannels, match="10 bytes"):
        table.create(None, 0)
    assert _put(channel, 10) == 1
    channel.sent(2)
    table.create(None, 0)


def test_a_worker_hears_of_the_limit() -> None:
    worker = Bench(max_channels=1).worker()
    worker.call("engine::channels::create")
    assert worker.refused("engine::channels::create")[0] == "channel_limit_reached"


def test_both_refs_share_id_and_key_and_the_key_stays_secret() -> None:
    bench = Bench()
    refs = bench.worker().call("engine::channels::create", {"buffer_size": 5})
    assert refs["writer"] == refs["reader"] | {"direction": "write"}
    assert refs["reader"]["direction"] == "read"
    assert refs["reader"]["access_key"] not in repr(
        bench.core.channels.take(refs["reader"]["channel_id"], READ, 0)
    ) + repr(bench.notices)


def test_ends_leave_spans_in_the_trace_of_the_call_that_made_the_channel() -> None:
    ids = count(1)
    spans = SpanStore(lambda: uuid(next(ids)), 10**6)
    table = ChannelTable(lambda: uuid(next(ids)), Settings(), spans)
    channel = table.create(None, 0, TraceContext("a" * 32, "b" * 16))
    for direction in Direction:
        table.take(channel.id, direction, 1)
    channel.writer.bytes, channel.writer.messages = 10, 2
    table.finish(channel, WRITE, Ending.CLOSED, 5)
    table.finish(channel, READ, Ending.LOST, 6)
    writer, reader = list(spans)
    assert (writer.name, writer.parent_span_id, writer.status) == ("channel writer", "b" * 16, "ok")
    assert dict(writer.attributes) == {
        "iii.channel.id": channel.id,
        "iii.channel.bytes": "10",
        "iii.channel.messages": "2",
        "iii.channel.ended": "closed",
    }
    assert (reader.name, reader.status, reader.end_time_unix_nano) == ("channel reader", "error", 6)

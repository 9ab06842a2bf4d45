"""Channels on sockets (docs: protocol, "Channels")."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from tests.conformance.rows import covers
from tests.support.raw import BINARY, CLOSE, CONT, PING, PONG, TEXT, Dropped, Frame, RawSocket, Refused
from tests.support.refs import target_of

if TYPE_CHECKING:
    from tests.support.stage import Stage

FOREIGN = "III_CONFORMANCE_URL" in os.environ
SILENCE = 0.5 if FOREIGN else 0.05  # seconds in which nothing may come
six_minutes = (
    pytest.mark.soak if FOREIGN else pytest.mark.timeout(30)
)  # the sweep; a fake clock where it is ours
AFTER_THE_SWEEP = 365.0
CLEAN = (None, "")  # Close without a code


async def _pair(stage: Stage, **data: object) -> tuple[RawSocket, RawSocket]:
    writer, reader = await stage.refs(**data)
    return await stage.end(writer), await stage.end(reader)


async def _is_silent(raw: RawSocket, seconds: float = SILENCE) -> bool:
    try:
        await raw.receive(seconds)
    except TimeoutError:
        return True
    return False


async def _refused(stage: Stage, target: str, *headers: str, method: str = "GET") -> Refused:
    with pytest.raises(Refused) as refused:
        await stage.open(target, *headers, method=method)
    return refused.value


# Opening an end


@covers("opening: ok", "opening: extra", "opening: either")
async def test_either_ref_opens_either_end_and_other_parameters_are_ignored(sockets: Stage) -> None:
    writer, reader = await sockets.refs()
    assert writer["channel_id"] == reader["channel_id"]
    assert writer["access_key"] == reader["access_key"]
    a = await sockets.open(target_of(reader, "write") + "&token=x&token=y&future=")
    b = await sockets.open(target_of(writer, "read").replace("?", "?token=x&"))
    await a.send(TEXT, b"hello")
    assert await b.receive() == Frame(TEXT, b"hello")


@covers("opening: unknown")
async def test_an_unknown_channel_and_a_wrong_key_look_alike(sockets: Stage) -> None:
    ref, _ = await sockets.refs()
    for wrong in (ref | {"access_key": "nope"}, ref | {"channel_id": "nope"}, ref | {"access_key": ""}):
        refused = await _refused(sockets, target_of(wrong))
        assert (refused.status, refused.body) == (404, "Channel not found")
        assert refused.headers["content-type"] == "text/plain; charset=utf-8"
    await sockets.end(ref)


@covers("opening: dir", "opening: missing")
async def test_the_query_is_read_strictly(sockets: Stage) -> None:
    ref, _ = await sockets.refs()
    path, query = target_of(ref).split("?")
    key = query.split("&")[0]
    for query, text in (
        (f"{key}&dir=x", "dir: unknown variant `x`, expected `read` or `write`"),
        (f"{key}&dir=READ", "dir: unknown variant `READ`, expected `read` or `write`"),
        (key, "missing field `dir`"),
        ("dir=read", "missing field `key`"),
    ):
        refused = await _refused(sockets, f"{path}?{query}")
        assert (refused.status, refused.body) == (400, f"Failed to deserialize query string: {text}")


@covers("opening: upgrade")
async def test_the_query_comes_before_the_upgrade_and_the_upgrade_before_the_channel(
    sockets: Stage,
) -> None:
    ref, _ = await sockets.refs()
    unknown = ref | {"channel_id": "nope"}
    plain = "Upgrade: nothing"
    assert (await _refused(sockets, target_of(ref, "x"), plain)).body.startswith("Failed to deserialize")
    assert (await _refused(sockets, target_of(unknown), plain)).status in (400, 426)
    assert (await _refused(sockets, target_of(ref), plain)).status in (400, 426)
    await sockets.end(ref)


@covers("opening: path")
async def test_a_trailing_slash_is_another_path(sockets: Stage) -> None:
    ref, _ = await sockets.refs()
    refused = await _refused(sockets, target_of(ref).replace("?", "/?"))
    assert (refused.status, refused.body) == (404, "")


@covers("opening: taken", "ends: second")
async def test_an_end_is_taken_once(sockets: Stage) -> None:
    writer, reader = await sockets.refs()
    ends = [await sockets.end(writer), await sockets.end(reader)]
    for ref in (writer, reader):
        second = await sockets.end(ref)
        assert await second.receive_close() == CLEAN
        await second.receive_end()
    await ends[0].send(TEXT, b"still here")
    assert (await ends[1].receive()).payload == b"still here"


# Data


@covers("data: as is", "ends: close")
async def test_messages_come_out_as_they_went_in(sockets: Stage) -> None:
    writer, reader = await _pair(sockets)
    frames = [
        Frame(opcode, payload)
        for payload in (
            b"",
            b"a",
            "ü😀".encode(),
            b"x" * 125,
            b"x" * 126,
            b"x" * 65535,
            b"x" * 65536,
            b"x" * 3_000_000,
        )
        for opcode in (TEXT, BINARY)
    ]
    frames.append(Frame(BINARY, bytes(range(256))))
    for frame in frames:
        writer.post(frame)
    writer.post(Frame(CLOSE, b"\x0f\xa1why not"))
    await writer.drain()
    assert [await reader.receive() for _ in frames] == frames
    assert await reader.receive_close() == CLEAN
    await reader.receive_end()
    assert await writer.receive_close() == (4001, "why not")
    await writer.receive_end()


@covers("ends: close")
@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xf3broken"])
async def test_any_close_is_echoed_and_is_a_clean_end(sockets: Stage, payload: bytes) -> None:
    writer, reader = await _pair(sockets)
    await writer.send(CLOSE, payload)
    assert (await writer.receive()) == Frame(CLOSE, payload)
    assert await reader.receive_close() == CLEAN


@covers("data: fragments")
async def test_a_fragmented_message_comes_out_as_one_frame(sockets: Stage) -> None:
    writer, reader = await _pair(sockets)
    for opcode in (TEXT, BINARY):
        writer.post(Frame(opcode, b"one ", fin=False))
        writer.post(Frame(PING, b"between"))
        writer.post(Frame(CONT, b"", fin=False))
        writer.post(Frame(CONT, b"two"))
        await writer.drain()
        assert await reader.receive() == Frame(opcode, b"one two")
        assert await writer.receive() == Frame(PONG, b"between")


@covers("data: one way")
async def test_what_a_reader_says_is_never_read(sockets: Stage) -> None:
    writer, reader = await _pair(sockets)
    await reader.send(PING, b"anybody")
    await reader.send(TEXT, b"hello")
    reader.post_bytes(b"\xff" * 1000)
    assert await _is_silent(reader)
    await writer.send(BINARY, b"data")
    assert await reader.receive() == Frame(BINARY, b"data")
    assert await _is_silent(writer)


@covers("data: backpressure")
async def test_a_full_queue_stops_the_writer(sockets: Stage) -> None:
    ref, reader_ref = await sockets.refs(buffer_size=2)
    writer = await sockets.end(ref)
    chunk, sent = b"x" * 65536, 0
    while await _goes_out(writer, Frame(BINARY, chunk)):
        sent += 1
        assert sent < 1000, "the writer was never stopped"
    assert sent < 400  # what the kernels hold, and a little
    reader = await sockets.end(reader_ref)
    for _ in range(sent + 1):
        assert await reader.receive() == Frame(BINARY, chunk)
    await asyncio.wait_for(writer.drain(), 5)
    await writer.send(CLOSE)
    assert await reader.receive_close() == CLEAN


async def _goes_out(writer: RawSocket, frame: Frame) -> bool:
    writer.post(frame)
    try:
        await asyncio.wait_for(writer.drain(), 0.3 if FOREIGN else 0.1)
    except TimeoutError:
        return False
    return True


@covers("data: largest")
@pytest.mark.ci
@pytest.mark.timeout(60)
async def test_the_largest_frame_and_the_largest_message_pass(sockets: Stage) -> None:
    writer, reader = await _pair(sockets)
    largest = bytes(16 << 20)
    await writer.send(BINARY, largest)
    assert await reader.receive(20) == Frame(BINARY, largest)
    for number in range(4):
        await writer.send(BINARY if number == 0 else CONT, largest, fin=number == 3)
    frame = await reader.receive(20)
    assert (len(frame.payload), frame.fin) == (64 << 20, True)


@covers("data: too large")
@pytest.mark.parametrize("fragments", [1, 5])
@pytest.mark.timeout(60)
async def test_one_byte_more_is_a_drop_for_the_writer_and_a_clean_end_for_the_reader(
    sockets: Stage, fragments: int
) -> None:
    writer, reader = await _pair(sockets)
    await writer.send(BINARY, b"before")
    size = 16 << 20
    sizes = [size + 1] if fragments == 1 else [size, size, size, size, 1]
    with pytest.raises(Dropped):
        for number, size in enumerate(sizes):
            await writer.send(BINARY if number == 0 else CONT, bytes(size), fin=number == len(sizes) - 1)
        await writer.receive(20)
    assert await reader.receive() == Frame(BINARY, b"before")
    assert await reader.receive_close() == CLEAN


@covers("data: protocol")
@pytest.mark.parametrize(
    "broken",
    [
        b"\x81\x81\0\0\0\0\xff",  # text that is not UTF-8
        b"\x82\x01x",  # unmasked
        b"\xc2\x81\0\0\0\0x",  # a reserved bit
        b"\x83\x81\0\0\0\0x",  # a reserved opcode
        b"\x80\x81\0\0\0\0x",  # a continuation of nothing
        b"\x88\x81\0\0\0\0x",  # a Close of one byte
    ],
)
async def test_a_broken_frame_is_a_clean_end_for_the_reader(sockets: Stage, broken: bytes) -> None:
    writer, reader = await _pair(sockets)
    await writer.send(TEXT, b"before")
    writer.post_bytes(broken)
    with pytest.raises(Dropped):
        await writer.receive()
    assert await reader.receive() == Frame(TEXT, b"before")
    assert await reader.receive_close() == CLEAN


@covers("data: plain")
async def test_nothing_is_negotiated(sockets: Stage) -> None:
    ref, _ = await sockets.refs()
    offer = ("Sec-WebSocket-Extensions: permessage-deflate", "Sec-WebSocket-Protocol: iii")
    raw = await sockets.open(target_of(ref), *offer)
    assert raw.headers.keys() == {"connection", "upgrade", "sec-websocket-accept", "date"}


@covers("data: half frame")
@pytest.mark.parametrize("unfinished", [b"\x82\x8a\0\0\0\0half", b"\x02\x84\0\0\0\0half"])
async def test_nothing_of_an_unfinished_message_is_forwarded(sockets: Stage, unfinished: bytes) -> None:
    writer, reader = await _pair(sockets)
    writer.post_bytes(unfinished)
    await writer.drain()
    writer.drop()
    assert await reader.receive_close() == CLEAN


# What each side sees


@covers("ends: death")
@pytest.mark.parametrize("death", ["half-close", "drop", "reset"])
async def test_a_dead_writer_looks_like_one_that_finished(sockets: Stage, death: str) -> None:
    writer, reader = await _pair(sockets)
    await writer.send(BINARY, b"data")
    assert await reader.receive() == Frame(BINARY, b"data")
    {"half-close": writer.half_close, "drop": writer.drop, "reset": writer.reset}[death]()
    assert await reader.receive_close() == CLEAN
    await reader.receive_end()


@covers("ends: reader dies")
@pytest.mark.parametrize("death", ["drop", "reset"])
async def test_the_writer_notices_a_dead_reader_at_a_later_message(sockets: Stage, death: str) -> None:
    writer, reader = await _pair(sockets)
    {"drop": reader.drop, "reset": reader.reset}[death]()
    await sockets.settle()
    assert await _is_silent(writer)
    with pytest.raises(Dropped):
        for _ in range(100):
            await writer.send(BINARY, b"0123456789")
            await sockets.settle()
        await writer.receive()


@covers("ends: reader dies", "ends: close")
async def test_a_writer_that_sends_no_more_does_not_hear_of_a_dead_reader(sockets: Stage) -> None:
    """A message finds nobody; a ping and a Close need nobody."""
    writer, reader = await _pair(sockets)
    reader.reset()
    await sockets.settle()
    await writer.send(BINARY, b"found out by this one")
    await sockets.settle()
    await writer.send(PING, b"still there")
    assert await writer.receive() == Frame(PONG, b"still there")
    await writer.send(CLOSE, b"\x03\xe8done")
    assert await writer.receive_close() == (1000, "done")


@covers("ends: reader dies")
@pytest.mark.ci
async def test_a_writer_that_waits_for_room_notices_a_dead_reader(sockets: Stage) -> None:
    writer_ref, reader_ref = await sockets.refs(buffer_size=1)
    writer, reader = await sockets.end(writer_ref), await sockets.end(reader_ref, receive_buffer=65536)
    while await _goes_out(writer, Frame(BINARY, bytes(1 << 20))):
        pass
    reader.reset()
    with pytest.raises(Dropped):
        await writer.receive()


@covers("ends: reader closes")
async def test_a_readers_close_is_never_answered(sockets: Stage) -> None:
    writer, reader = await _pair(sockets)
    await reader.send(CLOSE, b"\x03\xe8")
    for _ in range(20):
        await writer.send(BINARY, b"x")
    assert await _is_silent(writer)
    for _ in range(20):
        assert await reader.receive() == Frame(BINARY, b"x")
    assert await _is_silent(reader)


@covers("ends: writer first")
async def test_data_is_kept_for_a_reader_that_comes_later(sockets: Stage) -> None:
    writer_ref, reader_ref = await sockets.refs()
    writer = await sockets.end(writer_ref)
    for number in range(64):
        writer.post(Frame(BINARY, b"%d" % number))
    await writer.send(CLOSE, b"\x03\xe8")
    assert await writer.receive_close() == (1000, "")
    reader = await sockets.end(reader_ref)
    for number in range(64):
        assert (await reader.receive()).payload == b"%d" % number
    assert await reader.receive_close() == CLEAN


@covers("ends: after the end", "ends: writer after")
async def test_whoever_comes_after_the_end_gets_a_close_and_no_error(sockets: Stage) -> None:
    writer_ref, reader_ref = await sockets.refs()
    writer, reader = await sockets.end(writer_ref), await sockets.end(reader_ref)
    await writer.send(CLOSE)
    await reader.receive_close()
    await reader.receive_end()
    for ref in (writer_ref, reader_ref, writer_ref):
        late = await sockets.end(ref)
        assert await late.receive_close() == CLEAN
        await late.receive_end()


@covers("ends: idle")
async def test_idle_ends_hear_nothing(sockets: Stage) -> None:
    writer, reader = await _pair(sockets)
    assert await _is_silent(writer)
    assert await _is_silent(reader)


@covers("ends: no writer", "opening: swept")
@six_minutes
async def test_a_reader_whose_writer_never_comes_gets_a_clean_end_at_the_sweep(sockets: Stage) -> None:
    writer_ref, reader_ref = await sockets.refs()
    reader = await sockets.end(reader_ref)
    await sockets.wait(290)
    assert await _is_silent(reader)
    await sockets.wait(AFTER_THE_SWEEP - 290)
    assert await reader.receive_close() == CLEAN
    for ref in (writer_ref, reader_ref):
        assert (await _refused(sockets, target_of(ref))).status == 404


@covers("ends: no reader")
@six_minutes
async def test_a_writer_whose_reader_never_comes_is_dropped_at_a_message_after_the_sweep(
    sockets: Stage,
) -> None:
    writer_ref, reader_ref = await sockets.refs()
    writer = await sockets.end(writer_ref)
    await writer.send(BINARY, b"kept")
    await sockets.wait(AFTER_THE_SWEEP)
    assert (await _refused(sockets, target_of(reader_ref))).status == 404
    assert await _is_silent(writer)
    await writer.send(BINARY, b"the next one")
    with pytest.raises(Dropped):
        await writer.receive()


@covers("ends: no reader", "ends: close")
@six_minutes
async def test_a_writer_that_closes_after_the_sweep_gets_its_echo(sockets: Stage) -> None:
    writer_ref, _ = await sockets.refs()
    writer = await sockets.end(writer_ref)
    await sockets.wait(AFTER_THE_SWEEP)
    await writer.send(CLOSE, b"\x03\xe8done")
    assert await writer.receive_close() == (1000, "done")


@covers("ends: kept too long")
@six_minutes
async def test_data_of_a_writer_that_finished_is_swept_too(sockets: Stage) -> None:
    writer_ref, reader_ref = await sockets.refs()
    writer = await sockets.end(writer_ref)
    await writer.send(BINARY, b"data")
    await writer.send(CLOSE)
    await writer.receive_close()
    await sockets.wait(AFTER_THE_SWEEP)
    assert (await _refused(sockets, target_of(reader_ref))).status == 404


@covers("ends: both taken")
@six_minutes
async def test_a_channel_with_both_ends_taken_is_never_swept(sockets: Stage) -> None:
    writer, reader = await _pair(sockets)
    await sockets.wait(AFTER_THE_SWEEP)
    await writer.send(BINARY, b"data")
    assert await reader.receive() == Frame(BINARY, b"data")


# Lifetime and the worker that created it


async def test_a_writers_ping_is_answered_behind_its_data(sockets: Stage) -> None:
    writer, _ = await _pair(sockets)
    writer.post(Frame(BINARY, b"data"))
    await writer.send(PING, b"1")
    assert await writer.receive() == Frame(PONG, b"1")


async def test_a_channel_outlives_the_worker_that_made_it(sockets: Stage) -> None:
    worker = await sockets.worker()
    refs = await worker.call("engine::channels::create", {})
    await worker.leave()
    writer, reader = await sockets.end(refs["writer"]), await sockets.end(refs["reader"])
    await writer.send(TEXT, b"x")
    assert await reader.receive() == Frame(TEXT, b"x")

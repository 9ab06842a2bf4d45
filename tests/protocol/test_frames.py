"""Frames at every cut, at every size that changes the header, and the ones that must be refused."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest

from iii_cli.errors import PeerMisbehaved
from iii_cli.protocol.frames import (
    BUFFER_MAX,
    SMALL,
    WINDOW,
    FrameDecoder,
    Opcode,
    close_payload,
    encode_frame,
    frame_header,
    mask,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from iii_cli.protocol.frames import Event

KEY = b"\x01\x02\xfe\xff"


def receive(decoder: FrameDecoder, data: bytes, sizes: Iterable[int]) -> list[Event]:
    """Put `data` through the decoder as receives of the given sizes; pieces are copied out in time."""
    events: list[Event] = []
    at = 0
    for size in sizes:
        space = decoder.space()
        count = min(size, len(space), len(data) - at)
        space[:count] = data[at : at + count]
        decoder.received(count)
        at += count
        events += [(opcode, bytes(payload), final) for opcode, payload, final in decoder.events()]
        if at == len(data):
            break
    assert at == len(data)
    return events


def joined(events: Sequence[Event]) -> list[tuple[int, bytes]]:
    """Whole messages, pieces put together."""
    messages: list[tuple[int, bytes]] = []
    pending = b""
    for opcode, payload, final in events:
        pending += bytes(payload)
        if final:
            messages.append((opcode, pending))
            pending = b""
    assert not pending
    return messages


def wire(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    return b"".join(encode_frame(opcode, payload, KEY if masked else None))


CONVERSATION: list[tuple[int, bytes]] = [
    (Opcode.TEXT, "ä".encode()),
    (Opcode.BINARY, b"123"),
    (Opcode.BINARY, b""),
    (Opcode.PING, b"p"),
    (Opcode.TEXT, b""),
    (Opcode.CLOSE, close_payload(1000, "r")),
]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("pieces", [False, True])
def test_any_two_cuts_give_the_same_messages(masked: bool, pieces: bool) -> None:
    if masked and pieces:
        return  # a server never hands out pieces
    data = b"".join(wire(opcode, payload, masked=masked) for opcode, payload in CONVERSATION)
    for one, two in itertools.combinations(range(1, len(data)), 2):
        decoder = FrameDecoder(masked=masked, pieces=pieces)
        assert joined(receive(decoder, data, (one, two - one, len(data)))) == CONVERSATION


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 1 << 20, BUFFER_MAX - 14, BUFFER_MAX, 3 << 20])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("pieces", [False, True])
def test_payloads_of_every_header_size_survive(size: int, masked: bool, pieces: bool) -> None:
    if masked and pieces:
        return
    payload = random.Random(size).randbytes(size)
    data = wire(Opcode.BINARY, payload, masked=masked) * 2 + wire(Opcode.TEXT, b"end", masked=masked)
    decoder = FrameDecoder(masked=masked, pieces=pieces)
    events = joined(receive(decoder, data, itertools.repeat(200_000)))
    assert events == [(Opcode.BINARY, payload)] * 2 + [(Opcode.TEXT, b"end")]


def test_binary_fragments_come_as_pieces_of_one_message() -> None:
    data = frame_header(Opcode.BINARY, 1, fin=False) + b"a" + frame_header(Opcode.CONTINUATION, 1) + b"b"
    decoder = FrameDecoder(masked=False, pieces=True)
    decoder.feed(data)
    assert [(o, bytes(p), f) for o, p, f in decoder.events()] == [(2, b"a", False), (2, b"b", True)]


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1\x00",  # a reserved bit: compression was never agreed on
        b"\x83\x00",  # an unknown opcode
        b"\x8b\x00",
        b"\x81\x81\x00\x00\x00\x00a",  # masked, and we are the client
        b"\x09\x00",  # a fragmented ping
        b"\x89\x7e\x00\x80",  # a ping of 128 bytes
        b"\x80\x00",  # a continuation of nothing
        b"\x01\x00\x81\x00",  # a new message inside a fragmented one
        b"\x81\x01\xff",  # not UTF-8
        b"\x88\x01\x03",  # a Close of one byte
        b"\x88\x02\x03\xed",  # 1005 never travels
        b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff",  # a length of 2**64-1
    ],
)
def test_what_is_not_a_frame_is_refused_after_what_came_before(data: bytes) -> None:
    decoder = FrameDecoder(masked=False)
    decoder.feed(b"\x82\x01x" + data)
    assert decoder.events() == [(Opcode.BINARY, b"x", True)]
    with pytest.raises(PeerMisbehaved):
        decoder.events()


def test_masking_is_its_own_inverse_on_both_paths() -> None:
    for size in (0, 1, 3, 4, 5, SMALL, SMALL + 1, 100_003):
        data = random.Random(size).randbytes(size)
        masked = mask(data, KEY)
        assert mask(masked, KEY) == data
        assert masked == bytes(b ^ KEY[i % 4] for i, b in enumerate(data))


def test_a_header_that_promises_much_costs_little_until_it_keeps_its_promise() -> None:
    decoder = FrameDecoder(masked=True)
    payload = bytes(range(256)) * (1 << 14)
    frame = b"".join(bytes(part) for part in encode_frame(Opcode.BINARY, payload, b"abcd"))
    decoder.feed(frame[:20])
    events = decoder.events()
    sent = 20
    while not events:
        space = decoder.space()
        assert len(space) <= max(sent, 1 << 20)
        count = min(len(space), len(frame) - sent)
        space[:count] = frame[sent : sent + count]
        decoder.received(count)
        sent += count
        events = decoder.events()
    assert events == [(Opcode.BINARY, payload, True)]


@pytest.mark.parametrize("cut", [1, 5, 7, 200])
def test_who_waits_keeps_no_buffer_but_everything_that_has_come(cut: int) -> None:
    frame = wire(Opcode.TEXT, b"x" * 300, masked=True)
    decoder = FrameDecoder(masked=True)
    decoder.rest()
    assert receive(decoder, frame[:cut], [cut]) == []
    decoder.rest()
    assert receive(decoder, frame[cut:], [400]) == [(Opcode.TEXT, b"x" * 300, True)]
    decoder.rest()
    assert receive(decoder, frame, [400]) == [(Opcode.TEXT, b"x" * 300, True)]


# Small frames are taken many at a time.


@pytest.mark.parametrize("masked", [False, True])
def test_more_small_frames_than_a_window_come_in_order(masked: bool) -> None:
    small = [(Opcode.TEXT, b"a" * size) for size in (0, 1, 124, 125, 126, 127, 255, 256, SMALL)]
    frames = [*small, (Opcode.BINARY, b"\xff\x00"), (Opcode.TEXT, "ä".encode()), (Opcode.PING, b"p")]
    frames *= 1 + 2 * WINDOW // sum(len(payload) for _, payload in frames)
    data = b"".join(wire(opcode, payload, masked=masked) for opcode, payload in frames)
    decoder = FrameDecoder(masked=masked)
    assert joined(receive(decoder, data, itertools.repeat(100_000))) == frames


def test_a_small_frame_between_fragments_is_a_fault() -> None:
    decoder = FrameDecoder(masked=False)
    decoder.feed(wire(Opcode.TEXT, b"good", masked=False) + frame_header(Opcode.TEXT, 1, fin=False) + b"a")
    decoder.feed(wire(Opcode.TEXT, b"small one", masked=False))
    assert decoder.events() == [(Opcode.TEXT, b"good", True)]
    with pytest.raises(PeerMisbehaved, match="out of order"):
        decoder.events()

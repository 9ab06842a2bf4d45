"""Many small frames at once come out as one by one, and the first that is anything else is left alone."""

from __future__ import annotations

import pytest

from iii_cli.errors import PeerMisbehaved
from iii_cli.protocol.frames import (
    SMALL,
    WINDOW,
    FrameDecoder,
    Opcode,
    encode_frame,
    frame_header,
    take_small_frames,
)

KEY = b"\x01\x02\xfe\xff"
SMALL_ONES = [(Opcode.TEXT, b"a" * size) for size in (0, 1, 124, 125, 126, 127, 255, 256, SMALL)]


def wire(opcode: int, payload: bytes, masked: bool = False) -> bytes:
    return b"".join(encode_frame(opcode, payload, KEY if masked else None))


def taken(data: bytes, *, masked: bool = False) -> tuple[list[tuple[int, bytes]], int]:
    """What is taken of `data`, and how many bytes that was. Bytes before and behind are none of its
    business.
    """
    events: list[tuple[int, bytes | bytearray | memoryview, bool]] = []
    view = memoryview(b"\x81" + data + b"\x81\x00")
    end = take_small_frames(view, 1, 1 + len(data), masked=masked, events=events)
    assert all(final for _, _, final in events)
    return [(opcode, bytes(payload)) for opcode, payload, _ in events], end - 1


@pytest.mark.parametrize("masked", [False, True])
def test_small_whole_data_frames_are_taken(masked: bool) -> None:
    frames = [*SMALL_ONES, (Opcode.BINARY, b"\xff\x00"), (Opcode.TEXT, "ä".encode())]
    data = b"".join(wire(opcode, payload, masked) for opcode, payload in frames)
    # The last frames are too short to be worth a look; the decoder takes them.
    assert taken(data + wire(Opcode.PING, b"ping", masked), masked=masked) == (frames, len(data))


def test_more_than_a_window_is_taken() -> None:
    frame = wire(Opcode.TEXT, b"x" * 63)
    count = 3 * WINDOW // len(frame)
    messages, size = taken(frame * count)
    assert (len(messages), size) == (count, count * len(frame))


@pytest.mark.parametrize(
    "other",
    [
        wire(Opcode.PING, b"....."),
        wire(Opcode.CLOSE, b"\x03\xe8..."),
        wire(Opcode.BINARY, bytes(SMALL + 1)),
        wire(Opcode.BINARY, bytes(1 << 16)),
        frame_header(Opcode.TEXT, 5, fin=False) + b"abcde",
        frame_header(Opcode.CONTINUATION, 5) + b"abcde",
        wire(Opcode.TEXT, b"abcd\xff"),
        wire(Opcode.TEXT, b"abcdef")[:-1],
        wire(Opcode.TEXT, b"a" * 200)[:3],
        wire(Opcode.TEXT, b"abcdef", masked=True),
        b"\xc1\x05abcde",
        b"\x83\x05abcde",
    ],
)
def test_anything_else_is_left_where_it_is(other: bytes) -> None:
    first = wire(Opcode.TEXT, b"first")
    messages, size = taken(first + other)
    assert (messages, size) == ([(Opcode.TEXT, b"first")], len(first))


def test_a_fault_comes_after_what_was_good() -> None:
    decoder = FrameDecoder(masked=False)
    decoder.feed(wire(Opcode.TEXT, b"good") + wire(Opcode.TEXT, b"bad\xff"))
    assert decoder.events() == [(Opcode.TEXT, b"good", True)]
    with pytest.raises(PeerMisbehaved, match="UTF-8"):
        decoder.events()


def test_a_small_frame_between_fragments_is_still_a_fault() -> None:
    decoder = FrameDecoder(masked=False)
    decoder.feed(frame_header(Opcode.TEXT, 1, fin=False) + b"a" + wire(Opcode.TEXT, b"small one"))
    with pytest.raises(PeerMisbehaved, match="out of order"):
        decoder.events()

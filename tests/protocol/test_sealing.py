"""The writer's side of a seal."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_cli.protocol.seal import DIGESTS, Abort, Beat, Close, Counter, Mode, Open, Sealer, decode, new_digest

ID = "00112233445566778899aabbccddeeff"


def test_the_digest_is_sha256sum_of_the_payload() -> None:
    sealer = Sealer(ID, digest="sha256")
    sealer.chunk(b"ab")
    sealer.message(b"aside")
    sealer.chunk(memoryview(b"c"))
    sealer.chunk(bytearray(b""))
    assert sealer.figures.bytes == 3
    assert sealer.figures.digest == hashlib.sha256(b"abc").hexdigest()


def test_the_messages_digest_is_the_one_of_the_design() -> None:
    sealer = Sealer(ID, digest="sha256")
    long = b"x" * 5000
    sealer.message(b"")
    sealer.chunk(b"abc")
    sealer.message(b"hello")
    sealer.message(long)
    expected = (
        struct.pack(">QI", 0, 0) + struct.pack(">QI", 3, 5) + b"hello" + struct.pack(">QI", 3, 5000) + long
    )
    assert sealer.figures.messages == 3
    assert sealer.figures.messages_digest == hashlib.sha256(expected).hexdigest()


@given(st.sampled_from(DIGESTS), st.lists(st.lists(st.binary(max_size=9)) | st.binary(max_size=9)))
def test_a_batch_is_the_same_as_one_by_one(digest: str, parts: list[list[bytes] | bytes]) -> None:
    together, single = Counter(digest), Counter(digest)
    for part in parts:
        if isinstance(part, bytes):
            together.chunk(part)
            single.chunk(part)
        else:
            together.message_batch(part)
            for text in part:
                single.message(text)
    assert together.figures == single.figures


def test_the_frames_tell_what_was_accounted_for() -> None:
    sealer = Sealer(ID, mode="lines", size=9)
    assert sealer.figures.digest == new_digest("xxh3_128").hexdigest()
    opened = decode(sealer.open_frame())
    assert opened is not None
    assert opened.body == Open(Mode.LINES, "xxh3_128", 9)
    sealer.chunk(b"12")
    beat = decode(sealer.beat_frame())
    assert beat is not None
    assert beat.body == Beat(2)
    figures = sealer.figures
    close = decode(sealer.close_frame())
    assert close is not None
    assert close.body == Close(figures)


def test_a_reason_is_one_clean_line() -> None:
    frame = decode(Sealer(ID).abort_frame(11, "bad\x1b[31m \u202egnp\n" + "x" * 9999))
    assert frame is not None
    assert isinstance(frame.body, Abort)
    assert frame.body.code == 11
    assert frame.body.reason.startswith("bad [31m gnp x")
    assert len(frame.body.reason) == 500


def test_a_stream_ends_once() -> None:
    sealer = Sealer(ID)
    sealer.close_frame()
    with pytest.raises(RuntimeError):
        sealer.abort_frame(1, "late")
    with pytest.raises(RuntimeError):
        sealer.close_frame()


@pytest.mark.parametrize("wrong", [{"stream_id": "x"}, {"mode": "holes"}, {"digest": "md5"}])
def test_what_a_reader_would_refuse_is_refused_at_once(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"id|holes|md5"):
        Sealer(
            wrong.get("stream_id", ID), mode=wrong.get("mode", "bytes"), digest=wrong.get("digest", "sha256")
        )


def test_a_beat_is_due_after_15_seconds() -> None:
    assert Sealer.next_beat(100.0) == 115.0

"""The frames of a seal and of a receipt: what is written is read, and everything else is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from iii_cli.errors import ContentDiffers
from iii_cli.protocol.refs import ChannelRef, Direction, Secret
from iii_cli.protocol.seal import (
    DIGESTS,
    STDOUT,
    Abort,
    Beat,
    Close,
    Counter,
    Figures,
    MalformedSeal,
    Mode,
    Open,
    Receipt,
    ReceiptBeat,
    Sealer,
    decode,
    encode,
    read_receipt,
    receipt_beat_frame,
    receipt_frame,
)

ID = "00112233445566778899aabbccddeeff"
FIGURES = {"bytes": 1, "digest": "", "messages": 0, "messages_digest": ""}
COUNTS = st.integers(0, 2**63 - 1)
REFS = st.builds(ChannelRef, st.text(min_size=1), st.text(min_size=1).map(Secret), st.just(Direction.WRITE))
BODIES = st.one_of(
    st.builds(Open, st.sampled_from(Mode), st.sampled_from(DIGESTS), st.none() | COUNTS, st.none() | REFS),
    st.builds(Beat, COUNTS),
    st.builds(Close, st.builds(Figures, COUNTS, st.text(), COUNTS, st.text())),
    st.builds(Abort, st.integers(-(2**62), 2**62), st.text()),
)


@given(st.from_regex(r"\A[0-9a-f]{32}\Z"), BODIES)
def test_what_was_encoded_is_decoded(stream_id: str, body: Open | Beat | Close | Abort) -> None:
    assert decode(encode(stream_id, body)) == (stream_id, body)


def test_the_open_frame_is_the_one_of_the_design() -> None:
    ref = ChannelRef("c", Secret("k"), Direction.WRITE)
    frame = encode(ID, Open(Mode.BYTES, "xxh3_128", 123, ref))
    assert frame == (
        b'{"iii":{"v":1,"id":"00112233445566778899aabbccddeeff","open":{"mode":"bytes","digest":"xxh3_128",'
        b'"size":123,"receipt":{"channel_id":"c","access_key":"k","direction":"write"}}}}'
    )
    assert "k'" not in repr(decode(frame))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"hello",
        b"{",
        b'{"iii"',
        b'{"iii":1}',
        b'{"iii":{}}',
        b'{"iii":{"id":"x","close":{}}}',
        b'{"iii":{"v":1,"id":"x"},"more":1}',
        b'{"error":"x"}',
        b'{"iii":{"v":1,"receipt":{"committed":true}}}',
        b'["iii"]',
        b'\xff{"iii":{"v":1}}',
        b'{"iii":' * 2000,
        b'{"iii":{"v":1,"pad":"' + b"x" * 20_000 + b'"}}',
    ],
)
def test_a_message_is_a_message(payload: bytes) -> None:
    assert decode(payload) is None


def _frame(inner: dict[str, Any]) -> bytes:
    return json.dumps({"iii": inner}).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b'{"iii":{"v":1,',
        b'{"iii":{"v":1,"v":1,"id":"' + ID.encode() + b'","beat":{"bytes":1}}}',
        b'{"iii":{"v":1,"id":"' + ID.encode() + b'","beat":{"bytes":' + b"9" * 5000 + b"}}}",
        b'{"iii":{"v":1,"x":' + b"[" * 10_000,
        b'{"iii":{"v":1,"x":"\xff"}}',
        _frame({"v": 1}),
        _frame({"v": 2, "id": ID, "beat": {"bytes": 1}}),
        _frame({"v": True, "id": ID, "beat": {"bytes": 1}}),
        _frame({"v": 1.0, "id": ID, "beat": {"bytes": 1}}),
        _frame({"v": 1, "beat": {"bytes": 1}}),
        _frame({"v": 1, "id": ID.upper(), "beat": {"bytes": 1}}),
        _frame({"v": 1, "id": "abc", "beat": {"bytes": 1}}),
        _frame({"v": 1, "id": ID, "beat": {"bytes": 1}, "close": {}}),
        _frame({"v": 1, "id": ID, "beat": {"bytes": -1}}),
        _frame({"v": 1, "id": ID, "beat": {"bytes": True}}),
        _frame({"v": 1, "id": ID, "beat": {"bytes": "1"}}),
        _frame({"v": 1, "id": ID, "beat": 1}),
        _frame({"v": 1, "id": ID, "heartbeat": {"bytes": 1}}),
        _frame({"v": 1, "id": ID, "open": {"mode": "bytes"}}),
        _frame({"v": 1, "id": ID, "open": {"mode": "bytes", "digest": "md5"}}),
        _frame({"v": 1, "id": ID, "open": {"mode": "holes", "digest": "sha256"}}),
        _frame({"v": 1, "id": ID, "open": {"mode": ["bytes"], "digest": "sha256"}}),
        _frame({"v": 1, "id": ID, "open": {"mode": "bytes", "digest": "sha256", "size": -1}}),
        _frame({"v": 1, "id": ID, "open": {"mode": "bytes", "digest": "sha256", "receipt": {}}}),
        _frame({"v": 1, "id": ID, "open": {"mode": "bytes", "digest": "sha256", "receipt": {
            "channel_id": "c", "access_key": "k", "direction": "read"}}}),
        _frame({"v": 1, "id": ID, "close": {"bytes": 1, "digest": "", "messages": 0}}),
        _frame({"v": 1, "id": ID, "close": {**FIGURES, "digest": 0}}),
        _frame({"v": 1, "id": ID, "close": {**FIGURES, "bytes": 1.0}}),
        _frame({"v": 1, "id": ID, "abort": {"code": "1", "reason": ""}}),
        _frame({"v": 1, "id": ID, "abort": {"code": 1}}),
        _frame({"v": 1, "id": ID, "receipt": {"committed": True}}),
    ],
)  # fmt: skip
def test_a_frame_that_only_claims_to_be_a_seal_is_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedSeal) as caught:
        decode(payload)
    assert ID not in str(caught.value)
    assert caught.value.__cause__ is None


# The writer


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


def test_a_reason_is_one_clean_line() -> None:
    frame = decode(Sealer(ID).abort_frame(11, "bad\x1b[31m \u202egnp\n" + "x" * 9999))
    assert frame is not None
    assert isinstance(frame[1], Abort)
    assert frame[1].code == 11
    assert frame[1].reason.startswith("bad [31m gnp x")
    assert len(frame[1].reason) == 500


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


def test_the_old_mode_is_never_written() -> None:
    with pytest.raises(ValueError, match="never written"):
        Sealer(ID, mode="jsonl")
    with pytest.raises(ValueError, match="never written"):
        Sealer(ID).declare("jsonl")


# Receipts

KEPT = Figures(3, "aa", 1, "bb")


@given(st.builds(Figures, COUNTS, st.text(), COUNTS, st.text()), COUNTS, st.text())
def test_what_was_written_is_read(figures: Figures, code: int, reason: str) -> None:
    assert read_receipt(receipt_frame(True, figures)) == Receipt(True, figures)
    got = read_receipt(receipt_frame(False, figures, code, reason))
    assert isinstance(got, Receipt)
    assert (got.committed, got.figures, got.code) == (False, figures, code)


def test_the_frame_is_the_one_of_the_design() -> None:
    assert receipt_frame(True, KEPT) == (
        b'{"iii":{"v":1,"receipt":{"committed":true,"bytes":3,"digest":"aa","messages":1,"messages_digest":"bb"}}}'
    )


@pytest.mark.parametrize("will_confirm", [True, False])
def test_a_beat_says_how_much_there_is(will_confirm: bool) -> None:
    frame = receipt_beat_frame(60, will_confirm=will_confirm)
    assert read_receipt(frame) == ReceiptBeat(60, will_confirm)
    more = b"" if will_confirm else b',"will_confirm":false'
    assert frame == b'{"iii":{"v":1,"receipt":{"beat":{"bytes":60%s}}}}' % more


@pytest.mark.parametrize("field", ["bytes", "digest", "messages", "messages_digest"])
@pytest.mark.parametrize("receipt", [Receipt(True, KEPT), Receipt(False, KEPT, 0, STDOUT)])
def test_all_four_figures_count(field: str, receipt: Receipt) -> None:
    other = replace(KEPT, **{field: 99 if field in ("bytes", "messages") else "zz"})
    assert isinstance(receipt.failure(other), ContentDiffers)


GOOD = json.loads(receipt_frame(True, KEPT))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"yes",
        b"[]",
        b'"iii"',
        b"\xff",
        b"[" * 9000,
        b'{"iii":{"v":2,"receipt":{}}}',
        b'{"iii":{"v":1,"receipt":[]}}',
        b'{"iii":{"v":1,"receipt":{"committed":true}}}',
        receipt_frame(True, KEPT).replace(b"true", b"1"),
        receipt_frame(True, KEPT).replace(b'"bytes":3', b'"bytes":-3'),
        receipt_frame(True, KEPT).replace(b'"v":1', b'"v":2'),
        receipt_frame(True, KEPT).replace(b'"v":1', b'"v":true'),
        receipt_frame(True, KEPT)[:-1],
        json.dumps({**GOOD, "x": 1}).encode(),
    ],
)
def test_anything_else_confirms_nothing(payload: bytes) -> None:
    with pytest.raises(ContentDiffers, match="malformed"):
        read_receipt(payload)

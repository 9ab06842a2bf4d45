"""The frames of a seal: what is written is read, and everything else is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_cli.protocol.refs import ChannelRef, Direction, Secret
from iii_cli.protocol.seal import (
    DIGESTS,
    Abort,
    Beat,
    Close,
    Figures,
    MalformedSeal,
    Mode,
    Open,
    SealFrame,
    decode,
    encode,
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
    frame = SealFrame(stream_id, body)
    assert decode(encode(frame)) == frame


def test_the_open_frame_is_the_one_of_the_design() -> None:
    ref = ChannelRef("c", Secret("k"), Direction.WRITE)
    frame = encode(SealFrame(ID, Open(Mode.BYTES, "xxh3_128", 123, ref)))
    assert frame == (
        b'{"iii":{"v":1,"id":"00112233445566778899aabbccddeeff","open":{"mode":"bytes","digest":"xxh3_128",'
        b'"size":123,"receipt":{"channel_id":"c","access_key":"k","direction":"write"}}}}'
    )
    assert "k'" not in repr(decode(frame))


def test_whitespace_changes_nothing() -> None:
    frame = SealFrame(ID, Beat(60))
    spaced = json.dumps(json.loads(encode(frame)), indent=3).replace("{", "{ \r\n\t").encode()
    assert decode(b" \r\n\t" + spaced + b"\n") == frame


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


def test_hints_of_a_later_writer_are_ignored() -> None:
    payload = _frame({"v": 1, "id": ID, "open": {"mode": "bytes", "digest": "sha256", "name": "x"}})
    assert decode(payload) == SealFrame(ID, Open(Mode.BYTES, "sha256"))


@given(st.binary(max_size=200))
def test_no_bytes_break_the_decoder(noise: bytes) -> None:
    assert decode(noise) is None
    for prefix in (b'{"iii":', b'{"iii":{"v":', b'{"iii":{"v":1,"id":"' + ID.encode() + b'",'):
        with suppress(MalformedSeal):
            decode(prefix + noise)


def test_an_id_is_32_hex_digits() -> None:
    with pytest.raises(ValueError, match="32"):
        encode(SealFrame("no", Beat(1)))

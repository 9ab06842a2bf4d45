"""No damage to a sealed stream whose open frame arrived whole is taken for the stream.

A frame is (is_text, payload). Two streams are the same for a reader when the bytes are the same and the same
messages came at the same byte offsets: beats, and where binary frames begin and end, mean nothing.
"""

from __future__ import annotations

from itertools import combinations, permutations
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iii_cli.protocol.seal import DIGESTS, Sealer
from iii_cli.protocol.verifier import Outcome, Verdict, Verifier

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Frame = tuple[bool, bytes]
BEAT: Frame = (True, b"<beat>")  # stands for a beat frame of the stream that is being made
ID = "00112233445566778899aabbccddeeff"


def seal(data: Sequence[Frame], digest: str = "xxh3_128", *, last: str = "close") -> list[Frame]:
    sealer = Sealer(ID, digest=digest)
    frames = [(True, sealer.open_frame())]
    for is_text, payload in data:
        if (is_text, payload) == BEAT:
            frames.append((True, sealer.beat_frame()))
            continue
        (sealer.message if is_text else sealer.chunk)(payload)
        frames.append((is_text, payload))
    frames.append((True, sealer.close_frame() if last == "close" else sealer.abort_frame(11, "no")))
    return frames


def read(frames: Sequence[Frame]) -> tuple[Verdict, bytes, list[tuple[int, bytes]]]:
    """The verdict, and what a reader would have delivered."""
    verifier, data, messages = Verifier(), bytearray(), []
    for is_text, payload in frames:
        if not is_text:
            if not verifier.finished:
                data += payload
            verifier.chunk(payload)
        elif verifier.text(payload):
            messages.append((len(data), payload))
    return verifier.end(close_frame=True), bytes(data), messages


def assert_nobody_is_fooled(whole: Sequence[Frame], damaged: Sequence[Frame]) -> None:
    good, data, messages = read(whole)
    assert good.verified
    got, got_data, got_messages = read(damaged)
    if (got_data, got_messages) != (data, messages) or not got.verified:
        assert got.outcome in {Outcome.TRUNCATED, Outcome.DIFFERS, Outcome.ABORTED}
        assert got.failure() is not None


SHORT: list[list[Frame]] = [
    [],
    [(False, b"ab")],
    [(True, b"ab")],
    [(False, b"a"), (False, b"b"), (False, b"a")],
    [(False, b"a"), (True, b"a"), (False, b""), (True, b"")],
    [(False, b"x"), BEAT, (True, b"m"), BEAT],
    [(True, b"a"), (True, b"b"), (False, b"c"), BEAT],
]
shorts = pytest.mark.parametrize("data", SHORT, ids=range(len(SHORT)))
digests = pytest.mark.parametrize("digest", DIGESTS)


@shorts
def test_every_truncation_inside_a_frame_is_7_or_8(data: list[Frame]) -> None:
    whole = seal(data)
    for index, (is_text, payload) in enumerate(whole[1:], start=1):
        for length in range(len(payload)):
            cut = [*whole[:index], (is_text, payload[:length])]
            assert read(cut)[0].outcome in {Outcome.TRUNCATED, Outcome.DIFFERS}
            assert read([*cut, *whole[index + 1 :]])[0].outcome in {Outcome.TRUNCATED, Outcome.DIFFERS}


def flips(frames: Sequence[Frame]) -> Iterator[list[Frame]]:
    for index, (is_text, payload) in enumerate(frames):
        for bit in range(8 * len(payload)):
            flipped = bytearray(payload)
            flipped[bit // 8] ^= 1 << bit % 8
            yield [*frames[:index], (is_text, bytes(flipped)), *frames[index + 1 :]]


@digests
@shorts
def test_every_bit_flip_is_7_or_8(data: list[Frame], digest: str) -> None:
    opening, *rest = seal(data, digest)
    for damaged in flips(rest):
        assert read([opening, *damaged])[0].outcome in {Outcome.TRUNCATED, Outcome.DIFFERS}


def test_every_bit_flip_of_an_open_frame_is_no_worse_than_a_foreign_stream() -> None:
    """Without an open frame nobody can know; the close frame still tells."""
    opening, *rest = seal([(False, b"ab"), (True, b"m")])
    for damaged in flips([opening]):
        got = read([*damaged, *rest])[0]
        # a hint or the mode may change unseen, the data may not
        assert got.verified or got.outcome in {Outcome.TRUNCATED, Outcome.DIFFERS}


@shorts
def test_every_order_every_loss_and_every_duplicate(data: list[Frame]) -> None:
    whole = seal(data)
    opening, *rest = whole
    for order in permutations(rest):
        assert_nobody_is_fooled(whole, [opening, *order])
    for count in range(len(whole)):
        for kept in combinations(rest, count):
            assert_nobody_is_fooled(whole, [opening, *kept])
    for index in range(len(whole)):
        for place in range(1, len(whole) + 1):
            assert_nobody_is_fooled(whole, [*whole[:place], whole[index], *whole[place:]])


@shorts
def test_no_damage_makes_a_success_of_an_abort(data: list[Frame]) -> None:
    whole = seal(data, last="abort")
    assert read(whole)[0].outcome is Outcome.ABORTED
    for damaged in flips(whole[1:]):
        assert read([whole[0], *damaged])[0].failure() is not None
    for order in permutations(whole[1:]):
        assert read([whole[0], *order])[0].failure() is not None


def damage(draw: st.DrawFn, frames: list[Frame]) -> list[Frame]:
    """One misfortune somewhere behind the open frame."""
    kind = draw(st.sampled_from(["cut", "lose", "repeat", "move", "flip", "shorten", "insert", "retype"]))
    index = draw(st.integers(1, len(frames) - 1)) if len(frames) > 1 else 1
    if kind == "cut" or len(frames) == 1:
        return frames[:index]
    is_text, payload = frames[index]
    head, tail = frames[:index], frames[index + 1 :]
    if kind == "lose":
        return head + tail
    if kind == "repeat":
        return [*head, frames[index], frames[index], *tail]
    if kind == "move":
        rest = head + tail
        place = draw(st.integers(1, len(rest)))
        return [*rest[:place], frames[index], *rest[place:]]
    if kind == "flip" and payload:
        flipped = bytearray(payload)
        flipped[draw(st.integers(0, len(payload) - 1))] ^= 1 << draw(st.integers(0, 7))
        return [*head, (is_text, bytes(flipped)), *tail]
    if kind == "shorten":
        return [*head, (is_text, payload[: draw(st.integers(0, len(payload)))]), *tail]
    if kind == "insert":
        return [*head, (draw(st.booleans()), draw(st.binary(max_size=5))), (is_text, payload), *tail]
    return [*head, (not is_text, payload), *tail]


OTHERS = seal([(False, b"x")])[0][1].replace(ID.encode(), b"f" * 32)
PAYLOADS = st.binary(max_size=20) | st.sampled_from([b'{"iii":1}', b'{"error":"x"}', OTHERS])
DATA = st.lists(st.just(BEAT) | st.tuples(st.booleans(), PAYLOADS), max_size=12)


@st.composite
def damaged_streams(draw: st.DrawFn) -> tuple[list[Frame], list[Frame]]:
    whole = seal(draw(DATA), draw(st.sampled_from(DIGESTS)))
    damaged = whole
    for _ in range(draw(st.integers(1, 4))):
        damaged = damage(draw, damaged)
    return whole, damaged


@given(damaged_streams())
@example((seal([BEAT]), [*seal([BEAT])[:2], *seal([BEAT])[1:]]))
def test_no_misfortune_fools_a_reader(streams: tuple[list[Frame], list[Frame]]) -> None:
    assert_nobody_is_fooled(*streams)

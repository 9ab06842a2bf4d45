"""The states of a stream, every one with everything that can come; and the verdicts, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iii_cli.errors import ContentDiffers, NothingArrived, StreamAborted, StreamTruncated
from iii_cli.protocol.refs import ChannelRef, Direction, Secret
from iii_cli.protocol.seal import Mode, Sealer
from iii_cli.protocol.verifier import TRANSITIONS, Input, Outcome, State, Verdict, Verifier

if TYPE_CHECKING:
    from collections.abc import Sequence

ID = "00112233445566778899aabbccddeeff"
OTHER = "ffeeddccbbaa99887766554433221100"
BEAT = Sealer(ID).beat_frame()
OPEN = Sealer(ID).open_frame()
CLOSE = Sealer(ID).close_frame()  # of an empty stream
ABORT = Sealer(ID).abort_frame(11, "pg_dump exited 1")


def verdict(
    frames: Sequence[str | bytes], *, close_frame: bool = True, **options: Any
) -> tuple[Verdict, list[bytes]]:
    """What a reader says of these frames (text ones are str) and which messages it delivered."""
    verifier = Verifier(**options)
    delivered = []
    for frame in frames:
        if isinstance(frame, bytes):
            verifier.chunk(frame)
        elif verifier.text(frame.encode()):
            delivered.append(frame.encode())
    return verifier.end(close_frame=close_frame), delivered


def seal(*frames: bytes) -> list[str | bytes]:
    return [frame.decode() for frame in frames]


def sealed(*frames: str | bytes, last: str = "close", **options: Any) -> list[str | bytes]:
    sealer = Sealer(ID, **options)
    stream: list[str | bytes] = [sealer.open_frame().decode()]
    for frame in frames:
        if isinstance(frame, bytes):
            sealer.chunk(frame)
        else:
            sealer.message(frame.encode())
        stream.append(frame)
    stream.append((sealer.close_frame() if last == "close" else sealer.abort_frame(1, "x")).decode())
    return stream


REACHED: dict[State, list[str | bytes]] = {
    State.NOTHING: [],
    State.FOREIGN: [b"", "x"],
    State.SEALED: seal(OPEN),
    State.CLOSED: seal(OPEN, CLOSE),
    State.ABORTED: seal(OPEN, ABORT),
    State.BROKEN: seal(OPEN, OPEN),
}
COMES: dict[Input, list[str | bytes]] = {
    Input.DATA: [b"", b"y", "x", "{}"],
    Input.OPEN: seal(OPEN),
    Input.BEAT: seal(BEAT),
    Input.CLOSE: seal(CLOSE),
    Input.ABORT: seal(ABORT),
    Input.FAULT: [
        BEAT.decode().replace(":0", ":1"),
        CLOSE.decode().replace(":0", ":1", 1),
        CLOSE.decode()[:-1],
        OPEN.decode().replace("xxh3", "xxh4"),
    ],
}


def show(verifier: Verifier, frame: str | bytes) -> bool:
    """Is it a message for people?"""
    if isinstance(frame, str):
        return verifier.text(frame.encode())
    verifier.chunk(frame)
    return False


@pytest.mark.parametrize("what", Input)
@pytest.mark.parametrize("state", State)
def test_everything_that_can_come_in_every_state(state: State, what: Input) -> None:
    expected = TRANSITIONS.get((state, what))
    if expected is None:
        expected = state if state in (State.ABORTED, State.BROKEN) else State.BROKEN
    for frame in COMES[what]:
        verifier = Verifier()
        for before in REACHED[state]:
            show(verifier, before)
        assert verifier.state is state
        counted, first = verifier.figures, verifier.end(close_frame=True)
        shown = show(verifier, frame)
        assert verifier.state is expected, frame
        assert verifier.finished is (expected in (State.CLOSED, State.ABORTED, State.BROKEN))
        assert shown is (what is Input.DATA and isinstance(frame, str) and not verifier.finished)
        if verifier.finished:
            assert verifier.figures == counted
        if state in (State.ABORTED, State.BROKEN):
            assert verifier.end(close_frame=True) == first


ROWS: list[tuple[str, list[str | bytes], bool, dict[str, Any], Outcome]] = [
    ("open … close", sealed(b"abc", "hello", b"d"), True, {}, Outcome.VERIFIED),
    ("abort, cut", sealed(b"abc", last="abort"), False, {}, Outcome.ABORTED),
    ("foreign messages", ["abc"], True, {}, Outcome.FOREIGN),
    ("foreign messages in byte mode", ["abc", b""], True, {"expect": "bytes"}, Outcome.DIFFERS),
    ("foreign bytes in line mode", [b"abc"], True, {"expect": "messages"}, Outcome.DIFFERS),
    ("both in byte mode", ["m", b"abc"], True, {"expect": "bytes"}, Outcome.FOREIGN),
    ("sealed lines in byte mode", sealed("m", mode="lines"), True, {"expect": "bytes"}, Outcome.VERIFIED),
    ("an error at the end", [b"abc", ' {"error": "no such file"}'], True, {}, Outcome.PEER_ERROR),
    ("nothing and no Close frame", [], False, {"allow_empty": True}, Outcome.LOST),
    ("nothing", [], True, {}, Outcome.EMPTY),
    ("nothing, allowed", [], True, {"allow_empty": True}, Outcome.ALLOWED_EMPTY),
]  # fmt: skip
STATUS = {
    Outcome.VERIFIED: None,
    Outcome.FOREIGN: None,
    Outcome.ALLOWED_EMPTY: None,
    Outcome.EMPTY: NothingArrived,
    Outcome.TRUNCATED: StreamTruncated,
    Outcome.VANISHED: StreamTruncated,
    Outcome.ABORTED: StreamAborted,
    Outcome.UNSEALED: StreamTruncated,
    Outcome.PEER_ERROR: StreamTruncated,
    Outcome.LOST: StreamTruncated,
    Outcome.DIFFERS: ContentDiffers,
}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_table(row: tuple[str, list[str | bytes], bool, dict[str, Any], Outcome]) -> None:
    _, frames, close_frame, options, outcome = row
    got, _ = verdict(frames, close_frame=close_frame, **options)
    assert got.outcome is outcome
    failure = got.failure()
    wanted = STATUS[outcome]
    assert failure is None if wanted is None else type(failure) is wanted
    assert got.fine is (failure is None)
    assert got.verified is (outcome is Outcome.VERIFIED)
    assert got.text.isprintable()
    assert got.text


def test_frames_of_the_seal_are_never_delivered() -> None:
    ref = ChannelRef("chan", Secret("hush"), Direction.WRITE)
    opening = Sealer(ID, receipt=ref).open_frame()
    for frames in (
        seal(opening, BEAT, BEAT, CLOSE),
        seal(BEAT),
        seal(opening, opening),
        seal(opening, CLOSE, opening),
        [opening.decode()[:-1]],
        [opening.decode().replace("xxh3_128", "new")],
    ):
        got, delivered = verdict(frames)
        assert delivered == []
        assert "hush" not in repr(got)


def test_opened_tells_how_to_read() -> None:
    ref = ChannelRef("c", Secret("k"), Direction.WRITE)
    verifier = Verifier()
    assert not verifier.text(Sealer(ID, mode="records", digest="sha256", size=5, receipt=ref).open_frame())
    assert verifier.opened is not None
    assert (verifier.opened.mode, verifier.opened.digest, verifier.opened.size) == (Mode.RECORDS, "sha256", 5)
    assert verifier.opened.receipt == ref
    assert (verifier.finished, verifier.text(ABORT), verifier.finished) == (False, False, True)


def test_a_batch_is_the_same_as_one_by_one() -> None:
    frames = [f.encode() for f in sealed("a", "", '{"x":1}', "é") if isinstance(f, str)]
    lonely, together = Verifier(), Verifier()
    assert [f for f in frames if lonely.text(f)] == together.text_batch(frames) == frames[1:-1]
    assert lonely.end(close_frame=True) == together.end(close_frame=True)
    assert together.finished
    assert together.text_batch([b"late"]) == []
    assert together.end(close_frame=True).outcome is Outcome.DIFFERS
    foreign = Verifier()
    assert foreign.text_batch([]) == []
    assert foreign.end(close_frame=True).outcome is Outcome.EMPTY
    assert foreign.text_batch([b"a", b'{"error":"x"}']) == [b"a", b'{"error":"x"}']
    assert foreign.message_count == 2
    assert foreign.end(close_frame=True).outcome is Outcome.PEER_ERROR

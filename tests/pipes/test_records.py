"""`--jsonl`: a line is a frame. Whoever puts frames in, cuts or joins them on the way is seen."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.raw import BINARY, CLOSE, TEXT, Frame, RawSocket

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.program import Program

LINES = b'{"text":"one"}\n{"base64":"AAE="}\n{"base64":"AgM="}\n{"text":"two"}\n{"text":"three"}\n'
Frames = list[Frame]


def merged(frames: Frames, at: int) -> Frames:
    both = frames[at].payload + frames[at + 1].payload
    return [*frames[:at], Frame(frames[at].opcode, both), *frames[at + 2 :]]


MISDEEDS: dict[str, tuple[Callable[[Frames], Frames], int]] = {
    "nothing": (lambda frames: frames, 0),
    "an empty binary frame more": (lambda frames: [*frames[:2], Frame(BINARY, b""), *frames[2:]], 8),
    "an empty message more": (lambda frames: [*frames[:2], Frame(TEXT, b""), *frames[2:]], 8),
    "two binary frames in one": (lambda frames: merged(frames, 2), 8),
    "two messages in one": (lambda frames: merged(frames, 4), 8),
    "a binary frame in two": (
        lambda frames: [*frames[:2], Frame(BINARY, b"\0"), Frame(BINARY, b"\1"), *frames[3:]],
        8,
    ),
    "bytes as text": (lambda frames: [*frames[:2], Frame(TEXT, b"\0\1"), *frames[3:]], 8),
}


def target(token: str, direction: str) -> str:
    _, _, channel, key = token.split(":")
    return f"/ws/channels/{channel}?key={key}&dir={direction}"


async def taken(url: str, reader: str) -> Frames:
    """The whole stream."""
    source = await RawSocket.open(url, target(reader, "read"))
    frames: Frames = []
    while (frame := await source.receive()).opcode != CLOSE:
        frames.append(frame)
    source.drop()
    return frames


async def pass_on(url: str, reader: str, writer: str, misdeed: Callable[[Frames], Frames]) -> None:
    """Take the whole stream out of one channel and put it into another one."""
    frames = await taken(url, reader)
    sink = await RawSocket.open(url, target(writer, "write"))
    for frame in misdeed(frames):
        await sink.send(frame.opcode, frame.payload)
    await sink.send(CLOSE, b"\x03\xe8")
    assert (await sink.receive_close())[0] == 1000
    sink.drop()


@pytest.mark.parametrize(
    "misdeed",
    [
        pytest.param(name, marks=[] if name == "nothing" or "binary frame more" in name else pytest.mark.ci)
        for name in MISDEEDS
    ],
)
def test_the_borders_of_frames_are_sealed(iii: Program, misdeed: str) -> None:
    act, status = MISDEEDS[misdeed]
    first, second = iii.channel(), iii.channel()
    writing = iii.start("channel", "write", first[0], "--jsonl", "--", "printf", "%s", LINES.decode())
    asyncio.run(pass_on(iii.env["III_URL"], first[1], second[0], act))
    assert writing.communicate(timeout=10)[1] == b""
    done = iii.run("channel", "read", second[1])
    assert done.returncode == status, done.stderr
    if not status:
        assert done.stdout == LINES


def test_the_mode_has_a_name_of_its_own(iii: Program) -> None:
    writer, reader = iii.channel()
    writing = iii.start("channel", "write", writer, "--jsonl", "--", "printf", "%s", LINES.decode())
    frames = asyncio.run(taken(iii.env["III_URL"], reader))
    opened, closed = (json.loads(frames[at].payload)["iii"] for at in (0, -1))
    writing.communicate(timeout=10)
    assert (opened["v"], opened["open"]["mode"]) == (1, "records")
    assert (closed["close"]["frames"], closed["close"]["messages"], closed["close"]["bytes"]) == (5, 3, 4)

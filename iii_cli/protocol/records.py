"""The modes: what a line of a file is on the wire, both ways (docs: seal, "Modes").

    --lines   writing: a line is a text message, without its newline. Reading: a message and a newline.
    --text    reading only: text messages joined as they are.
    --jsonl   a line is one frame, {"text": "…"} or {"base64": "…"}, both ways, so nothing is lost.

A line ends at "\n" alone: the "\r" of a CRLF file is part of its line and comes out again. An empty line is
an empty message. A last line without a newline is a line; read back, it has one.
"""

from __future__ import annotations

import json
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from typing import TYPE_CHECKING, NamedTuple

from iii_cli.errors import ContentDiffers, LocalProblem, UsageProblem
from iii_cli.protocol.frames import ENGINE_FRAME_MAX
from iii_cli.protocol.seal import Mode, printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iii_cli.protocol.frames import Buffer

__all__ = (
    "LONGEST_JSONL",
    "LONGEST_MESSAGE",
    "LineSplitter",
    "Record",
    "asked_mode",
    "chunk_to_jsonl",
    "follow",
    "jsonl_to_record",
    "message_notice",
    "messages_to_data",
)


LONGEST_MESSAGE = ENGINE_FRAME_MAX  # bytes; our writers send a message as one frame
LONGEST_JSONL = 6 * LONGEST_MESSAGE + 64  # bytes; "\u0041" is the longest way to write a byte of a message

_encode_text = json.JSONEncoder(ensure_ascii=False).encode
_PAIRS = json.JSONDecoder(object_pairs_hook=tuple)  # a dict would lose the first of two equal keys


class Record(NamedTuple):
    """What one line of --jsonl stands for: one text message, or one binary message."""

    is_text: bool
    payload: bytes


class LineSplitter:
    """Makes lines of chunks. Holds at most one unfinished line, of at most `longest` bytes.

    Every line given out is valid UTF-8, so it can be a text message. `what` names the input in errors.
    """

    def __init__(self, *, longest: int = LONGEST_MESSAGE, what: str = "input", is_text: bool = True) -> None:
        self._longest = longest
        self._is_text = is_text
        self._what = what
        self._tail = bytearray()
        self.count = 0  # lines given out so far

    @property
    def held(self) -> int:
        """Bytes of a line whose end has not come."""
        return len(self._tail)

    def feed(self, chunk: Buffer) -> list[bytes]:
        """The lines that end in `chunk`, without their newline.

        Raises LocalProblem at a line that is too long, or that is not UTF-8 where `is_text` wants that;
        nothing of that feed is given out.
        """
        head, newline, tail = bytes(chunk).rpartition(b"\n")
        if not newline:
            self._keep(tail)
            return []
        if self._tail:
            head = bytes(self._tail) + head
            self._tail.clear()
        lines = self._checked(head)
        self._keep(tail)
        return lines

    def finish(self) -> list[bytes]:
        """A last line without a newline; nothing when the input ended with one, or was empty.

        Raises LocalProblem as `feed`.
        """
        if not self._tail:
            return []
        lines = self._checked(bytes(self._tail))
        self._tail.clear()
        return lines

    def _keep(self, tail: bytes) -> None:
        self._tail += tail
        if len(self._tail) > self._longest:
            self._too_long(self.count)

    def _checked(self, region: bytes) -> list[bytes]:
        """Split and check. Whole lines are valid UTF-8 exactly when each of them is."""
        if self._is_text and not region.isascii():
            try:
                region.decode()
            except UnicodeDecodeError as error:
                self._not_utf8(region, error.start)
        lines = region.split(b"\n")
        if len(region) > self._longest:
            for index, line in enumerate(lines):
                if len(line) > self._longest:
                    self._too_long(self.count + index)
        self.count += len(lines)
        return lines

    def _too_long(self, index: int) -> None:
        raise LocalProblem(
            f"{self._what}: line {index + 1} is longer than {self._longest} bytes",
            hint="a line is one message, and the engine takes none longer; send it as bytes",
        )

    def _not_utf8(self, region: bytes, position: int) -> None:
        line = self.count + region.count(b"\n", 0, position) + 1
        column = position - region.rfind(b"\n", 0, position)
        raise LocalProblem(
            f"{self._what}: line {line} is not UTF-8 (at its byte {column})",
            hint='send it as bytes, or with --jsonl as {"base64":…}',
        )


def jsonl_to_record(line: bytes, number: int, what: str = "input") -> Record:
    """Read line `number` of --jsonl. An object with exactly one of the keys `text` and `base64`.

    Raises LocalProblem for any other line, an empty one among them.
    """
    try:
        pairs = _PAIRS.decode(line.decode())
        ((key, content),) = pairs
        if not isinstance(pairs, tuple):
            raise ValueError
        if key == "text":
            record = Record(True, content.encode())
        elif key == "base64":
            record = Record(False, a2b_base64(content.encode("ascii"), strict_mode=True))
        else:
            raise ValueError
    except (ValueError, AttributeError, TypeError, RecursionError, Base64Error):
        raise LocalProblem(
            f"{what}: line {number} is not a frame", hint='write {"text":"…"} or {"base64":"…"} on each line'
        ) from None
    if len(record.payload) > LONGEST_MESSAGE:
        raise LocalProblem(f"{what}: the frame of line {number} is longer than {LONGEST_MESSAGE} bytes")
    return record


def chunk_to_jsonl(frame: Buffer) -> bytes:
    """One whole binary message as a line of --jsonl, newline included."""
    return b'{"base64":"' + b2a_base64(frame, newline=False) + b'"}\n'


def messages_to_data(mode: Mode, messages: Iterable[bytes]) -> bytes:
    """Text messages as the reader of this mode writes them. Nothing in byte mode: there they are no data.

    Raises ContentDiffers for --jsonl when a message is not UTF-8.
    """
    match mode:
        case Mode.LINES:
            return b"".join([message + b"\n" for message in messages])
        case Mode.TEXT:
            return b"".join(messages)
        case Mode.RECORDS | Mode.JSONL:
            return b"".join([_message_to_jsonl(message) for message in messages])
        case _:
            return b""


def message_notice(message: bytes, limit: int = 4096) -> str:
    """A message that is not data, as one line for stderr: printable, cut at `limit` characters."""
    return printable(message[: 8 * limit].decode(errors="replace"), limit)


def asked_mode(*, lines: bool, text: bool = False, jsonl: bool) -> Mode | None:
    """The mode that the flags name, None without one. Raises UsageProblem for more than one."""
    asked = [mode for mode, on in ((Mode.LINES, lines), (Mode.TEXT, text), (Mode.RECORDS, jsonl)) if on]
    if len(asked) > 1:
        raise UsageProblem("one of --lines, --text and --jsonl is enough")
    return asked[0] if asked else None


def follow(asked: Mode | None, sealed: Mode) -> Mode:
    """How to read a sealed stream: as it was written, or as asked where that shows all of it.

    --jsonl shows everything; --lines and --text show any stream of messages. Raises UsageProblem for a flag
    that contradicts the stream.
    """
    messages = (Mode.LINES, Mode.TEXT)
    if asked is None or asked is sealed:
        return sealed
    if asked is Mode.RECORDS or (asked in messages and sealed in messages):
        return asked
    names = {Mode.BYTES: "bytes", Mode.RECORDS: "--jsonl"}
    flag, written = (names.get(mode, f"--{mode.value}") for mode in (asked, sealed))
    raise UsageProblem(
        f"{flag} contradicts the stream, which was written as {written}", hint="read it without a mode flag"
    )


def _message_to_jsonl(message: bytes) -> bytes:
    try:
        text = message.decode()
    except UnicodeDecodeError:
        raise ContentDiffers("a text message is not UTF-8") from None
    return b'{"text":' + _encode_text(text).encode() + b"}\n"

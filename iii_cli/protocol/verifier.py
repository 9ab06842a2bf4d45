"""The reader's side of a seal: what arrived, and the verdict at its end (docs: seal, "Verdict")."""

from __future__ import annotations

import json
from enum import Enum, auto
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from iii_cli.errors import ContentDiffers, Failure, NothingArrived, StreamAborted, StreamTruncated
from iii_cli.protocol.json_text import MalformedJson, parse
from iii_cli.protocol.seal import (
    Abort,
    Beat,
    Close,
    Counter,
    Figures,
    MalformedSeal,
    Mode,
    Open,
    decode,
    looks_sealed,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.protocol.frames import Buffer
    from iii_cli.protocol.seal import SealBody

__all__ = ("TRANSITIONS", "Input", "Outcome", "State", "Verdict", "Verifier")


class Outcome(Enum):
    """A row of the table of verdicts. The first three are no failure."""

    VERIFIED = auto()  # open … close, all totals right
    FOREIGN = auto()  # no seal, a clean end: the end could not be verified
    ALLOWED_EMPTY = auto()  # nothing at all and a clean end, which --allow-empty accepts
    EMPTY = auto()  # nothing at all and a clean end: exit 6
    TRUNCATED = auto()  # open, then an end without close: exit 7
    VANISHED = auto()  # open and a beat, then silence: exit 7
    ABORTED = auto()  # the writer said that it failed: exit 7
    UNSEALED = auto()  # no seal, a clean end, and a seal was required: exit 7
    PEER_ERROR = auto()  # no seal, and the last message is {"error": …}: exit 7
    LOST = auto()  # no seal, and no Close frame: exit 7
    DIFFERS = auto()  # a total differs, or the seal is malformed or misplaced: exit 8


_FINE = frozenset({Outcome.VERIFIED, Outcome.FOREIGN, Outcome.ALLOWED_EMPTY})


class Verdict(Struct, frozen=True):
    """`text` is for people and printable. `figures` is what arrived. `code` is the one of an abort."""

    outcome: Outcome
    text: str
    figures: Figures
    code: int | None = None
    hint: str | None = None

    @property
    def verified(self) -> bool:
        """Did every byte arrive, in order, from a writer that meant to end there?"""
        return self.outcome is Outcome.VERIFIED

    @property
    def fine(self) -> bool:
        """Is it no failure? True for a foreign stream too, whose end nobody can verify."""
        return self.outcome in _FINE

    def failure(self) -> Failure | None:
        """What to raise; None when `fine`."""
        if self.fine:
            return None
        if self.outcome is Outcome.ABORTED:
            return StreamAborted(self.text, code=1 if self.code is None else self.code, hint=self.hint)
        others = {Outcome.EMPTY: NothingArrived, Outcome.DIFFERS: ContentDiffers}
        return others.get(self.outcome, StreamTruncated)(self.text, hint=self.hint)


class State(Enum):
    """Where a stream stands."""

    NOTHING = auto()  # nothing has come
    FOREIGN = auto()  # data, and no seal before it
    SEALED = auto()  # the open frame has come
    CLOSED = auto()  # the close frame, and all totals are right
    ABORTED = auto()  # the writer said that it failed
    BROKEN = auto()  # a frame that breaks the seal


class Input(Enum):
    """What can come."""

    DATA = auto()  # payload, or a text message that is not of this stream's seal
    OPEN = auto()
    BEAT = auto()  # with the right count
    CLOSE = auto()  # with the right totals
    ABORT = auto()
    FAULT = auto()  # a frame of the seal that is malformed, or whose count or total is wrong


# What is not here breaks the seal, except that nothing mends or worsens a stream that has failed.
TRANSITIONS = {
    (State.NOTHING, Input.DATA): State.FOREIGN,
    (State.NOTHING, Input.OPEN): State.SEALED,
    (State.FOREIGN, Input.DATA): State.FOREIGN,
    (State.SEALED, Input.DATA): State.SEALED,
    (State.SEALED, Input.BEAT): State.SEALED,
    (State.SEALED, Input.CLOSE): State.CLOSED,
    (State.SEALED, Input.ABORT): State.ABORTED,
}
FAILED = (State.ABORTED, State.BROKEN)
_MISPLACED = {
    State.NOTHING: "a seal frame came without an open frame at the start",
    State.FOREIGN: "a seal frame came without an open frame at the start",
    State.SEALED: "the open frame came twice",
    State.CLOSED: "the stream went on after its close frame",
}


class Verifier:
    """Counts what a reader receives, keeps the seal's frames away from the data, and says how it ended.

    Feed it every frame in order: `chunk` for binary payload (as it comes, whole frames or parts, but whole
    frames in mode `records`; for an empty frame too, it shows that the writer was there), `text` for each
    whole text message. When `finished` turns true nothing more belongs to the stream: deliver nothing more
    (what was received already may still be fed), call `end`, drop the connection.
    """

    def __init__(
        self,
        *,
        require_seal: bool = False,
        allow_empty: bool = False,
        expect: Literal["bytes", "messages"] | None = None,
    ) -> None:
        """`expect` is what this reader shows of a foreign stream: one that has only the other kind is 8.

        It has no say in a sealed stream, whose mode is in `opened`.
        """
        self._require_seal = require_seal
        self._allow_empty = allow_empty
        self._expect = expect
        self._counter = Counter()
        self._stream_id = b""
        self._last_message = b""
        self._fault = ""  # why the state is BROKEN
        self._abort: Abort | None = None
        self.state = State.NOTHING
        self.opened: Open | None = None

    @property
    def finished(self) -> bool:
        """Has the stream ended by its own word: close, abort, or a frame that breaks the seal?"""
        return self.state in (State.CLOSED, *FAILED)

    @property
    def figures(self) -> Figures:
        """What has arrived until now. For a foreign stream the digest is xxh3_128."""
        return self._counter.figures

    @property
    def byte_count(self) -> int:
        """Payload bytes so far; cheap, for a progress line."""
        return self._counter.bytes

    @property
    def message_count(self) -> int:
        """Text messages so far, without the seal's; cheap."""
        return self._counter.messages

    def chunk(self, data: Buffer) -> None:
        """Binary payload."""
        self._take(Input.DATA)
        if not self.finished:
            self._counter.chunk(data)

    def text(self, payload: bytes) -> bool:
        """One whole text message. True: it is data. False: it is the seal's, show it to nobody."""
        if looks_sealed(payload) and self._is_seal(payload):
            return False
        self._take(Input.DATA)
        if self.finished:
            return False
        self._counter.message(payload)
        self._last_message = payload
        return True

    def text_batch(self, payloads: Sequence[bytes]) -> Sequence[bytes]:
        """Whole text messages with no binary frame between them: those that are data, in order.

        The same as `text` for each, and fast for many short ones.
        """
        # Cheaper than a look at each: whatever looks sealed has this key.
        if self.finished or not payloads or b'"iii"' in b"".join(payloads):
            return [payload for payload in payloads if self.text(payload)]
        self._take(Input.DATA)
        self._counter.message_batch(payloads)
        self._last_message = payloads[-1]
        return payloads

    def _take(self, what: Input, fault: str = "") -> None:
        """One step of the table."""
        state = TRANSITIONS.get((self.state, what))
        if state is None and self.state not in FAILED:
            self._fault = fault or _MISPLACED[self.state]
            state = State.BROKEN
        self.state = state or self.state

    def _is_seal(self, payload: bytes) -> bool:
        """Is the frame of this stream's seal? Then take it."""
        try:
            frame = decode(payload)
        except MalformedSeal as problem:
            if self._stream_id not in payload:
                return False  # another stream's, quoted
            self._take(Input.FAULT, str(problem))
            return True
        if frame is None or (self._stream_id and frame[0].encode() != self._stream_id):
            return False
        stream_id, body = frame
        self._take(*self._input_of(body))
        if isinstance(body, Open) and self.state is State.SEALED:
            self.opened = body
            self._stream_id = stream_id.encode()
            self._counter = Counter(body.digest, records=body.mode is Mode.RECORDS)
        if isinstance(body, Abort) and self._abort is None:
            self._abort = body
        return True

    def _input_of(self, body: SealBody) -> tuple[Input, str]:
        """What it means, and what is wrong with it."""
        match body:
            case Open():
                return Input.OPEN, ""
            case Abort():
                return Input.ABORT, ""
            case Beat() if self.state is not State.SEALED or body.bytes == self._counter.bytes:
                return Input.BEAT, ""
            case Beat():
                return Input.FAULT, f"the writer had sent {body.bytes} bytes, {self._counter.bytes} arrived"
            case Close():
                fault = self.figures.difference(body.figures) if self.state is State.SEALED else None
                return (Input.CLOSE, "") if fault is None else (Input.FAULT, fault)

    def end(self, *, close_frame: bool, silent_for: float | None = None) -> Verdict:
        """The verdict, at `finished` or when the connection ended.

        `close_frame`: did a WebSocket Close frame come? `silent_for`: we ended it ourselves, after so many
        seconds without a byte. May be asked again.
        """
        outcome, text, *hint = self._judge(close_frame, silent_for)
        code = self._abort.code if outcome is Outcome.ABORTED and self._abort is not None else None
        return Verdict(outcome, text, self.figures, code, *hint)

    def _judge(
        self, close_frame: bool, silent_for: float | None
    ) -> tuple[Outcome, str] | tuple[Outcome, str, str]:
        """The first row that fits: its outcome, what is said, and what to do."""
        count, messages = self._counter.bytes, self._counter.messages
        amount = f"{count} bytes and {messages} messages" if messages else f"{count} bytes"
        match self.state:
            case State.CLOSED:
                return Outcome.VERIFIED, "verified"
            case State.BROKEN:
                return Outcome.DIFFERS, f"not what the writer sealed: {self._fault}"
            case State.ABORTED if self._abort is not None:
                reason = printable(self._abort.reason) or "no reason given"
                return Outcome.ABORTED, f"aborted by the writer: {reason}"
            case State.SEALED if silent_for is not None:
                return Outcome.VANISHED, f"the writer vanished: {silent_for:g} s of silence after {amount}"
            case State.SEALED if close_frame:
                text = f"truncated: the writer ended after {amount} without saying that it was done"
                return Outcome.TRUNCATED, text
            case State.SEALED:
                return Outcome.TRUNCATED, f"truncated: the connection broke after {amount}"
        if (error := _sole_error(self._last_message)) is not None:
            return Outcome.PEER_ERROR, f"the writer says: {error}"
        if not close_frame:
            return Outcome.LOST, f"the connection broke after {amount}: the engine or the network failed"
        if self.state is State.NOTHING and not self._allow_empty:
            text = "nothing arrived: the ref was already used, or expired, or the writer sent nothing"
            return Outcome.EMPTY, text, "--allow-empty accepts an empty stream"
        if self._require_seal:
            return Outcome.UNSEALED, "the writer sent no seal, and a seal is required"
        if self.state is State.NOTHING:
            return Outcome.ALLOWED_EMPTY, "nothing arrived"
        if self._expect == "bytes" and messages and not count:
            text = f"the stream has {messages} text messages and no bytes"
            return Outcome.DIFFERS, text, "read it with --lines, --text or --jsonl"
        if self._expect == "messages" and count and not messages:
            text = f"the stream has {count} bytes and no text messages"
            return Outcome.DIFFERS, text, "read it without --lines and --text"
        return Outcome.FOREIGN, "the writer sent no seal: the end could not be verified"


def _sole_error(message: bytes) -> str | None:
    """The text of an object whose only key is `error`, as the engine's own sandbox streams send it."""
    if not message.lstrip(b" \t\r\n").startswith(b"{"):
        return None
    try:
        value = parse(message)
    except MalformedJson:
        return None
    if value.keys() != {"error"}:
        return None
    error = value["error"]
    return printable(error if isinstance(error, str) else json.dumps(error)) or "an error without text"

"""The reader's side of a seal: what arrived, and the verdict at its end."""

from __future__ import annotations

import json
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from iii_cli.errors import ContentDiffers, Failure, NothingArrived, StreamAborted, StreamTruncated
from iii_cli.protocol.seal import (
    Abort,
    Beat,
    Close,
    Counter,
    MalformedSeal,
    Mode,
    Open,
    SealFrame,
    decode,
    looks_sealed,
    printable,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.protocol.frames import Buffer
    from iii_cli.protocol.seal import Figures, SealBody

__all__ = ("Outcome", "Verdict", "Verifier")


class Outcome(Enum):
    """A row of the table. The first three are no failure."""

    VERIFIED = auto()  # open … close, all four figures right
    FOREIGN = auto()  # no seal, a clean end: the end could not be verified
    ALLOWED_EMPTY = auto()  # nothing at all and a clean end, which --allow-empty accepts
    EMPTY = auto()  # nothing at all and a clean end                                     6
    TRUNCATED = auto()  # open, then an end without close                                7
    VANISHED = auto()  # open and a beat, then silence                                   7
    ABORTED = auto()  # the writer said that it failed                                   7
    UNSEALED = auto()  # no seal, a clean end, and a seal was required                   7
    PEER_ERROR = auto()  # no seal, and the last message is {"error": …}                 7
    LOST = auto()  # no seal, and no Close frame                                         7
    DIFFERS = auto()  # a figure differs, or the seal is malformed or misplaced          8


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
        match self.outcome:
            case outcome if outcome in _FINE:
                return None
            case Outcome.EMPTY:
                return NothingArrived(self.text, hint=self.hint)
            case Outcome.DIFFERS:
                return ContentDiffers(self.text, hint=self.hint)
            case Outcome.ABORTED:
                return StreamAborted(self.text, code=1 if self.code is None else self.code, hint=self.hint)
            case _:
                return StreamTruncated(self.text, hint=self.hint)


class Verifier:
    """Counts what a reader receives, keeps the seal's frames away from the data, and says how it ended.

    Feed it every frame in order: `chunk` for binary payload (as it comes, whole frames or parts, but whole
    frames in mode `records`; for an empty frame too, it shows that the writer was there), `text` for each
    whole text message. When
    `finished` turns true nothing more belongs to the stream: deliver nothing more, call `end`, drop the
    connection.
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
        self._stream_id = ""
        self._started = False  # has any frame come?
        self._last_message = b""
        self._settled: Verdict | None = None
        self.opened: Open | None = None

    @property
    def finished(self) -> bool:
        """Has the stream ended by its own word: close, abort, or a frame that breaks the seal?"""
        return self._settled is not None

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
        if self._settled is not None:
            return self._after_the_end()
        self._started = True
        return self._counter.chunk(data)

    def text(self, payload: bytes) -> bool:
        """One whole text message. True: it is data. False: it is the seal's, show it to nobody."""
        if looks_sealed(payload) and self._take_seal(payload):
            return False
        if self._settled is not None:
            self._after_the_end()
            return False
        self._started = True
        self._counter.message(payload)
        self._last_message = payload
        return True

    def text_batch(self, payloads: Sequence[bytes]) -> Sequence[bytes]:
        """Whole text messages with no binary frame between them: those that are data, in order.

        The same as `text` for each, and fast for many short ones.
        """
        if self._settled is not None or not payloads or _may_hold_a_seal(payloads):
            return [payload for payload in payloads if self.text(payload)]
        self._started = True
        self._counter.message_batch(payloads)
        self._last_message = payloads[-1]
        return payloads

    def end(self, *, close_frame: bool, silent_for: float | None = None) -> Verdict:
        """The verdict, at `finished` or when the connection ended.

        `close_frame`: did a WebSocket Close frame come? `silent_for`: we ended it ourselves, after so many
        seconds without a byte. May be asked again.
        """
        if self._settled is not None:
            return self._settled
        if self.opened is not None:
            return self._unclosed(close_frame, silent_for)
        if not close_frame:
            return self._foreign_error() or self._verdict(
                Outcome.LOST, f"the connection broke after {self._amount()}: the engine or the network failed"
            )
        if not self._started:
            return self._nothing()
        return self._foreign_error() or self._foreign()

    def _unclosed(self, close_frame: bool, silent_for: float | None) -> Verdict:
        if silent_for is not None:
            text = f"the writer vanished: {silent_for:g} s of silence after {self._amount()}"
            return self._verdict(Outcome.VANISHED, text)
        if close_frame:
            text = f"truncated: the writer ended after {self._amount()} without saying that it was done"
        else:
            text = f"truncated: the connection broke after {self._amount()}"
        return self._verdict(Outcome.TRUNCATED, text)

    def _nothing(self) -> Verdict:
        if not self._allow_empty:
            text = "nothing arrived: the ref was already used, or expired, or the writer sent nothing"
            return self._verdict(Outcome.EMPTY, text, hint="--allow-empty accepts an empty stream")
        if self._require_seal:
            return self._unsealed()
        return self._verdict(Outcome.ALLOWED_EMPTY, "nothing arrived")

    def _foreign_error(self) -> Verdict | None:
        text = _sole_error(self._last_message)
        return None if text is None else self._verdict(Outcome.PEER_ERROR, f"the writer says: {text}")

    def _foreign(self) -> Verdict:
        if self._require_seal:
            return self._unsealed()
        count, messages = self._counter.bytes, self._counter.messages
        if self._expect == "bytes" and messages and not count:
            text = f"the stream has {messages} text messages and no bytes"
            return self._verdict(Outcome.DIFFERS, text, hint="read it with --lines, --text or --jsonl")
        if self._expect == "messages" and count and not messages:
            text = f"the stream has {count} bytes and no text messages"
            return self._verdict(Outcome.DIFFERS, text, hint="read it without --lines and --text")
        return self._verdict(Outcome.FOREIGN, "the writer sent no seal: the end could not be verified")

    def _unsealed(self) -> Verdict:
        return self._verdict(Outcome.UNSEALED, "the writer sent no seal, and a seal is required")

    def _take_seal(self, payload: bytes) -> bool:
        """Is the frame of this stream's seal? Then act on it."""
        try:
            frame = decode(payload)
        except MalformedSeal as problem:
            if self.opened is not None and self._stream_id.encode() not in payload:
                return False  # another stream's, quoted
            self._differs(str(problem))
            return True
        if frame is None or (self.opened is not None and frame.stream_id != self._stream_id):
            return False
        if self._settled is not None:
            self._after_the_end()
        elif self.opened is None:
            self._first(frame)
        else:
            self._act(frame.body)
        return True

    def _first(self, frame: SealFrame) -> None:
        if self._started or not isinstance(frame.body, Open):
            return self._differs("a seal frame came without an open frame at the start")
        self._started = True
        self.opened = frame.body
        self._stream_id = frame.stream_id
        self._counter = Counter(frame.body.digest, records=frame.body.mode is Mode.RECORDS)
        return None

    def _act(self, body: SealBody) -> None:
        match body:
            case Open():
                self._differs("the open frame came twice")
            case Beat() if body.bytes != self._counter.bytes:
                self._differs(f"the writer had sent {body.bytes} bytes, {self._counter.bytes} arrived")
            case Beat():
                pass  # that it came is what it says
            case Close():
                self._close(body)
            case Abort():
                reason = printable(body.reason) or "no reason given"
                text = f"aborted by the writer: {reason}"
                self._settled = self._verdict(Outcome.ABORTED, text, code=body.code)

    def _close(self, body: Close) -> None:
        difference = self.figures.difference(body.figures)
        if difference is None:
            self._settled = self._verdict(Outcome.VERIFIED, "verified")
        else:
            self._differs(difference)

    def _after_the_end(self) -> None:
        """Nothing may follow a close. After an abort it changes nothing: the stream has failed already."""
        if self._settled is not None and self._settled.verified:
            self._differs("the stream went on after its close frame")

    def _differs(self, text: str) -> None:
        if self._settled is None or self._settled.verified:
            self._settled = self._verdict(Outcome.DIFFERS, f"not what the writer sealed: {text}")

    def _verdict(
        self, outcome: Outcome, text: str, *, code: int | None = None, hint: str | None = None
    ) -> Verdict:
        return Verdict(outcome, text, self.figures, code, hint)

    def _amount(self) -> str:
        count, messages = self._counter.bytes, self._counter.messages
        return f"{count} bytes and {messages} messages" if messages else f"{count} bytes"


def _may_hold_a_seal(payloads: Sequence[bytes]) -> bool:
    """Cheaper than a look at each: whatever looks sealed has this key."""
    return b'"iii"' in b"".join(payloads)


def _sole_error(message: bytes) -> str | None:
    """The text of an object whose only key is `error`, as the engine's own sandbox streams send it."""
    if not message.lstrip(b" \t\r\n").startswith(b"{"):
        return None
    try:
        value: Any = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.keys() != {"error"}:
        return None
    error = value["error"]
    return printable(error if isinstance(error, str) else json.dumps(error)) or "an error without text"

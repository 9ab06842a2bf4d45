"""The writer's side of a seal (design.md section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.wire.figures import Counter
from iii_cli.wire.printable import printable
from iii_cli.wire.seal import BEAT_AFTER, Abort, Beat, Close, Mode, Open, SealFrame, encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.wire.figures import Figures
    from iii_cli.wire.frames import Buffer
    from iii_cli.wire.ref import ChannelRef
    from iii_cli.wire.seal import SealBody

__all__ = ("Sealer",)


class Sealer:
    """Counts what a writer sends and makes the payloads of its seal frames.

    The open frame goes first, then everything sent is accounted for with `chunk` and `message`, then one of
    close and abort goes last. Account for what the frames will carry before or after sending it, but always
    before the next `beat_frame` or `close_frame`.
    """

    def __init__(
        self,
        stream_id: str,
        *,
        mode: Mode | str = Mode.BYTES,
        digest: str = "xxh3_128",
        size: int | None = None,
        receipt: ChannelRef | None = None,
        receipt_beat: float | None = None,
    ) -> None:
        """`stream_id` is 128 random bits as 32 lower-case hex digits, `size` a hint in bytes.

        Raises ValueError for an id, mode or digest that a reader would refuse, and for the old mode `jsonl`.
        """
        self.stream_id = stream_id
        self.opening = Open(Mode.BYTES, digest, size, receipt, receipt_beat)
        self.declare(mode)
        self._ended = False
        self._encode(self.opening)  # refuse a bad id here and not at the first frame

    def declare(self, mode: Mode | str) -> None:
        """Say how the data is framed, before the open frame is taken. Raises ValueError for a mode that
        nobody writes.
        """
        mode = Mode(mode)
        if mode is Mode.JSONL:
            raise ValueError("the mode jsonl is read and never written; `records` is its successor")
        self.opening = self.opening.replace(mode=mode)
        self._counter = Counter(self.opening.digest, records=mode is Mode.RECORDS)

    def chunk(self, data: Buffer) -> None:
        """Account for binary payload."""
        self._counter.chunk(data)

    def message(self, text: bytes) -> None:
        """Account for one text message, sent at the present byte offset."""
        self._counter.message(text)

    def message_batch(self, texts: Sequence[bytes]) -> None:
        """Account for text messages that are sent with no binary frame between them. Copies them once."""
        self._counter.message_batch(texts)

    @property
    def figures(self) -> Figures:
        """What was accounted for until now."""
        return self._counter.figures

    def open_frame(self) -> bytes:
        """The first frame. May hold the key of the receipt channel: for the wire only."""
        return self._encode(self.opening)

    def beat_frame(self) -> bytes:
        """Due when nothing was sent for BEAT_AFTER seconds."""
        return self._encode(Beat(self._counter.bytes))

    def close_frame(self) -> bytes:
        """The last frame of a stream that is whole. RuntimeError after another last frame."""
        return self._last(Close(self.figures))

    def abort_frame(self, code: int, reason: str) -> bytes:
        """The last frame of a stream that failed; `code` is our exit status.

        The reason is cut and stripped for printing. RuntimeError after another last frame.
        """
        return self._last(Abort(code, printable(reason)))

    @staticmethod
    def next_beat(last_frame: float) -> float:
        """When a beat is due, on the clock on which the last frame was sent (seconds)."""
        return last_frame + BEAT_AFTER

    def _last(self, body: SealBody) -> bytes:
        if self._ended:
            raise RuntimeError("the seal has ended already")
        self._ended = True
        return self._encode(body)

    def _encode(self, body: SealBody) -> bytes:
        return encode(SealFrame(self.stream_id, body))

"""The receipt: the reader's answer to a sealed stream, on a channel of its own (design.md section 4)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from iii_cli.errors import ContentDiffers, NotConfirmed
from iii_cli.wire.figures import Figures, is_count
from iii_cli.wire.printable import printable
from iii_cli.wire.seal import VERSION
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from iii_cli.errors import Failure

__all__ = (
    "STDOUT",
    "STOPPED_EARLY",
    "Receipt",
    "ReceiptBeat",
    "read_receipt",
    "receipt_beat_frame",
    "receipt_frame",
)

STOPPED_EARLY = "stopped early"  # the reason of a reader whose consumer wanted no more, and that did not look
STDOUT = "stdout"  # the reason of a reader whose output is a pipe: it cannot know what became of the data


class Receipt(Value):
    """`committed`: the data is on the reader's disk, or its consumer ended with 0. Else code and reason."""

    committed: bool
    figures: Figures
    code: int | None = None
    reason: str | None = None

    def failure(self, promised: Figures) -> Failure | None:
        """What a writer that promised these figures must raise: ContentDiffers, NotConfirmed or nothing.

        A reader that failed says so with the figures it got to, so they are compared only where it had
        everything: when it committed, or when only its output is a pipe.
        """
        if self.committed or self.reason == STDOUT:
            difference = self.figures.difference(promised)
            if difference is not None:
                return ContentDiffers(f"the reader's receipt does not match: {difference}")
        if self.committed:
            return None
        if self.reason == STDOUT:
            return NotConfirmed("the reader wrote to a pipe and cannot say that the data was kept")
        reason = printable(self.reason or "") or "no reason given"
        said = self.code is None or reason.endswith(f" exited {self.code}")
        code = "" if said else f" (exit {self.code})"
        return NotConfirmed(f"the reader did not keep the data: {reason}{code}")


class ReceiptBeat(Value):
    """The reader lives, and has so many payload bytes. `will_confirm` False: it cannot, whatever comes."""

    bytes: int
    will_confirm: bool = True


def receipt_beat_frame(count: int, *, will_confirm: bool) -> bytes:
    """The payload of a text frame on the receipt channel, for writers that asked for it."""
    beat: dict[str, Any] = {"bytes": count} if will_confirm else {"bytes": count, "will_confirm": False}
    return _frame({"beat": beat})


def receipt_frame(
    committed: bool, figures: Figures, code: int | None = None, reason: str | None = None
) -> bytes:
    """The payload of the one text frame on the receipt channel. The reason is cut and made printable.

    `code` and `reason` belong to `committed=False`. Raises ValueError when they come with True.
    """
    if committed and (code is not None or reason is not None):
        raise ValueError("a committed receipt has no code and no reason")
    receipt: dict[str, Any] = {"committed": committed, **figures.to_json()}
    if code is not None:
        receipt["code"] = code
    if reason is not None:
        receipt["reason"] = printable(reason)
    return _frame(receipt)


def _frame(receipt: dict[str, Any]) -> bytes:
    return json.dumps({"iii": {"v": VERSION, "receipt": receipt}}, separators=(",", ":")).encode()


def read_receipt(payload: bytes) -> Receipt | ReceiptBeat:
    """Read a text frame of the receipt channel. Raises ContentDiffers when it is not a receipt of ours."""
    try:
        value = json.loads(payload.decode())
        inner = value["iii"]
        receipt = inner["receipt"]
        if len(value) != 1 or inner.keys() != {"v", "receipt"} or type(inner["v"]) is not int:
            raise ValueError
        if inner["v"] != VERSION:
            raise ValueError
        if receipt.keys() == {"beat"}:
            return _beat_of(receipt["beat"])
        if type(receipt["committed"]) is not bool:
            raise ValueError
        figures, code = Figures.from_json(receipt), receipt.get("code")
        if type(code) is int and not is_count(abs(code)):
            raise ValueError
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ContentDiffers("the reader's receipt is malformed") from None
    reason = receipt.get("reason")
    return Receipt(
        receipt["committed"],
        figures,
        code if type(code) is int else None,
        reason if isinstance(reason, str) else None,
    )


def _beat_of(beat: dict[str, Any]) -> ReceiptBeat:
    if type(beat["bytes"]) is not int or beat["bytes"] < 0:
        raise ValueError
    return ReceiptBeat(beat["bytes"], beat.get("will_confirm") is not False)

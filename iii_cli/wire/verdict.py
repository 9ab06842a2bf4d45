"""What became of a stream, and how a reader ends because of it (the table of design.md section 4)."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from iii_cli.errors import ContentDiffers, Failure, NothingArrived, StreamAborted, StreamTruncated
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from iii_cli.wire.figures import Figures

__all__ = ("Outcome", "Verdict")


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


class Verdict(Value):
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

"""How the streams of `channel write | read | tee` get on, in words and in figures (design.md section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.client.transfer import reading, span_words, writing
from iii_cli.config.settings import format_bytes
from iii_cli.io.console import clean, talk
from iii_cli.io.progress import Meter, Progress, ProgressMode, progress_mode
from iii_cli.protocol.verifier import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.client.channels import AwaitedReceipt
    from iii_cli.client.transfer import Branch, ReadOrder, WriteOrder
    from iii_cli.config.settings import Settings
    from iii_cli.protocol.seal import Figures
    from iii_cli.protocol.verifier import Verdict

__all__ = (
    "conclude_read",
    "conclude_write",
    "mode_for",
    "progress_of_read",
    "progress_of_write",
    "say_early",
)


def mode_for(option: str, *, shares_terminal: bool = False) -> ProgressMode:
    """`shares_terminal`: somebody else writes to, or a person types at, the terminal that would show a bar.

    Raises UsageProblem. With `json` every line on stderr is an object from now on.
    """
    mode = progress_mode(option, data_on_terminal=shares_terminal)
    if mode is ProgressMode.JSON:
        talk.configure(as_json=True)
    return mode


def progress_of_write(
    mode: ProgressMode,
    settings: Settings,
    order: WriteOrder,
    branches: Sequence[Branch],
    receipts: Sequence[AwaitedReceipt],
    total: int | None,
) -> Progress:
    """The progress of a stream that is written. It hears of every byte through `order.moved`.

    Of several `branches` the names are told.
    """

    writers = {branch.name: branch.writer for branch in branches}

    def waiting(seconds: float) -> str:
        return clean(writing(order, writers, span_words(seconds), receipts=receipts))

    confirmed = (lambda: min(each.confirmed or 0 for each in receipts)) if receipts else None
    meter = Meter(total=total, waiting=waiting, confirmed=confirmed, messages=order.messages)
    order.moved = meter.moved
    order.standing = lambda span: writing(order, writers, span, receipts=receipts)
    return Progress(mode, meter, color=settings.use_color(True))


def conclude_write(progress: Progress, figures: Figures | None, *, confirmed: bool) -> None:
    """The stream was written; whether a reader has it, only a receipt has said."""
    progress.conclude(
        digest=None if figures is None else figures.digest,
        verified=confirmed,
        words=["confirmed by the reader" if confirmed else "not confirmed by the reader"],
    )


def progress_of_read(mode: ProgressMode, settings: Settings, order: ReadOrder) -> Progress:
    """The progress of a stream that is read: what has gone out, of what the seal promised."""
    reader = order.reader

    def total() -> int | None:
        return None if reader.opened is None else reader.opened.size

    def waiting(seconds: float) -> str:
        return reading(order, span_words(seconds))

    meter = Meter(total=total, waiting=waiting, messages=order.messages)
    order.moved = meter.moved
    order.standing = lambda span: reading(order, span)
    return Progress(mode, meter, color=settings.use_color(True))


def conclude_read(progress: Progress, verdict: Verdict | None) -> None:
    """What the end of the stream proved."""
    if verdict is None:
        progress.conclude(words=["stopped early"])
        return
    words = {Outcome.VERIFIED: "verified", Outcome.ALLOWED_EMPTY: "empty"}
    progress.conclude(
        digest=verdict.figures.digest,
        verified=verdict.verified,
        words=[words.get(verdict.outcome, "the end could not be verified")],
    )


def say_early(count: int | None) -> None:
    """What became of a stream of which a COMMAND wanted no more (`ReadOrder.early`)."""
    if count is None:
        talk.notice("COMMAND finished early; reading the rest to verify it (--stop-early skips this)")
    else:
        talk.notice(f"stopped early: {format_bytes(count)} read, the rest was neither read nor verified")

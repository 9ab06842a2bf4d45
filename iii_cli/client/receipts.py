"""Receipts: the second channel of a stream, on which its reader says what it has, and that it is kept.

(docs: seal, "Receipts")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import anyio
from anyio import TASK_STATUS_IGNORED

from iii_cli.client.channels import ChannelWriter
from iii_cli.errors import EngineUnreachable, Failure, NotConfirmed, PeerLeft, sole_cause
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.seal import (
    RECEIPT_TIMEOUT,
    STDOUT,
    Receipt,
    ReceiptBeat,
    read_receipt,
    receipt_beat_frame,
    receipt_frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskStatus

    from iii_cli.client.channels import ChannelReader
    from iii_cli.protocol.refs import ChannelRef, Endpoint
    from iii_cli.protocol.seal import Figures, Mode, Sealer

__all__ = ("ConfirmedWriter", "HeldReceipt")


OPEN_SECONDS = 5.0  # a reader's stream does not wait longer for its receipt channel
DELIVER_SECONDS = 5.0  # one small frame
LATE_SECONDS = 1.0  # a reader that failed has sent its receipt before it left
KEPT_UNKNOWN = "the data was handed to the engine; whether it was kept is unknown"


@final
class ConfirmedWriter(ChannelWriter):
    """A writer whose stream is finished when its reader has confirmed it. Needs `attend` beside the writing.

    `receipt` is the end on which the reader says how much it has, and at last that it is kept. `confirmed` is
    how many bytes it has; None while it has said nothing.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ref: ChannelRef,
        sealer: Sealer,
        receipt: ChannelReader,
        timeout: float | None = RECEIPT_TIMEOUT,
        *,
        will_not_confirm: Callable[[], None] = lambda: None,
    ) -> None:
        """`timeout` is in seconds, from our close or the reader's last word.

        `will_not_confirm` hears at once of a reader that cannot confirm anything.
        """
        super().__init__(endpoint, ref, sealer)
        self.confirmed: int | None = None
        self._end_of_receipt = receipt
        self._timeout = timeout
        self._will_not_confirm = will_not_confirm
        self._word = anyio.Event()
        self._listening = anyio.Lock(fast_acquire=True)
        self._receipt: Receipt | None = None

    async def open(self, mode: Mode | str | None = None) -> None:
        await super().open(mode)
        await self._end_of_receipt.open()  # one that nobody takes within 5 minutes is swept away

    async def attend(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Raises as `ChannelWriter.attend`; NotConfirmed as soon as there can be no receipt any more;
        ContentDiffers where it is none of ours; EngineUnreachable where it is not the reader that vanished.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._listen)
                await super().attend(task_status=task_status)
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None

    async def finish(self) -> None:
        """Return when the reader has confirmed exactly what was sent.

        Raises as `ChannelWriter.finish`, NotConfirmed and ContentDiffers.
        """
        await super().finish()
        while self._receipt is None:
            self._word = anyio.Event()
            with anyio.move_on_after(self._timeout) as limit:
                await self._word.wait()
            if limit.cancelled_caught:
                since = "our close" if self.confirmed is None else "the reader's last word"
                raise NotConfirmed(
                    f"no receipt within {self._timeout:g} s of {since}",
                    hint="only `iii` readers send receipts; --receipt-timeout changes the limit",
                )
        assert self.figures is not None
        failure = self._receipt.failure(self.figures)
        if failure is not None:
            raise failure

    async def cause_of(self, failure: Failure) -> Failure:
        """What the reader said before it left, else `failure`. Bounded in time."""
        if not isinstance(failure, PeerLeft):
            return failure
        with anyio.CancelScope(shield=True), anyio.move_on_after(LATE_SECONDS):
            try:
                await self._listen()
            except Failure as said:
                return said if self._receipt is not None and isinstance(said, NotConfirmed) else failure
        return failure

    async def _listen(self) -> None:
        """Take in what the reader says, until its receipt. Cancelling loses nothing."""
        async with self._listening:
            while self._receipt is None:
                await self._hear()
        if not self._receipt.committed and self._receipt.reason != STDOUT:
            refusal = self._receipt.failure(self._receipt.figures)
            raise refusal or NotConfirmed("the reader did not keep the data")

    async def _hear(self) -> None:
        events = await self._end_of_receipt.pull()
        if not events:
            if isinstance(await self._end_of_receipt.failure(), EngineUnreachable):
                text = "the engine was lost before the reader confirmed"
                raise EngineUnreachable(text, hint=KEPT_UNKNOWN)
            text = "no confirmation: the reader died, or is not an `iii` reader"
            raise NotConfirmed(text, hint=KEPT_UNKNOWN)
        for opcode, payload, _ in events:
            if opcode == Opcode.TEXT:
                self._on_word(read_receipt(bytes(payload)))

    def _on_word(self, word: Receipt | ReceiptBeat) -> None:
        self._word.set()
        if isinstance(word, Receipt):
            self._receipt = word
            return
        if self.confirmed is None and not word.will_confirm:
            self._will_not_confirm()
        self.confirmed = word.bytes


@final
class HeldReceipt:
    """The reader's side: the writer end that the open frame named, held until there is something to say."""

    def __init__(self, endpoint: Endpoint, ref: ChannelRef) -> None:
        self._writer = ChannelWriter(endpoint, ref, None)
        self._sending = False

    async def open(self) -> None:
        """Take the end. One that cannot be taken is the writer's loss, not this reader's."""
        with anyio.move_on_after(OPEN_SECONDS):
            try:
                await self._writer.open()
            except Failure:
                return

    async def beat(self, every: float, count: Callable[[], int], *, will_confirm: bool) -> None:
        """Say now, and then every so many seconds, how many bytes there are, until cancelled or `send`.

        Never waits for the writer, and never raises.
        """
        while not self._sending:
            self._writer.push_message_now(receipt_beat_frame(count(), will_confirm=will_confirm))
            await anyio.sleep(every)

    async def send(
        self, figures: Figures, failure: Failure | None, *, durable: bool, reason: str = STDOUT
    ) -> None:
        """Say that the data is kept, or why not. Bounded in time, cancelled or not; never raises a Failure.

        `durable`: is what was written on a disk, or taken by a consumer that ended well? `reason` says why
        not, where nothing failed.
        """
        self._sending = True
        if failure is not None:
            frame = receipt_frame(False, figures, failure.exit_status, failure.message)
        elif durable:
            frame = receipt_frame(True, figures)
        else:
            frame = receipt_frame(False, figures, 0 if reason == STDOUT else None, reason)
        with anyio.CancelScope(shield=True), anyio.move_on_after(DELIVER_SECONDS):
            try:
                await self._writer.push_messages([frame])
                await self._writer.finish()
            except (Failure, anyio.ClosedResourceError):
                pass
        await self._writer.abort(1, "no receipt")

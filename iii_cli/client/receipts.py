"""Receipts: the reader's word that the data is where it should be (design.md section 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from iii_cli.client.writer import ChannelWriter
from iii_cli.errors import EngineUnreachable, Failure, NotConfirmed
from iii_cli.wire.frames import Opcode
from iii_cli.wire.receipt import STDOUT, Receipt, read_receipt, receipt_frame
from iii_cli.wire.seal import RECEIPT_TIMEOUT

if TYPE_CHECKING:
    from iii_cli.client.reader import ChannelReader
    from iii_cli.wire.address import Endpoint
    from iii_cli.wire.figures import Figures
    from iii_cli.wire.ref import ChannelRef

__all__ = ("AwaitedReceipt", "HeldReceipt")

OPEN_SECONDS = 5.0  # a reader's stream does not wait longer for its receipt channel
DELIVER_SECONDS = 5.0  # one small frame
LATE_SECONDS = 1.0  # a reader that failed has sent its receipt before it left


class AwaitedReceipt:
    """The writer's side: a reader end on which one message is to come."""

    def __init__(self, reader: ChannelReader, timeout: float | None = RECEIPT_TIMEOUT) -> None:
        """`timeout` is in seconds from our close."""
        self._reader = reader
        self._timeout = timeout

    async def open(self) -> None:
        """Hold the end: one that nobody takes within 5 minutes is swept away. Raises as
        `ChannelReader.open`.
        """
        await self._reader.open()

    async def wait(self, figures: Figures) -> None:
        """Return when the reader has confirmed exactly `figures`.

        Raises NotConfirmed (no answer, or a no), ContentDiffers, and EngineUnreachable, where it is not the
        reader that vanished.
        """
        with anyio.move_on_after(self._timeout):
            receipt = await self._next()
            if receipt is None:
                if isinstance(await self._reader.failure(), EngineUnreachable):
                    raise EngineUnreachable(
                        "the engine was lost before the reader confirmed",
                        hint="the data was handed to the engine; whether it was kept is unknown",
                    )
                raise NotConfirmed(
                    "the reader did not confirm: it died, or it is not ours",
                    hint="the data was handed to the engine; whether it was kept is unknown",
                )
            failure = receipt.failure(figures)
            if failure is not None:
                raise failure
            return
        raise NotConfirmed(
            f"no receipt within {self._timeout:g} s of our close",
            hint="only `iii` readers send receipts; --receipt-timeout changes the limit",
        )

    async def reason_or(self, failure: Failure) -> Failure:
        """What the reader said before it left, else `failure`. Bounded in time."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(LATE_SECONDS):
            try:
                receipt = await self._next()
            except Failure:
                return failure
            if receipt is not None and not receipt.committed:
                return NotConfirmed(
                    f"the reader did not keep the data: {receipt.reason or 'no reason given'}"
                )
        return failure

    async def _next(self) -> Receipt | None:
        while events := await self._reader.pull():
            for opcode, payload, _ in events:
                if opcode == Opcode.TEXT:
                    return read_receipt(bytes(payload))
        return None


class HeldReceipt:
    """The reader's side: the writer end that the open frame named, held until there is something to say."""

    def __init__(self, endpoint: Endpoint, ref: ChannelRef) -> None:
        self._writer = ChannelWriter(endpoint, ref, None)

    async def open(self) -> None:
        """Take the end. One that cannot be taken is the writer's loss, not this reader's."""
        with anyio.move_on_after(OPEN_SECONDS):
            try:
                await self._writer.open()
            except Failure:
                return

    async def send(
        self, figures: Figures, failure: Failure | None, *, durable: bool, reason: str = STDOUT
    ) -> None:
        """Say that the data is kept, or why not. Bounded in time, cancelled or not; never raises a Failure.

        `durable`: is what was written on a disk, or taken by a consumer that ended well? `reason` says why
        not, where nothing failed.
        """
        if failure is not None:
            frame = receipt_frame(False, figures, failure.exit_status, failure.message)
        elif durable:
            frame = receipt_frame(True, figures)
        else:
            frame = receipt_frame(False, figures, 0 if reason == STDOUT else None, reason)
        with anyio.CancelScope(shield=True), anyio.move_on_after(DELIVER_SECONDS):
            try:
                await self._writer.push_message(frame)
                await self._writer.finish()
            except (Failure, anyio.ClosedResourceError):
                pass
        await self._writer.abort(1, "no receipt")

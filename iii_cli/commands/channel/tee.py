"""What `iii channel tee` does with its options."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from iii_cli.client.fan_out import Branch, FanOut
from iii_cli.client.identity import new_stream_id
from iii_cli.client.limits import Limits, opened_within
from iii_cli.client.sending import WriteOrder, write_stream
from iii_cli.client.writer import ChannelWriter
from iii_cli.commands.channel.given_ref import find_ref, mark_used
from iii_cli.commands.producing import watch_producers
from iii_cli.commands.running import run
from iii_cli.commands.stream_progress import conclude_write, mode_for, progress_of_write
from iii_cli.config.quantities import seconds
from iii_cli.errors import Failure, UsageProblem, gravest
from iii_cli.terminal.sources import Source
from iii_cli.terminal.talk import talk
from iii_cli.wire.figures import DIGESTS
from iii_cli.wire.ref import Direction
from iii_cli.wire.seal import Mode
from iii_cli.wire.sealing import Sealer

if TYPE_CHECKING:
    import typer

    from iii_cli.config.refspec import ResolvedRef
    from iii_cli.terminal.progress import Progress

__all__ = ("TeeOptions", "tee_channels")


@dataclass(frozen=True, slots=True)
class TeeOptions:
    """The options, as typed."""

    refs: list[str]
    lines: bool
    digest: str
    timeout: str | None
    stall_timeout: str | None
    producer: str
    progress: str


def tee_channels(ctx: typer.Context, options: TeeOptions) -> None:
    """Write stdin into every channel; say which failed, and raise the gravest of their failures."""
    shown = mode_for(options.progress)
    if options.digest not in DIGESTS:
        raise UsageProblem(f"--digest is {' or '.join(DIGESTS)}")
    limits = Limits(
        whole=None if options.timeout is None else seconds(options.timeout, "--timeout"),
        stall=None if options.stall_timeout is None else seconds(options.stall_timeout, "--stall-timeout"),
    )
    source = Source.stdin()
    conclude = watch_producers(options.producer, [source])
    mode = Mode.LINES if options.lines else Mode.BYTES
    size = source.size if mode is Mode.BYTES else None
    found = [find_ref(ctx, text, Direction.WRITE, stdin_free=False) for text in options.refs]
    branches = [
        Branch(
            name=_shown(text, number),
            writer=ChannelWriter(
                settings.endpoint,
                given.ref,
                Sealer(new_stream_id(), mode=mode, digest=options.digest, size=size),
            ),
        )
        for number, (text, (given, settings)) in enumerate(zip(options.refs, found, strict=True), start=1)
    ]
    fan = FanOut(branches)
    order = WriteOrder(writer=fan, sources=[source], mode=mode, limits=limits, conclude=conclude)
    writers = {branch.name: branch.writer for branch in branches}
    progress = progress_of_write(shown, found[0][1], order, writers, source.size)
    run(_tee, order, fan, [given for given, _ in found], progress)


async def _tee(order: WriteOrder, fan: FanOut, given: list[ResolvedRef], progress: Progress) -> None:
    import anyio

    order.limits = order.limits.replace(since=anyio.current_time())
    try:
        await opened_within(order.limits, fan.open)
        for branch, ref in zip(fan.branches, given, strict=True):
            if branch.failure is None:
                mark_used(ref)
        async with progress:
            await write_stream(order)
            conclude_write(progress, order, {branch.name: branch.writer for branch in fan.living})
    except Failure:
        if not fan.living and len(fan.branches) > 1:
            _say_which(fan)
        raise
    if fan.failures:
        _say_which(fan)
        worst = gravest(fan.failures)
        worst.message = f"{len(fan.failures)} of {len(fan.branches)} channels failed: {worst.message}"
        raise worst


def _say_which(fan: FanOut) -> None:
    for branch in fan.branches:
        if branch.failure is not None:
            talk.tell(f"{branch.name}: {branch.failure.message}")  # an error, which -q does not silence


def _shown(text: str, number: int) -> str:
    """A name that holds no key."""
    return text if text.startswith(("@", "env:", "file:")) else f"REF {number}"

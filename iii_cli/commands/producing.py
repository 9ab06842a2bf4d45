"""`--producer`: what the end of a program before our pipe means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.errors import UsageProblem
from iii_cli.io.console import talk
from iii_cli.io.producers import ProducerPolicy, Producers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from iii_cli.io.sources import Source

__all__ = ("watch_producers",)


def watch_producers(option: str, sources: Sequence[Source]) -> Callable[[], Awaitable[None]]:
    """Look at who writes into the pipes among `sources`, now; what to run when they have ended.

    Raises UsageProblem for an unknown option. What is returned raises ProducerFailed.
    """
    if option not in set(ProducerPolicy):
        raise UsageProblem("--producer is warn, strict or ignore")
    producers = Producers(sources, ProducerPolicy(option))

    async def conclude() -> None:
        try:
            await producers.conclude(_note)
        finally:
            producers.close()

    return conclude


def _note(program: str, code: int) -> None:
    talk.facts.update(producer={"program": program, "exit": code})
    talk.notice(
        f"note: {program} exited {code}; the stream was sealed as complete "
        "(--producer strict, or `-- COMMAND`, would abort it)"
    )

"""What the end of one stream means for the call that it belongs to (issue 6: "the result does not end a
stream, and a stream does not end a call"). Pure.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from iii_cli.client.probe import EndState
from iii_cli.errors import (
    CommandFailed,
    CommandNotFound,
    CommandNotRunnable,
    EngineUnreachable,
    Interrupted,
    LocalProblem,
    NothingArrived,
    PeerLeft,
    TimedOut,
    UnknownTarget,
    UsageProblem,
    gravest,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iii_cli.errors import Failure

__all__ = ("Found", "Way", "after_probe", "is_own", "named", "outcome", "standing")

# What only we can have done: a call that goes on cannot make it good.
_OWN = (
    CommandFailed,
    CommandNotFound,
    CommandNotRunnable,
    Interrupted,
    LocalProblem,
    TimedOut,
    UsageProblem,
)


class Way(Enum):
    """Which way a stream of the call goes."""

    IN = "--in"  # we write, the function reads
    OUT = "--out"  # the function writes, we read


class Found(Enum):
    """What a probe of the function's end means, after a result and some silence."""

    GO_ON = auto()  # it is or was in use
    NEVER_OPENED = auto()
    FAILED = auto()


def is_own(failure: Failure) -> bool:
    """Did our side fail? Then everything ends at once, whatever the function would still say."""
    return isinstance(failure, _OWN)


def named(failure: Failure, way: Way, label: str, *, call_runs: bool, never_opened: bool) -> Failure:
    """The failure of a stream, told with its name, and with what the state of the call makes of it."""
    if never_opened and isinstance(failure, NothingArrived):
        return NothingArrived(
            f"{label}: the function answered and never opened it", hint="--allow-empty accepts that"
        )
    if call_runs and way is Way.OUT and isinstance(failure, UnknownTarget):
        return UnknownTarget(
            f"{label}: the channel expired while the call runs: the function did not open it within 5 minutes"
        )
    failure.message = f"{label}: {failure.message}"
    return failure


def after_probe(state: EndState, label: str, url: str) -> tuple[Found, Failure | None]:
    """What to do about a silent stream whose other end was probed."""
    if state is EndState.UNTAKEN:
        return Found.NEVER_OPENED, None
    if state is EndState.GONE:
        return Found.FAILED, UnknownTarget(
            f"{label}: the channel is gone: it expired, or the engine restarted"
        )
    if state is EndState.UNREACHABLE:
        return Found.FAILED, EngineUnreachable(f"{label}: the engine at {url} was lost")
    return Found.GO_ON, None


def outcome(
    call: Failure | None, streams: Iterable[Failure], *, answered: bool, own: Failure | None = None
) -> Failure | None:
    """What the whole ends with; None for success.

    After a success of the call a reader that left is no failure: it had enough.
    """
    failures = [failure for failure in (own, call) if failure is not None]
    failures += [failure for failure in streams if not (answered and isinstance(failure, PeerLeft))]
    return gravest(failures) if failures else None


def standing(way: Way, label: str, *, waits_for_us: bool) -> str:
    """Which side of a stream stands still."""
    if way is Way.IN:
        return f"{label}: {'its source gives nothing' if waits_for_us else 'the function does not read'}"
    return f"{label}: {'its target takes nothing' if waits_for_us else 'the function does not write'}"

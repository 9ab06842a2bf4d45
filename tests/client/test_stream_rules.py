"""What the end of a stream means for its call."""

from __future__ import annotations

import pytest

from iii_cli.client.channels import EndState
from iii_cli.client.streams import Found, Way, after_probe, is_own, named, outcome
from iii_cli.errors import (
    CommandFailed,
    ContentDiffers,
    EngineUnreachable,
    Failure,
    FunctionFailed,
    Interrupted,
    LocalProblem,
    NothingArrived,
    PeerLeft,
    StreamTruncated,
    TimedOut,
    UnknownTarget,
    UsageProblem,
)

CALL = FunctionFailed("invocation_failed", "no such table")
OWN = [LocalProblem("x"), CommandFailed("x", code=3), TimedOut("x"), UsageProblem("x"), Interrupted(2)]
HELD = [
    PeerLeft("x"),
    StreamTruncated("x"),
    ContentDiffers("x"),
    NothingArrived("x"),
    EngineUnreachable("x"),
    UnknownTarget("x"),
]


@pytest.mark.parametrize("failure", [*OWN, *HELD], ids=lambda failure: type(failure).__name__)
def test_only_what_we_did_ends_everything(failure: Failure) -> None:
    assert is_own(failure) == (failure in OWN)


@pytest.mark.parametrize(
    ("own", "call", "streams", "answered", "status"),
    [
        (None, None, [], True, 0),
        (None, None, [PeerLeft("x")], True, 0),
        (None, CALL, [PeerLeft("x")], False, 1),
        (None, None, [StreamTruncated("x"), PeerLeft("x")], True, 7),
        (None, None, [StreamTruncated("x"), ContentDiffers("x")], True, 8),
        (None, CALL, [ContentDiffers("x")], False, 1),
        (LocalProblem("x"), None, [], True, 10),
        (LocalProblem("x"), CALL, [ContentDiffers("x")], False, 10),
        (CommandFailed("x", code=3), CALL, [], False, 11),
        (None, None, [NothingArrived("x")], True, 6),
    ],
)
def test_the_gravest_counts(
    own: Failure | None, call: Failure | None, streams: list[Failure], answered: bool, status: int
) -> None:
    failure = outcome(call, streams, answered=answered, own=own)
    assert (0 if failure is None else failure.exit_status) == status


@pytest.mark.parametrize(
    ("state", "found", "status"),
    [
        (EndState.TAKEN, Found.GO_ON, None),
        (EndState.UNCLEAR, Found.GO_ON, None),
        (EndState.UNTAKEN, Found.NEVER_OPENED, None),
        (EndState.GONE, Found.FAILED, 5),
        (EndState.UNREACHABLE, Found.FAILED, 3),
    ],
)
def test_what_a_probe_finds(state: EndState, found: Found, status: int | None) -> None:
    decided, failure = after_probe(state, "--in x", "ws://h:1")
    assert decided is found
    assert (None if failure is None else failure.exit_status) == status


def test_a_swept_channel_is_named_while_the_call_runs() -> None:
    swept = named(UnknownTarget("gone"), Way.OUT, "--out x", call_runs=True, never_opened=False)
    assert (swept.exit_status, "within 5 minutes" in swept.message) == (5, True)
    later = named(UnknownTarget("gone"), Way.OUT, "--out x", call_runs=False, never_opened=False)
    assert later.message == "--out x: gone"


def test_an_end_that_was_never_opened_is_named() -> None:
    failure = named(NothingArrived("nothing"), Way.OUT, "--out x", call_runs=False, never_opened=True)
    assert (failure.exit_status, "never opened it" in failure.message) == (6, True)

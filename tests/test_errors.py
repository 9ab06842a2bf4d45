"""Which failure wins, and what it ends with."""

from __future__ import annotations

from iii_cli.errors import (
    CommandFailed,
    ContentDiffers,
    Failure,
    FunctionFailed,
    Interrupted,
    LocalProblem,
    NothingArrived,
    PeerLeft,
    StreamTruncated,
    gravest,
)


def test_the_order_of_design_section_5_decides() -> None:
    ranked: list[Failure] = [
        Interrupted(15),
        LocalProblem("disk full"),
        CommandFailed("pg_dump exited 1", code=1),
        FunctionFailed("x", "y"),
        ContentDiffers("digest"),
        StreamTruncated("cut"),
        PeerLeft("gone"),
        NothingArrived("nothing"),
    ]
    for first in range(len(ranked)):
        assert gravest(reversed(ranked[first:])) is ranked[first]


def test_a_command_may_pass_on_its_own_status() -> None:
    assert CommandFailed("x", code=3).exit_status == 11
    assert CommandFailed("x", code=3, pass_on=True).exit_status == 3
    assert Interrupted(2).exit_status == 130


def test_a_failure_that_is_told_otherwise_is_a_new_one() -> None:
    failure = CommandFailed("x", code=3, hint="y", pass_on=True)
    told = failure.about("REF 2").with_hint("z")
    assert (type(told), str(told), told.code, told.exit_status) == (CommandFailed, "REF 2: x; z", 3, 3)
    assert str(failure) == "x; y"
    called = FunctionFailed.of("FORBIDDEN", "no").with_hint("ask")
    assert (str(called), called.body()["message"], called.where) == ("FORBIDDEN: no; ask", "no", "engine")

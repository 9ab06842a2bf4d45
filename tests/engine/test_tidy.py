"""Memory goes back after a crowd has left, and only then."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

import iii_cli.engine.tidy
from iii_cli.engine.reserve import Reserve
from iii_cli.engine.tidy import CROWD, ITERATORS_KEPT, Tidy


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class _Loop:
    """Refers to itself, as a connection's tasks do."""

    def __init__(self) -> None:
        self.me = self


@pytest.mark.parametrize("connected", [0, CROWD])
@pytest.mark.parametrize(("ended", "expected"), [(CROWD, True), (CROWD - 1, False)])
async def test_a_crowd_is_collected_once_it_has_left(ended: int, expected: bool, connected: int) -> None:
    tidy = Tidy()
    gc.collect()
    gc.disable()
    try:
        trace = weakref.ref(_Loop())
        for _ in range(ended):
            tidy.connection_ended()
        await tidy.look(connected)
        assert trace() is not None, "they may still be leaving"
        await tidy.look(connected)
        assert (trace() is None) is expected
    finally:
        gc.enable()


async def test_what_asyncio_keeps_of_a_crowd_is_exchanged_for_what_was_there_before() -> None:
    """Else each of those iterators holds a MiB that the crowd used."""
    tidy = Tidy()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def kept() -> set[int]:
        return {id(iterator) for iterator in [future.__await__() for _ in range(ITERATORS_KEPT)]}

    before = {id(iterator) for iterator in tidy._iterators}
    assert len(before) == ITERATORS_KEPT
    crowd = kept()
    assert not crowd & before
    for _ in range(CROWD):
        tidy.connection_ended()
    await tidy.look(0)
    await tidy.look(0)
    assert {id(iterator) for iterator in tidy._iterators} == before


@pytest.mark.parametrize(("connected", "moves"), [(0, 2), (CROWD // 4 - 1, 2), (CROWD // 4, 0)])
async def test_the_rest_moves_out_twice_where_most_have_left(
    connected: int, moves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[str] = []

    class Counted(Reserve):
        async def move_in(self) -> None:
            moved.append("in")

    monkeypatch.setattr(iii_cli.engine.tidy, "Reserve", Counted)
    tidy = Tidy()
    for _ in range(CROWD):
        tidy.connection_ended()
    for _ in range(5):
        await tidy.look(connected)
    assert len(moved) == moves

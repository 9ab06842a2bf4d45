"""What is left of channels that are over."""

from __future__ import annotations

from iii_cli.engine.tombstones import RECORD_BYTES, Tombstones


def test_the_last_ones_are_remembered_with_their_keys() -> None:
    stones = Tombstones(3)
    assert not stones.holds("a", "x")
    for name in "abcde":
        stones.add(name, f"key of {name}")
    assert [name for name in "abcde" if stones.holds(name, f"key of {name}")] == ["c", "d", "e"]
    assert not stones.holds("c", "key of d")
    assert not stones.holds("key of c", "c")
    assert len(stones) == 3


def test_no_room_is_no_memory() -> None:
    stones = Tombstones(0)
    stones.add("a", "x")
    assert not stones.holds("a", "x")


def test_a_find_between_two_records_is_none() -> None:
    stones = Tombstones(1000)
    for number in range(1000):
        stones.add(str(number), "key")
    assert all(stones.holds(str(number), "key") for number in range(1000))
    assert len(stones._records) == 1000 * RECORD_BYTES

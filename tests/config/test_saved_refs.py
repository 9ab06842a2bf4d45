"""Saved refs: what is kept, what is spent, what is lost to nobody."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from iii_cli.config.store import EXPIRY, KEPT, PrivateFolder, SavedRef, SavedRefs
from iii_cli.errors import LocalProblem, UnknownTarget, UsageProblem
from iii_cli.protocol.refs import Direction, Secret
from tests.config.processes import run_together

if TYPE_CHECKING:
    from pathlib import Path

READ, WRITE = Direction.READ, Direction.WRITE


class Clock:
    """Tells the time that the test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> SavedRefs:
    return SavedRefs(PrivateFolder(lambda: tmp_path / "refs"), clock)


def made(name: str = "x", at: float = 1_800_000_000.0, **more: Any) -> SavedRef:
    return SavedRef(name, "c1", Secret("k3y"), "ws://engine:1/p?token=t", at, **more)


def test_everything_comes_back(store: SavedRefs) -> None:
    saved = made(buffer=64, ends=(READ,), used=((READ, 1_800_000_000.0),))
    store.save(saved)
    assert store.load("x") == saved
    assert "k3y" not in repr(saved)
    assert "token=t" not in repr(saved)


def test_states_by_use_and_by_age(store: SavedRefs, clock: Clock) -> None:
    saved = made()
    assert saved.state(clock.now - 1000) == "unused"  # the clock was set back
    assert saved.state(clock.now + EXPIRY - 1) == "unused"
    assert saved.state(clock.now + EXPIRY) == "expired"
    store.save(saved)
    store.mark_used("x", saved.ref(WRITE))
    half = store.load("x")
    assert half.state(clock.now) == "used"
    assert (half.end_state(WRITE, clock.now), half.end_state(READ, clock.now)) == ("used", "unused")
    assert half.end_state(READ, clock.now + EXPIRY) == "expired"
    store.mark_used("x", saved.ref(READ))
    assert store.load("x").state(clock.now + EXPIRY) == "used"


def test_the_first_use_is_the_one_that_is_noted(store: SavedRefs, clock: Clock) -> None:
    store.save(made())
    store.mark_used("x", made().ref(WRITE))
    clock.now += 5
    store.mark_used("x", made().ref(WRITE))
    assert store.load("x").used_at(WRITE) == clock.now - 5


def test_an_unused_one_is_replaced_only_with_force(store: SavedRefs, clock: Clock) -> None:
    store.save(made())
    other = replace(made(), channel_id="c2")
    with pytest.raises(UsageProblem, match="--force"):
        store.save(other)
    store.save(other, force=True)
    assert store.load("x").channel_id == "c2"


def test_a_used_or_expired_one_is_replaced(store: SavedRefs, clock: Clock) -> None:
    store.save(made())
    store.mark_used("x", made().ref(WRITE))
    store.save(replace(made(), channel_id="c2"))
    assert store.load("x").channel_id == "c2"
    assert store.load("x").used == ()
    clock.now += EXPIRY
    store.save(replace(made(at=clock.now), channel_id="c3"))
    assert store.load("x").channel_id == "c3"


def test_a_late_mark_does_not_touch_the_channel_that_took_the_name(store: SavedRefs) -> None:
    store.save(made())
    store.save(replace(made(), channel_id="c2"), force=True)
    store.mark_used("x", made().ref(WRITE))
    assert store.load("x").used == ()
    store.mark_used("gone", made().ref(WRITE))
    assert store.names() == ["x"]


def test_day_old_ones_are_forgotten(store: SavedRefs, clock: Clock) -> None:
    for name in ("old", "older"):
        store.save(made(name))
    clock.now += KEPT / 2
    store.save(made("young", at=clock.now))
    clock.now += KEPT / 2
    found, problems = store.ls()
    assert [saved.name for saved in found] == ["young"]
    assert problems == []
    assert store.names() == ["young"]
    clock.now += KEPT
    store.save(made("new", at=clock.now))
    assert store.names() == ["new"]


def test_an_unknown_name_brings_the_nearest(store: SavedRefs) -> None:
    with pytest.raises(UnknownTarget, match=r"no saved ref 'bakup'; `iii ref ls`"):
        store.load("bakup")
    store.save(made("backup"))
    with pytest.raises(UnknownTarget, match="did you mean @backup") as caught:
        store.load("bakup")
    assert str(caught.value.where) == "local"


def test_all_or_none_are_removed(store: SavedRefs) -> None:
    for name in ("a", "b"):
        store.save(made(name))
    with pytest.raises(UnknownTarget):
        store.remove(["a", "nope"])
    assert store.names() == ["a", "b"]
    store.remove(["a", "b"])
    assert store.names() == []


GOOD = {
    "saved_ref": 1,
    "channel_id": "c1",
    "access_key": "k3y",
    "engine_url": "ws://h",
    "created_at": 1.0,
    "ends": ["read"],
    "buffer": None,
    "used": {},
}
CHANGES: tuple[dict[str, Any], ...] = (
    {"saved_ref": 2},
    {"channel_id": ""},
    {"channel_id": 1},
    {"access_key": None},
    {"engine_url": "http://k3y"},
    {"created_at": "now"},
    {"created_at": True},
    {"created_at": -1},
    {"created_at": 1e300},
    {"created_at": float("nan")},
    {"ends": []},
    {"ends": ["k3y"]},
    {"ends": "read"},
    {"buffer": "64"},
    {"used": []},
    {"used": {"k3y": 1}},
    {"used": {"read": None}},
)
DAMAGED = [
    "k3y",
    "[]",
    "{}",
    '{"saved_ref": 1, "channel_id": "k3y',
    "[" * 5000,
    *(json.dumps(GOOD | change) for change in CHANGES),
]


def test_the_good_one_of_the_damaged_is_good(store: SavedRefs, tmp_path: Path) -> None:
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / "x.json").write_text(json.dumps(GOOD))
    assert store.load("x").ends == (READ,)


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_told_and_left_alone(store: SavedRefs, tmp_path: Path, content: str) -> None:
    path = tmp_path / "refs" / "x.json"
    path.parent.mkdir()
    path.write_text(content)
    store.save(made("y"))
    for attempt in (
        lambda: store.load("x"),
        lambda: store.save(made("x")),
        lambda: store.save(made("x"), force=True),
        lambda: store.check_free("x", force=True),
        lambda: store.remove(["y", "x"]),
    ):
        with pytest.raises(LocalProblem, match="damaged or not a saved ref") as caught:
            attempt()
        assert "k3y" not in str(caught.value)
    store.mark_used("x", made().ref(READ))
    found, problems = store.ls()
    assert [saved.name for saved in found] == ["y"]
    assert len(problems) == 1
    assert path.read_text() == content


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(list(GOOD)) | st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=30, deadline=None)  # fsync on a busy disk
@given(change=st.dictionaries(st.sampled_from(list(GOOD)), json_values))
def test_any_json_is_a_saved_ref_or_a_local_problem(
    tmp_path_factory: pytest.TempPathFactory, change: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.mkdir(exist_ok=True)
    (path / "x.json").write_text(json.dumps(GOOD | change))
    found, problems = SavedRefs(PrivateFolder(lambda: path), Clock()).ls()
    assert len(found) + len(problems) <= 1  # none: it was old enough to be forgotten


def test_two_processes_that_mark_both_ends_lose_neither(tmp_path: Path) -> None:
    store = SavedRefs(PrivateFolder(lambda: tmp_path), Clock())
    names = [f"n{i}" for i in range(12)]
    for name in names:
        store.save(made(name))

    def mark(direction: Direction) -> None:
        for name in names:
            store.mark_used(name, made().ref(direction))

    run_together(lambda: mark(READ), lambda: mark(WRITE))
    assert all(len(store.load(name).used) == 2 for name in names)


def test_two_processes_cannot_both_take_a_name(tmp_path: Path) -> None:
    store = SavedRefs(PrivateFolder(lambda: tmp_path), Clock())

    def take(mark: str) -> None:
        try:
            store.save(replace(made(), channel_id=mark))
        except UsageProblem:
            os.mkdir(tmp_path / f"{mark}-refused")

    run_together(lambda: take("a"), lambda: take("b"))
    loser = {"a": "b", "b": "a"}[store.load("x").channel_id]
    assert (tmp_path / f"{loser}-refused").exists()


def test_where_nothing_can_be_written_only_saving_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = SavedRefs(PrivateFolder(lambda: tmp_path / "file" / "refs"))
    store.mark_used("x", made().ref(READ))
    assert store.ls() == ([], [])
    store.check_free("x")
    with pytest.raises(LocalProblem, match="cannot write"):
        store.save(made())

"""Values do what frozen dataclasses do."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from iii_cli.protocol.refs import REQUIRED, Value, fields_of


class Point(Value):
    """Two numbers and a name."""

    LIMIT: ClassVar[int] = 9
    x: int
    y: int = 0
    name: str | None = None

    @property
    def sum(self) -> int:
        return self.x + self.y


class Other(Value, hidden=("key",)):
    x: int
    key: str = "geheim"


def test_fields_by_position_by_name_and_by_default() -> None:
    assert (Point(1).x, Point(1).y, Point(1).name) == (1, 0, None)
    assert Point(1, 2, "a") == Point(name="a", y=2, x=1) == Point(1, name="a", y=2)
    assert Point(1, 2).sum == 3


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((), {"y": 1}),
        ((1, 2, "a", 4), {}),
        ((1,), {"x": 1}),
        ((1,), {"z": 1}),
        ((1,), {"LIMIT": 1}),
    ],
)
def test_what_does_not_fit_is_refused(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="Point"):
        Point(*args, **kwargs)


def test_equal_and_hashable_by_class_and_fields() -> None:
    assert Point(1) == Point(1, 0)
    assert Point(1) != Point(2)
    assert Point(1, 0, None) != (1, 0, None)
    assert Point(1) != Other(1)
    assert len({Point(1), Point(1, 0), Point(2)}) == 2


def test_a_value_with_something_that_changes_has_no_hash() -> None:
    anything: Any = []
    with pytest.raises(TypeError):
        hash(Point(anything))


def test_a_value_does_not_change() -> None:
    point: Any = Point(1)
    with pytest.raises(AttributeError):
        point.x = 2
    with pytest.raises(AttributeError):
        del point.x
    with pytest.raises(AttributeError):
        point.unknown = 2
    assert point.replace(x=2) == Point(2)
    assert point == Point(1)


def test_replacing_takes_only_fields() -> None:
    with pytest.raises(TypeError):
        Point(1).replace(z=2)


def test_repr_shows_the_fields_but_the_hidden_ones() -> None:
    assert repr(Point(1, name="a")) == "Point(x=1, y=0, name='a')"
    assert repr(Other(1, "s3cret")) == "Other(x=1)"


def test_the_fields_of_a_class() -> None:
    assert fields_of(Point) == [("x", "int", REQUIRED), ("y", "int", 0), ("name", "str | None", None)]


def test_a_default_that_can_change_is_refused() -> None:
    with pytest.raises(TypeError, match="can change"):
        type("Bad", (Value,), {"__annotations__": {"x": "list[int]"}, "x": []})


def test_a_required_field_stands_before_those_with_defaults() -> None:
    with pytest.raises(TypeError, match="required"):
        type("Bad", (Value,), {"__annotations__": {"x": "int", "y": "int"}, "x": 1})

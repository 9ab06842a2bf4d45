"""Immutable values, at a price that a one-line command can pay.

`@dataclass` writes and compiles the methods of each class anew in every process: close to a millisecond a
class, and some thirty classes stand between `iii channel create` and its answer. Here all classes share the
same methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, dataclass_transform

if TYPE_CHECKING:
    from typing import Self

__all__ = ("REQUIRED", "Value", "fields_of")

REQUIRED: Any = object()
"""Stands in the place of the default of a field that has none."""


@dataclass_transform(frozen_default=True)
class Value:
    """Base of values: annotated names in the class body are the fields, what is assigned there a default.

    Equal where class and fields are; hashable where the fields are. `hidden` names fields that `repr` leaves
    out. Only the class's own annotations count: a value does not inherit from another.
    """

    _names: ClassVar[tuple[str, ...]] = ()
    _required: ClassVar[int] = 0
    _shown: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, hidden: tuple[str, ...] = ()) -> None:
        """Raises TypeError for a default that instances would share and change."""
        names = tuple(name for name, kind in cls.__annotations__.items() if not kind.startswith("ClassVar"))
        defaults = [name for name in names if hasattr(cls, name)]
        if any(getattr(cls, name).__hash__ is None for name in defaults):
            raise TypeError(f"a default of {cls.__name__} can change")
        if names[len(names) - len(defaults) :] != tuple(defaults):
            raise TypeError(f"a required field of {cls.__name__} comes after one with a default")
        cls._names = names
        cls._required = len(names) - len(defaults)
        cls._shown = tuple(name for name in names if name not in hidden)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Raises TypeError for a field that is missing, unknown or given twice."""
        names = self._names
        fields = self.__dict__
        fields.update(zip(names, args))  # noqa: B905 - the count is looked at below
        fields.update(kwargs)
        given = len(args) + len(kwargs)
        if len(fields) != given or given < len(names) or kwargs:
            self._complete(given)

    def _complete(self, given: int) -> None:
        """Check what was given and fill in the defaults."""
        fields, names = self.__dict__, self._names
        if len(fields) != given or not fields.keys() <= set(names):
            raise TypeError(f"{type(self).__name__} takes each of {', '.join(names)} once and nothing else")
        for at, name in enumerate(names):
            if name not in fields:
                if at < self._required:
                    raise TypeError(f"{type(self).__name__} needs {name}")
                fields[name] = getattr(type(self), name)

    def replace(self, **changes: Any) -> Self:
        """The same value with other fields."""
        return type(self)(**{**self.__dict__, **changes})

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} does not change")

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), *map(self.__dict__.__getitem__, self._names)))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self._shown)
        return f"{type(self).__name__}({shown})"


def fields_of(value_class: type[Value]) -> list[tuple[str, str, Any]]:
    """Name, annotation as it is written, and default (or REQUIRED) of each field."""
    return [
        (name, value_class.__annotations__[name], getattr(value_class, name, REQUIRED))
        for name in value_class._names
    ]

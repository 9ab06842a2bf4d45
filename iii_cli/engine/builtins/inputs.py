"""How built-in functions read their input: strictly, with the words of the real engine's decoder (2.5, 3)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from iii_cli.engine.call import Call, Refusal
from iii_cli.engine.registry import Function

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Builtin", "Given", "Kind", "Slot", "Struct", "may", "must")


class Kind(Enum):
    """What a slot holds: what the decoder calls it, and its JSON Schema."""

    STRING = ("a string", {"type": "string"})
    BOOL = ("a boolean", {"type": "boolean"})
    COUNT = ("usize", {"type": "integer", "minimum": 0})
    INTEGER = ("i64", {"type": "integer"})
    NUMBER = ("f64", {"type": "number"})
    STRINGS = ("a sequence", {"type": "array", "items": {"type": "string"}})
    PAIRS = ("a sequence", {"type": "array", "items": {"type": "array", "items": {"type": "string"}}})
    ANY = ("any value", dict[str, Any]())

    def __init__(self, expected: str, schema: dict[str, Any]) -> None:
        self.expected = expected
        self.schema = schema


class Slot(NamedTuple):
    """One field of an input."""

    name: str
    kind: Kind | Struct
    required: bool = False


class Struct(NamedTuple):
    """An object with these fields. Others in it are ignored."""

    name: str
    slots: tuple[Slot, ...]

    @property
    def expected(self) -> str:
        """What the decoder calls it."""
        return f"struct {self.name}"

    @property
    def schema(self) -> dict[str, Any]:
        """Its JSON Schema."""
        return {
            "type": "object",
            "properties": {slot.name: slot.kind.schema for slot in self.slots},
            "required": [slot.name for slot in self.slots if slot.required],
        }


class _Mismatch(Exception):
    """The text that follows `Failed to deserialize input for ID: `."""


Given = dict[str, Any]  # every slot by name; None where nothing was given


def must(name: str, kind: Kind | Struct = Kind.STRING) -> Slot:
    """A slot that has to be filled."""
    return Slot(name, kind, required=True)


def may(name: str, kind: Kind | Struct = Kind.STRING) -> Slot:
    """A slot that may be left out or null."""
    return Slot(name, kind)


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function of the engine itself."""

    id: str
    description: str
    slots: tuple[Slot, ...]
    answer: Callable[[Call, Given], Any]

    def function(self) -> Function:
        """As the registry wants it."""
        schema = self._input.schema
        return Function(self.id, description=self.description, request_schema=schema, run=self.run)

    def run(self, call: Call) -> Any:
        """Read the input and answer. Raises Refusal."""
        try:
            given = _read(self._input, call.data)
        except _Mismatch as mismatch:
            text = f"Failed to deserialize input for {self.id}: {mismatch}"
            raise Refusal("deserialization_error", text) from None
        return self.answer(call, given)

    @property
    def _input(self) -> Struct:
        words = self.id.removeprefix("engine::").replace("-", "_").replace("::", "_").split("_")
        return Struct("".join(word.title() for word in words) + "Input", self.slots)


def _read(struct: Struct, data: Any) -> Given:
    slots = struct.slots
    if isinstance(data, list):  # an array in field order is as good as an object
        if any(slot.required for slot in slots[len(data) :]):
            found, wanted = len(data), len(slots)
            elements = f"{wanted} element{'s' if wanted != 1 else ''}"
            raise _Mismatch(f"invalid length {found}, expected {struct.expected} with {elements}")
        if len(data) > len(slots):
            raise _Mismatch(f"invalid length {len(data)}, expected fewer elements in array")
        data = dict(zip((slot.name for slot in slots), data, strict=False))
    elif not isinstance(data, dict):
        raise _Mismatch(f"invalid type: {_unexpected(data)}, expected {struct.expected}")
    given: Given = {}
    for slot in slots:
        value = data.get(slot.name)
        if value is None:
            if slot.required and (slot.kind is not Kind.ANY or slot.name not in data):
                if slot.name in data:
                    raise _Mismatch(f"invalid type: null, expected {slot.kind.expected}")
                raise _Mismatch(f"missing field `{slot.name}`")
            given[slot.name] = None
        elif isinstance(slot.kind, Struct):
            given[slot.name] = _read(slot.kind, value)
        else:
            given[slot.name] = _READERS[slot.kind](slot.kind, value)
    return given


def _unexpected(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return f"boolean `{json.dumps(value)}`"
        case int():
            return f"integer `{value}`"
        case float():
            return f"floating point `{value!r}`"
        case str():
            return f"string {json.dumps(value[:100], ensure_ascii=False)}"
        case list():
            return "sequence"
        case _:
            return "map"


def _of(*types: type) -> Callable[[Kind, Any], Any]:
    def read(kind: Kind, value: Any) -> Any:
        if type(value) not in types:
            raise _Mismatch(f"invalid type: {_unexpected(value)}, expected {kind.expected}")
        return value

    return read


def _count(kind: Kind, value: Any) -> Any:
    _of(int)(kind, value)
    if not 0 <= value < 2**64:
        raise _Mismatch(f"invalid value: {_unexpected(value)}, expected {kind.expected}")
    return value


def _strings(kind: Kind, value: Any) -> Any:
    return [_of(str)(Kind.STRING, item) for item in _of(list)(kind, value)]


def _pairs(kind: Kind, value: Any) -> Any:
    pairs = [_strings(kind, item) for item in _of(list)(kind, value)]
    for pair in pairs:
        if len(pair) != 2:
            wanted = "a tuple of size 2" if len(pair) < 2 else "fewer elements in array"
            raise _Mismatch(f"invalid length {len(pair)}, expected {wanted}")
    return pairs


_READERS: dict[Kind, Callable[[Kind, Any], Any]] = {
    Kind.STRING: _of(str),
    Kind.BOOL: _of(bool),
    Kind.COUNT: _count,
    Kind.INTEGER: _of(int),
    Kind.NUMBER: _of(int, float),
    Kind.STRINGS: _strings,
    Kind.PAIRS: _pairs,
    Kind.ANY: lambda kind, value: value,
}

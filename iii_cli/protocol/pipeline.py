"""A pipeline of functions, before any of it runs: what a STAGE says, where its stream refs go, what failed.

(docs: design, "Pipelines")
"""

from __future__ import annotations

import shlex
from copy import deepcopy
from itertools import islice
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from iii_cli.errors import (
    FunctionFailed,
    NothingArrived,
    PeerLeft,
    StageFailed,
    StreamTruncated,
    UsageProblem,
)
from iii_cli.protocol.payload import (
    MalformedPath,
    build_payload,
    check_keys,
    masked,
    parse_path,
    place,
    show,
    split_key,
    target,
)
from iii_cli.protocol.refs import Direction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from iii_cli.errors import Failure
    from iii_cli.protocol.payload import KeyPath

__all__ = ("Place", "Stage", "cause_of", "draw", "is_consequence", "parse_stages", "plan", "stream_keys")

MARKS = {Direction.READ: "<", Direction.WRITE: ">"}
NAMES = {
    Direction.READ: frozenset({"reader", "stdin", "in", "input", "src", "source"}),
    Direction.WRITE: frozenset({"writer", "stdout", "out", "output", "dst", "sink"}),
}
UNSAID: dict[KeyPath, Direction | None] = {("stdin",): Direction.READ, ("stdout",): Direction.WRITE}


# What was typed.


class Stage(Struct, frozen=True):
    """A STAGE word: `[-n NS] FUNCTION [KEY=VALUE…]`. `keys` are those of `KEY=<` and `KEY=>`."""

    function_id: str
    payload: dict[str, Any]
    namespace: str | None
    keys: dict[Direction, KeyPath]

    @property
    def home(self) -> str:
        """The namespace that is meant."""
        return self.namespace or "default"


def parse_stages(words: Sequence[str], namespace: str | None = None) -> list[Stage]:
    """Read the STAGE words, each split as a shell would. Raises UsageProblem, which names the stage.

    `namespace` is that of stages that name none, except of the engine's own functions.
    """
    stages = []
    for number, word in enumerate(words, 1):
        try:
            stages.append(_parse_stage(word, namespace))
        except UsageProblem as problem:
            raise problem.about(f"stage {number}") from None
    return stages


def _parse_stage(word: str, usual: str | None) -> Stage:
    try:
        parts = shlex.split(word)
    except ValueError as error:
        raise UsageProblem(f"not a STAGE: {str(error).lower()}") from None
    namespace = None
    if parts[:1] in (["-n"], ["--namespace"]):
        namespace, parts = parts[1] if len(parts) > 1 else "", parts[2:]
    if not parts or not parts[0] or parts[0].startswith("-") or namespace == "":
        raise UsageProblem("not a STAGE", hint="write '[-n NS] FUNCTION [KEY=VALUE]...' in one word")
    keys: dict[Direction, KeyPath] = {}
    pairs = []
    for pair in parts[1:]:
        key = split_key(pair)
        direction = next((each for each, mark in MARKS.items() if key is not None and key[1] == mark), None)
        if key is None or direction is None:
            pairs.append(pair)
        elif direction in keys:
            raise UsageProblem(f"{show(keys[direction])} and {key[0]} cannot both be {MARKS[direction]}")
        else:
            keys[direction] = parse_path(key[0])
    if namespace is None and not parts[0].startswith("engine::"):
        namespace = usual
    return Stage(parts[0], build_payload(pairs, ()), namespace, keys)


# Where the refs go.

PARTS_MAX = 10_000  # of a schema: it may refer to itself many times over
DEPTH_MAX = 4  # of properties in properties, and for each of what it refers to


def stream_keys(schema: Any) -> dict[KeyPath, Direction | None]:
    """The places in a payload where its published schema wants the ref of a channel.

    With the side that the function needs there; None: the schema does not say. Tolerates any value.
    """
    properties, words = _looked_through(schema)
    found: dict[KeyPath, Direction | None] = {}
    for path, names in properties.items():
        if path and names >= {"channel_id", "access_key", "direction"}:
            said = words.get((*path, "direction"), set())
            only = next(iter(said)) if len(said) == 1 else None
            sides = (
                side for side in Direction if only == side.value or (not only and path[-1] in NAMES[side])
            )
            found[path] = next(sides, None)
    return found


def _looked_through(schema: Any) -> tuple[dict[KeyPath, set[str]], dict[KeyPath, set[Any]]]:
    """For each place in a payload the names of its properties, and the values that it may have."""
    properties: dict[KeyPath, set[str]] = {}
    words: dict[KeyPath, set[Any]] = {}
    for path, part in islice(_parts(schema, schema, (), 0), PARTS_MAX):
        inner = part.get("properties")
        properties.setdefault(path, set()).update(inner if isinstance(inner, dict) else ())
        values = part.get("enum")
        values = values if isinstance(values, list) else [part["const"]] if "const" in part else []
        words.setdefault(path, set()).update(value for value in values if isinstance(value, str))
    return properties, words


def _parts(schema: Any, root: Any, path: KeyPath, depth: int) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """The schemas that say something about the payload, each with the place that it is about."""
    if not isinstance(schema, dict) or depth > DEPTH_MAX:
        return
    yield path, schema
    if isinstance(schema.get("$ref"), str):
        yield from _parts(target(schema["$ref"], root), root, path, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        choices = schema.get(key)
        for part in choices if isinstance(choices, list) else ():
            yield from _parts(part, root, path, depth + 1)
    properties = schema.get("properties")
    if isinstance(properties, dict) and len(path) <= DEPTH_MAX:
        for name, part in properties.items():
            yield from _parts(part, root, (*path, str(name)), 0)


# The plan.


class Place(Struct, frozen=True, eq=False):
    """A stage in its pipeline. `keys`: where its refs go; `served`: by `iii serve`, which verifies."""

    number: int
    function_id: str
    namespace: str | None
    payload: dict[str, Any]
    keys: dict[Direction, KeyPath]
    served: bool

    @property
    def name(self) -> str:
        """What people call it."""
        return f"stage {self.number}, {self.function_id}"

    def demand(self, direction: Direction, given: str) -> None:
        """Raises UsageProblem where what is `given`, or wanted, has no place in its payload."""
        if direction not in self.keys:
            raise UsageProblem(f"{given}: {self.name} has no place for a {direction.noun}")

    def with_refs(self, refs: Mapping[Direction, Mapping[str, str]]) -> dict[str, Any]:
        """The payload of the call. Raises UsageProblem where something else stands in the way of a ref."""
        payload: Any = deepcopy(self.payload)
        for direction, key in self.keys.items():
            try:
                payload = place(payload, key, dict(refs[direction]))
            except MalformedPath as error:
                raise UsageProblem(f"{self.name}: {error}") from None
        return dict(payload)

    def failed(self, failure: Failure) -> StageFailed:
        """Its failure, with its name."""
        return StageFailed(self.number, self.function_id, failure)


def plan(
    stages: Sequence[Stage], infos: Sequence[Mapping[str, Any]], *, no_in: bool, no_out: bool
) -> list[Place]:
    """Settle where each stage's refs go. `infos`: what `engine::functions::info` says of each function.

    `no_in`: the first stage is a source, whatever it could read; `no_out`: the last one is a sink. Raises
    UsageProblem for a pipeline that cannot run.
    """
    places = []
    for number, (stage, info) in enumerate(zip(stages, infos, strict=True), 1):
        unwanted = {Direction.READ} if no_in and number == 1 else set()
        unwanted |= {Direction.WRITE} if no_out and number == len(stages) else set()
        serve = _at(info, "metadata", "iii", "serve")
        keys = _keys(stage, info.get("request_schema", info.get("request_format")), unwanted, number)
        made = Place(number, stage.function_id, stage.namespace, stage.payload, keys, isinstance(serve, dict))
        check_keys((made.name, key) for key in keys.values())
        made.with_refs({direction: {} for direction in Direction})
        places.append(made)
        most = _at(serve, "max_parallel")
        times = sum(each.function_id == stage.function_id and each.home == stage.home for each in stages)
        if isinstance(most, int) and times > most:
            raise UsageProblem(
                f"{stage.function_id} is here {times} times and runs {most} at once: they would wait for "
                "each other",
                hint=f"serve it with --max-parallel {times} or more",
            )
    for made in places:
        if made.number > 1 and Direction.READ not in made.keys:
            raise _lacks(made, Direction.READ, f"stage {made.number - 1} has nobody to write to")
        if made.number < len(places) and Direction.WRITE not in made.keys:
            raise _lacks(made, Direction.WRITE, f"stage {made.number + 1} has nobody to read from")
    if len(places) == 1 and not places[0].keys:
        raise UsageProblem(f"{places[0].name}: it takes no stream", hint="call it with `iii trigger`")
    return places


def _keys(stage: Stage, schema: Any, unwanted: set[Direction], number: int) -> dict[Direction, KeyPath]:
    found = stream_keys(schema)
    properties, _ = _looked_through(schema)
    if not found and not properties.get(()) and not stage.keys:
        found = UNSAID
    keys: dict[Direction, KeyPath] = {}
    for direction in Direction:
        if direction in unwanted:
            if direction in stage.keys:
                option = "--no-in" if direction is Direction.READ else "--no-out"
                raise UsageProblem(f"stage {number}: {option} contradicts {show(stage.keys[direction])}=…")
            continue
        free = {key: side for key, side in found.items() if key not in stage.keys.values()}
        sure = [key for key, side in free.items() if side is direction]
        either = sure or [key for key, side in free.items() if side is None]
        if direction in stage.keys:
            keys[direction] = stage.keys[direction]
        elif len(sure) == 1:
            keys[direction] = sure[0]
        elif either:
            mark = MARKS[direction]
            raise UsageProblem(
                f"stage {number}, {stage.function_id}: its schema does not say where the "
                f"{direction.noun} goes: {', '.join(map(show, either))}",
                hint=f"write {show(either[0])}={mark} in the STAGE, or another KEY={mark}",
            )
    return keys


def _lacks(stage: Place, direction: Direction, so: str) -> UsageProblem:
    return UsageProblem(
        f"{stage.name}: its schema has no place for a {direction.noun}, so {so}",
        hint=f"write KEY={MARKS[direction]} in the STAGE where it goes",
    )


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def draw(places: Sequence[Place], source: str, target: str) -> str:
    """The plan as text: a line for each stage, its payload, and between them the channels and the keys."""
    import json

    has_in, has_out = Direction.READ in places[0].keys, Direction.WRITE in places[-1].keys
    lines = [source] if has_in else []
    channel = 0
    for at, stage in enumerate(places):
        if Direction.READ in stage.keys:
            channel += 1
            key = f"{show(places[at - 1].keys[Direction.WRITE])} -> " if at else ""
            lines.append(f"  | {key}channel {channel} -> {show(stage.keys[Direction.READ])}")
        words = [f"-n {stage.namespace}"] if stage.namespace else []
        words += [stage.function_id]
        words += [json.dumps(masked(stage.payload), ensure_ascii=False)] if stage.payload else []
        lines.append(f"{stage.number} {' '.join(words)}")
    if has_out:
        lines += [f"  | {show(places[-1].keys[Direction.WRITE])} -> channel {channel + 1}", target]
    return "".join(f"{line}\n" for line in lines)


# What failed.

# A stage that fails so was failed by another one, which its neighbour may not even have heard of yet.
CONSEQUENCES = frozenset({"stream_truncated", "stream_aborted", "nothing_arrived", "peer_left"})


def is_consequence(failure: Failure) -> bool:
    """Is it what a stage, or an end of ours, sees of something that failed elsewhere?"""
    if isinstance(failure, StageFailed):
        failure = failure.failure
    if isinstance(failure, FunctionFailed):
        return failure.code in CONSEQUENCES
    return isinstance(failure, (StreamTruncated, PeerLeft, NothingArrived))


def cause_of(failures: Sequence[tuple[int, Failure]]) -> Failure:
    """The one to report: the earliest that is no consequence, else the most upstream one.

    `failures` in the order of their coming, each with its place: 0 is our input, 1 the first stage.
    """
    causes = [failure for _, failure in failures if not is_consequence(failure)]
    return causes[0] if causes else min(failures, key=lambda each: each[0])[1]

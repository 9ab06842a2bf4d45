"""What a STAGE says, where its refs go, and which of several failures is the cause."""

from __future__ import annotations

from typing import Any

import pytest

from iii_cli.errors import (
    ContentDiffers,
    Failure,
    FunctionFailed,
    PeerLeft,
    StageFailed,
    StreamTruncated,
    UsageProblem,
)
from iii_cli.protocol.payload import show
from iii_cli.protocol.pipeline import Place, cause_of, is_consequence, parse_stages, plan, stream_keys
from iii_cli.protocol.refs import Direction

READ, WRITE = Direction.READ, Direction.WRITE
TEXT = {"type": "string"}
EITHER = {"type": "string", "enum": ["read", "write"]}


def ref(*sides: str, **more: Any) -> dict[str, Any]:
    """The schema of a stream end."""
    direction = {"type": "string", "enum": list(sides or ("read", "write"))}
    return {"properties": {"channel_id": TEXT, "access_key": TEXT, "direction": direction}} | more


def taking(**properties: Any) -> dict[str, Any]:
    return {"request_schema": {"type": "object", "properties": properties}}


def serve(most: int = 4) -> dict[str, Any]:
    return taking(stdin=ref("read"), stdout=ref("write")) | {
        "metadata": {"iii": {"serve": {"max_parallel": most}}}
    }


def planned(*stages: tuple[str, dict[str, Any]], no_in: bool = False, no_out: bool = False) -> list[Place]:
    words = [word for word, _ in stages]
    return plan(parse_stages(words), [info for _, info in stages], no_in=no_in, no_out=no_out)


def keys(place: Place) -> tuple[str | None, str | None]:
    shown = {side: show(key) for side, key in place.keys.items()}
    return shown.get(READ), shown.get(WRITE)


# A STAGE


def test_a_stage_is_a_shell_word() -> None:
    (stage,) = parse_stages([""" -n  eu  rows::filter a=1 'b=x y' c.d[0]=< e=> f='"<"' g="<>" """])
    assert (stage.namespace, stage.function_id) == ("eu", "rows::filter")
    assert stage.payload == {"a": 1, "b": "x y", "f": "<", "g": "<>"}
    assert stage.keys == {READ: ("c", "d", 0), WRITE: ("e",)}


def test_the_usual_namespace_is_not_for_the_engine_s_own() -> None:
    stages = parse_stages(["f", "engine::f", "-n b f", "-n b engine::f"], "a")
    assert [stage.namespace for stage in stages] == ["a", None, "b", "b"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("", "not a STAGE"),
        ("-n", "not a STAGE"),
        ("-n ns", "not a STAGE"),
        ("'' a=1", "not a STAGE"),
        ("--frob f", "not a STAGE"),
        ("f 'a=1", "no closing quotation"),
        ("f a", "expected key=value"),
        ("f =1", "the key is empty"),
        ("f a=< b=<", "a and b cannot both be <"),
    ],
)
def test_what_is_no_stage(word: str, said: str) -> None:
    with pytest.raises(UsageProblem, match=r"^stage 2: ") as raised:
        parse_stages(["f", word])
    assert said in str(raised.value)


# Its keys


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        (None, {}),
        ({"type": "object"}, {}),
        ({"properties": {"a": TEXT}}, {}),
        ({"properties": {"a": ref("read"), "b": ref("write")}}, {"a": READ, "b": WRITE}),
        ({"properties": {"writer": ref("read")}}, {"writer": READ}),
        ({"properties": {"a": ref()}}, {"a": None}),
        ({"properties": {"reader": ref("sideways")}}, {"reader": None}),
        ({"properties": {"src": ref(), "dst": ref()}}, {"src": READ, "dst": WRITE}),
        ({"properties": {"o": {"properties": {"in": ref()}}}}, {"o.in": READ}),
        ({"$defs": {"R": ref()}, "properties": {"sink": {"$ref": "#/$defs/R"}}}, {"sink": WRITE}),
        (
            {
                "$defs": {"R": ref()},
                "properties": {"in": {"anyOf": [{"$ref": "#/$defs/R"}, {"type": "null"}]}},
            },
            {"in": READ},
        ),
        ({"properties": {"a": {"allOf": [ref("write")]}}}, {"a": WRITE}),
        ({"properties": {"a": {"oneOf": [ref("write"), TEXT]}}}, {"a": WRITE}),
        (
            {
                "$defs": {"D": {"const": "write"}},
                "properties": {
                    "a": {
                        "properties": {"channel_id": {}, "access_key": {}, "direction": {"$ref": "#/$defs/D"}}
                    }
                },
            },
            {"a": WRITE},
        ),
        ({"properties": {"in": {"allOf": [{"allOf": [{"allOf": [{"allOf": [ref()]}]}]}]}}}, {"in": READ}),
        ({"properties": {"in": {"allOf": [{"allOf": [{"allOf": [{"allOf": [{"allOf": [ref()]}]}]}]}]}}}, {}),
    ],
)
def test_stream_ends_in_a_schema(schema: Any, found: dict[str, Direction | None]) -> None:
    assert {show(path): side for path, side in stream_keys(schema).items()} == found


def test_a_schema_that_refers_to_itself_ends() -> None:
    loop = [{"$ref": "#"}] * 1000
    assert stream_keys({"anyOf": loop, "properties": {"a": {"anyOf": loop}}}) == {}


@pytest.mark.parametrize("schema", ["x", [1], {"properties": [1], "anyOf": 2, "$ref": 3, "enum": 4}])
def test_any_value_may_stand_for_a_schema(schema: Any) -> None:
    assert stream_keys(schema) == {}


# The plan


@pytest.mark.parametrize(
    ("word", "info", "found"),
    [
        ("f", {}, ("stdin", "stdout")),
        ("f", {"request_schema": {"type": "object"}}, ("stdin", "stdout")),
        ("f", {"request_format": None}, ("stdin", "stdout")),
        ("f", serve(), ("stdin", "stdout")),
        ("f a=< b.c=>", {}, ("a", "b.c")),
        ("f a=<", serve(), ("a", "stdout")),
        ("f x=<", taking(x=ref(), y=ref("write")), ("x", "y")),
    ],
)
def test_where_the_refs_of_a_filter_go(word: str, info: dict[str, Any], found: tuple[str, str]) -> None:
    assert [keys(place) for place in planned(("f", {}), (word, info), ("f", {}))][1] == found


def test_sources_and_sinks() -> None:
    source, sink = ("s", taking(writer=ref())), ("t", taking(reader=ref()))
    assert [keys(place) for place in planned(source, ("f", {}), sink)] == [
        (None, "writer"),
        ("stdin", "stdout"),
        ("reader", None),
    ]
    assert keys(planned(("f a=<", {}))[0]) == ("a", None)
    assert keys(planned(("f a=>", {}))[0]) == (None, "a")
    assert [keys(place) for place in planned(("f", {}), ("f", {}), no_in=True, no_out=True)] == [
        (None, "stdout"),
        ("stdin", None),
    ]


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (
            [("f", {}), ("s", taking(writer=ref())), ("f", {})],
            "stage 2, s: its schema has no place for a re",
        ),
        (
            [("f", {}), ("t", taking(reader=ref())), ("f", {})],
            "stage 2, t: its schema has no place for a wr",
        ),
        ([("t a=<", {}), ("f", {})], "KEY=>"),
        ([("f", taking(a=TEXT))], "takes no stream"),
        ([("f", taking(a=ref(), b=ref("write")))], "write a=< in the STAGE"),
        ([("f", taking(reader=ref(), input=ref(), out=ref()))], "reader, input"),
        ([("f a=1 a.b=< c=>", {})], "a is not an object"),
        ([("f a=< a.b=>", {})], "need the same place"),
        ([("f", serve(1)), ("g", {}), ("f", serve(1))], "--max-parallel 2"),
    ],
)
def test_pipelines_that_cannot_run(stages: list[tuple[str, dict[str, Any]]], said: str) -> None:
    with pytest.raises(UsageProblem) as raised:
        planned(*stages)
    assert said in str(raised.value)


def test_one_that_runs_often_enough_may_come_twice() -> None:
    assert len(planned(("f", serve(2)), ("-n default f", serve(2)))) == 2
    assert len(planned(("f", serve(1)), ("-n other f", serve(1)))) == 2


def test_the_payload_with_its_refs() -> None:
    (place,) = planned(("f n=1 a.b=< c=>", {}))
    made = place.with_refs({READ: {"r": ""}, WRITE: {"w": ""}})
    assert made == {"n": 1, "a": {"b": {"r": ""}}, "c": {"w": ""}}
    assert place.payload == {"n": 1}


# What failed

CAUSE = FunctionFailed.of("invocation_stopped", "Invocation stopped")
CUT = FunctionFailed.of("stream_truncated", "cut")
LEFT = FunctionFailed.of("peer_left", "left")
OURS = StreamTruncated("ours")


@pytest.mark.parametrize(
    ("failures", "cause"),
    [
        ([(3, CUT), (2, CAUSE)], CAUSE),
        ([(1, LEFT), (3, CUT), (2, CAUSE), (4, ContentDiffers("x"))], CAUSE),
        ([(4, OURS), (2, CUT), (3, CUT)], CUT),
        ([(4, OURS)], OURS),
        ([(0, PeerLeft("p")), (2, LEFT)], None),
    ],
)
def test_which_failure_is_the_cause(failures: list[tuple[int, Failure]], cause: Failure | None) -> None:
    assert cause_of(failures) is (cause or failures[0][1])


def test_the_failure_of_a_stage_is_what_it_fails_with() -> None:
    assert is_consequence(StageFailed(1, "f", CUT))
    assert not is_consequence(StageFailed(1, "f", CAUSE))
    failed = StageFailed(2, "rows::filter", CAUSE)
    assert (failed.exit_status, failed.message) == (
        9,
        "stage 2, rows::filter: invocation_stopped: Invocation stopped",
    )

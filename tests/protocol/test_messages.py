"""Messages: what the engine would read is read, what it would drop is refused, the rest passes through."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from iii_cli.errors import FunctionNotFound
from iii_cli.protocol.json_text import NESTING_MAX, MalformedJson, Raw, parse, parse_once, to_raw, with_key
from iii_cli.protocol.messages import (
    Enqueue,
    ErrorBody,
    InvocationResult,
    InvokeFunction,
    MalformedMessage,
    Message,
    Void,
    decode,
    encode,
    parse_uuid,
    result_of,
)

ID = "7d0e2c1a-0b1c-4d2e-8f3a-445566778899"
ANSWER = f'{{"type":"invocationresult","invocation_id":"{ID}","function_id":"f",'
TEXTS = [
    '{"type":"registerfunction","id":"f","metadata":{"x":1},"invocation":{"url":"u"}}',
    '{"type":"unregisterfunction","id":"a::b"}',
    f'{{"type":"invokefunction","function_id":"f","data":null,"invocation_id":"{ID}"}}',
    '{"type":"invokefunction","function_id":"f","data":[1],"action":{"type":"void"}}',
    '{"type":"invokefunction","function_id":"f","data":{},"action":{"type":"enqueue","queue":"q"}}',
    '{"type":"invokefunction","function_id":"f","data":{},"metadata":0,"namespace":"n","baggage":"b"}',
    ANSWER + '"result":"ü"}',
    ANSWER + '"error":{"code":"c","message":"m","stacktrace":"s"}}',
    '{"type":"registrationrejected","code":"c","namespace":"n","owner_worker_id":"","function_id":"f"}',
    '{"type":"registertriggertype","id":"t","description":"d"}',
    '{"type":"unregistertriggertype","id":"t"}',
    '{"type":"registertrigger","id":"i","trigger_type":"t","function_id":"f","config":null}',
    '{"type":"unregistertrigger","id":"i"}',
    '{"type":"triggerregistrationresult","id":"i","trigger_type":"t","function_id":"f"}',
    '{"type":"registerservice","id":"s","name":"n"}',
    '{"type":"workerregistered","worker_id":"w","reattach_token":"k"}',
    '{"type":"reattach","previous_worker_id":"w","reattach_token":"k"}',
    '{"type":"ping"}',
    '{"type":"pong"}',
    '{"type":"error","error":{"code":"AUTH_ERROR","message":"m"}}',
]


def call(rest: str) -> str:
    return '{"type":"invokefunction","function_id":"f",' + rest + "}"


@pytest.mark.parametrize("text", TEXTS)
def test_every_message_both_ways(text: str) -> None:
    message = decode(text)
    assert message == decode(text.encode())
    assert type(message).__name__.lower().removesuffix("message") == json.loads(text)["type"]
    assert encode(message) == text.encode()


def test_every_class_is_tried() -> None:
    assert {type(decode(text)) for text in TEXTS} == set(get_args(Message))


def test_what_a_call_is_made_of() -> None:
    made = InvokeFunction.of("f", {}, action=Enqueue("q"), metadata=0)
    assert made == decode(call('"data":{},"action":{"type":"enqueue","queue":"q"},"metadata":0'))
    assert made.metadata != InvokeFunction.of("f", None, action=Void()).metadata == Raw(b"null")


@pytest.mark.parametrize("text", TEXTS)
def test_required_fields_optional_ones_and_unknown_ones(text: str) -> None:
    message, document = decode(text), json.loads(text)
    fields, defaults = message.__struct_fields__, message.__struct_defaults__
    required = fields[: len(fields) - len(defaults)]
    for name in required:
        with pytest.raises(MalformedMessage, match=name):
            decode(json.dumps({key: value for key, value in document.items() if key != name}))
    absent = dict.fromkeys(name for name in fields if name not in document)
    assert decode(json.dumps(absent | document | {"future": [1]}, ensure_ascii=False)) == message


@pytest.mark.parametrize(
    "text",
    [
        *("", "  ", "{", "[]", "null", "{}", '{"type":"nope"}', '{"type":null}', '{"type":["ping"]}'),
        '{"type":"unregisterfunction","id":null}',
        '{"type":"unregisterfunction","id":7}',
        call('"data":1,"invocation_id":"nope"'),
        call('"data":1,"invocation_id":7'),
        call('"data":1,"action":"void"'),
        call('"data":1,"action":{"type":"later"}'),
        call('"data":1,"action":{"type":"enqueue"}'),
        call('"data":1,"action":{"type":"enqueue","queue":null}'),
        f'{{"type":"invocationresult","invocation_id":"{ID}","function_id":"f","error":"text"}}',
        f'{{"type":"invocationresult","invocation_id":"{ID}","function_id":"f","error":{{"code":"c"}}}}',
        *(call(f'"data":{data}') for data in ("NaN", "-Infinity", '"\\ud800"', "01", "[1,]", "tru")),
        '{"type":"invokefunction","function_id":"f","data":' + "[" * 100_000,
        '{"type":"registerfunction","id":"f","metadata":' + "[" * NESTING_MAX + "]" * NESTING_MAX + "}",
        '{"type":"registerfunction","id":"f","metadata":1e999}',
        '{"type":"registerfunction","id":"f","invocation":"u"}',
    ],
    ids=lambda text: text[:70],
)
def test_what_the_engine_drops(text: str) -> None:
    with pytest.raises(MalformedMessage):
        decode(text)


def test_what_passes_through_keeps_its_text() -> None:
    data = '{"b":1.50,"a":[1e2, 123456789012345678901234567890],"a":"\\u0041"}'
    message = decode(call(f'"data":{data},"metadata":[ ]'))
    assert isinstance(message, InvokeFunction)
    assert (bytes(message.data), bytes(message.metadata)) == (data.encode(), b"[ ]")
    assert encode(message).decode() == call(f'"data":{data},"metadata":[ ]')


@pytest.mark.parametrize(
    "data",
    [
        "{}",
        '{"k":"theirs"}',
        '{"k":"theirs","k":2}',
        '{"\\u006b":"theirs","x":{"k":1}}',
        ' { "k" : [ "}" ] }',
    ],
)
def test_a_key_is_set_once_whatever_was_there(data: str) -> None:
    pairs = json.loads(bytes(with_key(Raw(data.encode()), "k", "ours")), object_pairs_hook=list)
    assert [value for key, value in pairs if key == "k"] == ["ours"]
    assert dict(pairs).get("x", [["k", 1]]) == [("k", 1)] or "x" not in data


@pytest.mark.parametrize(
    "form", [ID, ID.upper(), ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}", f"urn:uuid:{ID.upper()}"]
)
def test_every_form_of_a_uuid_is_the_same_uuid(form: str) -> None:
    answer = decode(f'{{"type":"invocationresult","invocation_id":"{form}","function_id":"f"}}')
    assert answer == InvocationResult(ID, "f")


@pytest.mark.parametrize(
    "form",
    ["", "7", ID[:-1], ID + "0", f"{{{ID}", f" {ID}", ID.replace("7", "g"), ID + "\n", f"URN:UUID:{ID}"],
)
def test_what_is_no_uuid(form: str) -> None:
    assert parse_uuid(form) is None


# JSON


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "nope", "1 2", "01", "NaN", "Infinity", "1e999", "-1e999", "9" * 5000, '"\n"', "\ufeff1"),
        *('"\\ud800"', '"\ud800"', b'"\xff"', "[" * 500 + "]" * 500, "[" * 200_000, b'{"a":1}\0'),
        '{"a":' * (NESTING_MAX + 1) + "1" + "}" * (NESTING_MAX + 1),
    ],
    ids=lambda text: repr(text)[:30],
)
def test_what_is_not_json(text: str | bytes) -> None:
    with pytest.raises(MalformedJson, match=r"not JSON: ."):
        parse(text)


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], "\ud800", b"bytes", {1, 2}, object()])
def test_what_cannot_be_written(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        to_raw(value)


def test_a_key_that_comes_twice_is_refused_where_it_matters() -> None:
    assert parse('{"a":1,"a":2}') == {"a": 2}
    assert parse_once(b'{"a":1,"b":{"a":2}}') == {"a": 1, "b": {"a": 2}}
    for text in (b'{"a":1,"a":2}', b'{"x":[{"a":1,"\\u0061":2}]}', b"[" * 9999, b'"\xff"'):
        with pytest.raises(MalformedJson, match="twice"):
            parse_once(text)


# Answers that cannot be read


def test_the_error_of_an_answer_is_raised() -> None:
    with pytest.raises(FunctionNotFound):
        result_of(InvocationResult(ID, "f", error=ErrorBody("function_not_found", "no")))
    assert result_of(InvocationResult(ID, "f", to_raw([1]))) == [1]
    assert result_of(InvocationResult(ID, "f")) is None

"""Messages: what the engine would read is read, what it would drop is refused."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from iii_cli.protocol.messages import (
    Enqueue,
    ErrorBody,
    ErrorMessage,
    InvocationResult,
    InvokeFunction,
    MalformedMessage,
    Message,
    Ping,
    Pong,
    Reattach,
    RegisterFunction,
    RegisterService,
    RegisterTrigger,
    RegisterTriggerType,
    RegistrationRejected,
    TriggerRegistrationResult,
    UnregisterFunction,
    UnregisterTrigger,
    UnregisterTriggerType,
    Void,
    WorkerRegistered,
    decode,
    encode,
    parse_uuid,
)

ID = "7d0e2c1a-0b1c-4d2e-8f3a-445566778899"
SAMPLES: dict[str, Message] = {
    '{"type":"registerfunction","id":"a::b","description":"d","metadata":{"x":1}}': RegisterFunction(
        "a::b", "d", metadata={"x": 1}
    ),
    '{"type":"unregisterfunction","id":"a::b"}': UnregisterFunction("a::b"),
    f'{{"type":"invokefunction","function_id":"f","data":null,"invocation_id":"{ID}"}}': InvokeFunction(
        "f", None, ID
    ),
    '{"type":"invokefunction","function_id":"f","data":[1],"action":{"type":"void"}}': InvokeFunction(
        "f", [1], action=Void()
    ),
    '{"type":"invokefunction","function_id":"f","data":{},"action":{"type":"enqueue","queue":"q"},'
    '"metadata":0,"namespace":"n","traceparent":"t","baggage":"b"}': InvokeFunction(
        "f", {}, action=Enqueue("q"), metadata=0, namespace="n", traceparent="t", baggage="b"
    ),
    f'{{"type":"invocationresult","invocation_id":"{ID}","function_id":"f","result":"ü"}}': InvocationResult(
        ID, "f", "ü"
    ),
    f'{{"type":"invocationresult","invocation_id":"{ID}","function_id":"f",'
    '"error":{"code":"c","message":"m","stacktrace":"s"}}': InvocationResult(
        ID, "f", error=ErrorBody("c", "m", "s")
    ),
    '{"type":"registrationrejected","code":"c","namespace":"n","owner_worker_id":"","function_id":"f"}': (
        RegistrationRejected("c", "n", "", function_id="f")
    ),
    '{"type":"registertriggertype","id":"t","description":"d"}': RegisterTriggerType("t", "d"),
    '{"type":"unregistertriggertype","id":"t"}': UnregisterTriggerType("t"),
    '{"type":"registertrigger","id":"i","trigger_type":"t","function_id":"f","config":null}': RegisterTrigger(
        "i", "t", "f", None
    ),
    '{"type":"unregistertrigger","id":"i"}': UnregisterTrigger("i"),
    '{"type":"triggerregistrationresult","id":"i","trigger_type":"t","function_id":"f"}': (
        TriggerRegistrationResult("i", "t", "f")
    ),
    '{"type":"registerservice","id":"s","name":""}': RegisterService("s"),
    '{"type":"workerregistered","worker_id":"w","reattach_token":"k"}': WorkerRegistered("w", "k"),
    '{"type":"reattach","previous_worker_id":"w","reattach_token":"k"}': Reattach("w", "k"),
    '{"type":"ping"}': Ping(),
    '{"type":"pong"}': Pong(),
    '{"type":"error","error":{"code":"AUTH_ERROR","message":"m"}}': ErrorMessage(
        ErrorBody("AUTH_ERROR", "m")
    ),
}


@pytest.mark.parametrize(("text", "message"), SAMPLES.items(), ids=lambda v: type(v).__name__)
def test_every_message_both_ways(text: str, message: Message) -> None:
    assert decode(text) == message
    assert decode(text.encode()) == message
    assert encode(message) == text


def test_every_class_has_a_sample() -> None:
    assert {type(message) for message in SAMPLES.values()} == set(get_args(Message))


def _required() -> list[tuple[str, str]]:
    return [
        (text, name)
        for text, message in SAMPLES.items()
        for name in message.__struct_fields__[: -len(message.__struct_defaults__) or None]
    ]


@pytest.mark.parametrize(("text", "name"), _required())
def test_a_required_field_must_be_there(text: str, name: str) -> None:
    document = json.loads(text)
    del document[name]
    with pytest.raises(MalformedMessage, match=name):
        decode(json.dumps(document))


@pytest.mark.parametrize("text", SAMPLES)
def test_null_stands_for_any_absent_optional_field_and_unknown_ones_are_ignored(text: str) -> None:
    message = decode(text)
    document = dict.fromkeys(type(message).__struct_fields__) | json.loads(text) | {"future": [1]}
    assert decode(json.dumps(document)) == message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "{",
        "[]",
        "null",
        "{}",
        '{"type":"nope"}',
        '{"type":null}',
        '{"type":["ping"]}',
        '{"type":"unregisterfunction","id":null}',
        '{"type":"unregisterfunction","id":7}',
        '{"type":"invokefunction","function_id":"f","data":1,"invocation_id":"nope"}',
        '{"type":"invokefunction","function_id":"f","data":1,"invocation_id":7}',
        '{"type":"invokefunction","function_id":"f","data":1,"action":"void"}',
        '{"type":"invokefunction","function_id":"f","data":1,"action":{"type":"later"}}',
        '{"type":"invokefunction","function_id":"f","data":1,"action":{"type":"enqueue"}}',
        '{"type":"invokefunction","function_id":"f","data":1,"action":{"type":"enqueue","queue":null}}',
        f'{{"type":"invocationresult","invocation_id":"{ID}","function_id":"f","error":"text"}}',
        f'{{"type":"invocationresult","invocation_id":"{ID}","function_id":"f","error":{{"code":"c"}}}}',
        '{"type":"invokefunction","function_id":"f","data":NaN}',
        '{"type":"invokefunction","function_id":"f","data":-Infinity}',
        '{"type":"invokefunction","function_id":"f","data":1e999}',
        '{"type":"invokefunction","function_id":"f","data":"\\ud800"}',
        '{"type":"invokefunction","function_id":"f","data":' + "[" * 200 + "]" * 200 + "}",
        '{"type":"invokefunction","function_id":"f","data":' + "[" * 100_000,
        '{"type":"invokefunction","function_id":"f","data":' + "9" * 10_000 + "}",
        '{"type":"invokefunction","function_id":"f","data":' + "9" * 401 + "}",
        '{"type":"invokefunction","function_id":"f","data":' + "[" * 127 + "]" * 127 + "}",
        '{"type":"registerfunction","id":"f","invocation":{}}',
        '{"type":"registerfunction","id":"f","invocation":{"url":5}}',
        '{"type":"registerfunction","id":"f","invocation":{"url":"u","method":1}}',
        '{"type":"registerfunction","id":"f","invocation":{"url":"u","timeout_ms":-1}}',
        '{"type":"registerfunction","id":"f","invocation":{"url":"u","headers":{"a":1}}}',
        '{"type":"registerfunction","id":"f","invocation":{"url":"u","auth":{"type":"nope"}}}',
        '{"type":"registerfunction","id":"f","invocation":{"url":"u","auth":{"type":"bearer"}}}',
    ],
    ids=lambda text: text[:70],
)
def test_what_the_engine_drops(text: str) -> None:
    with pytest.raises(MalformedMessage):
        decode(text)


def test_bytes_that_are_not_utf8_are_refused() -> None:
    with pytest.raises(MalformedMessage, match="UTF-8"):
        decode(b'{"type":"p\xff"}')


@pytest.mark.parametrize(
    ("digits", "value"),
    [
        ("9223372036854775807", 2**63 - 1),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551616", 1.8446744073709552e19),
        ("-9223372036854775809", -9.223372036854776e18),
        ("1180591620717411303424", 1.1805916207174113e21),
    ],
)
@pytest.mark.parametrize("length", [1, 2000])
def test_integers_have_64_bits_as_in_the_engine(digits: str, value: float, length: int) -> None:
    text = "x" * length
    message = decode(f'{{"type":"invokefunction","function_id":"f","data":[{digits},1,"{text}"]}}')
    assert isinstance(message, InvokeFunction)
    assert message.data[:2] == [value, 1]
    assert type(message.data[0]) is type(value)


def test_the_deepest_message() -> None:
    assert decode('{"type":"invokefunction","function_id":"f","data":' + "[" * 126 + "]" * 126 + "}")


@pytest.mark.parametrize(
    "auth",
    [
        {"type": "bearer", "token_key": "T"},
        {"type": "hmac", "secret_key": "S"},
        {"type": "api_key", "header": "h", "value_key": "V"},
        None,
    ],
)
def test_functions_that_the_engine_calls_over_http(auth: Any) -> None:
    invocation = {"url": "http://x/", "method": "PUT", "timeout_ms": 5, "headers": {"a": "b"}, "auth": auth}
    document = {"type": "registerfunction", "id": "f", "invocation": invocation}
    assert decode(json.dumps(document)) == RegisterFunction("f", invocation=invocation)


@pytest.mark.parametrize("value", ["😀", {"a": [1, 2.5, None, True, "\x00"]}, [[]] * 300, 2**70, ""])
def test_any_json_value_survives(value: Any) -> None:
    for text in (
        encode(InvokeFunction("f", value)),
        json.dumps({"type": "invokefunction", "function_id": "f", "data": value}),
    ):
        assert decode(text) == InvokeFunction("f", value)


@pytest.mark.parametrize(
    "form",
    [ID, ID.upper(), ID.replace("-", ""), f"{{{ID}}}", f"urn:uuid:{ID}", f"urn:uuid:{ID.upper()}"],
)
def test_every_form_of_a_uuid_is_the_same_uuid(form: str) -> None:
    assert parse_uuid(form) == ID

    assert decode(
        f'{{"type":"invocationresult","invocation_id":"{form}","function_id":"f"}}'
    ) == InvocationResult(ID, "f")


@pytest.mark.parametrize(
    "form", ["", "7", ID[:-1], ID + "0", f"{{{ID}", f" {ID}", ID.replace("7", "g"), ID + "\n"]
)
def test_what_is_no_uuid(form: str) -> None:
    assert parse_uuid(form) is None


def test_what_is_not_json_cannot_be_encoded() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        encode(InvokeFunction("f", float("nan")))


def test_an_urn_is_lower_case() -> None:
    assert parse_uuid(f"URN:UUID:{ID}") is None

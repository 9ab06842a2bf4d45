"""An answer that cannot be read is still told from what is none, and its call is found."""

from __future__ import annotations

import json
from typing import Any

import pytest

from iii_cli.errors import FunctionNotFound, PeerMisbehaved
from iii_cli.protocol.messages import (
    NESTING_MAX,
    ErrorBody,
    MalformedMessage,
    decode,
    failure_of,
    unreadable_answer,
)

MINE = "7d0e0000-0000-4000-8000-000000000001"
OTHER = "7d0e0000-0000-4000-8000-000000000002"
DEEP: Any = 1
for _ in range(NESTING_MAX):
    DEEP = [DEEP]


def answer(**fields: Any) -> bytes:
    return json.dumps({"type": "invocationresult", "function_id": "f"} | fields).encode()


def looked_at(payload: bytes) -> str | None:
    """The call that is answered, as `client` looks at it."""
    with pytest.raises(MalformedMessage) as caught:
        decode(payload)
    found = unreadable_answer(payload, caught.value)
    if found is None:
        return None
    assert found.error is not None
    failure = failure_of(found.error)
    assert isinstance(failure, PeerMisbehaved)
    assert "cannot be read" in failure.message
    return found.invocation_id


@pytest.mark.parametrize(
    "payload",
    [
        answer(invocation_id=MINE, result=DEEP),
        answer(result=DEEP, invocation_id=MINE),
        answer(result=[DEEP, {"invocation_id": OTHER, "type": "ping"}], invocation_id=MINE),
        answer(result=[DEEP, f'"invocation_id":"{OTHER}"', '\\"}]'], invocation_id=MINE),
        answer(invocation_id=MINE.upper(), result=DEEP),
        answer(invocation_id=MINE, error="a bare string"),
        answer(invocation_id=MINE, result=1).replace(b": 1}", b' : NaN , "x" : {}}'),
        answer(invocation_id=MINE, result="\ud800"),
    ],
)
def test_the_call_of_an_unreadable_answer_is_found(payload: bytes) -> None:
    assert looked_at(payload) == MINE


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b'{"type":"invocationresult","invocation_id":',
        b'"invocation_id"',
        answer(invocation_id="not one", result=DEEP),
        answer(result=[DEEP, {"invocation_id": OTHER}]),
        json.dumps({"type": "invokefunction", "invocation_id": MINE, "data": DEEP}).encode(),
        b"[" * 100_000,
        b'{"' * 100_000,
    ],
)
def test_what_is_no_answer_is_none(payload: bytes) -> None:
    assert looked_at(payload) is None


def test_other_errors_are_the_functions() -> None:
    assert isinstance(failure_of(ErrorBody("function_not_found", "no")), FunctionNotFound)

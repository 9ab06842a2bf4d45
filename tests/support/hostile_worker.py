"""A worker that tries to get at the terminal of whoever lists it."""

from __future__ import annotations

import json
import re
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.refs import ref_of, target_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("DANGEROUS", "FUNCTION", "TRICKS", "hostile_worker", "hostile_writer", "registered")

TRICKS = (
    "\x1b[31mred\x1b]52;c;aGk=\x07\x1b[2J\N{RIGHT-TO-LEFT OVERRIDE}\x9b1mfre\u200bsh\nline\r\x08\x7f\u2060"
)
FUNCTION = "evil::\x1b[2Jf\ufeffn"
DANGEROUS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\u3164\ufeff]"
)
"""What moves a cursor, turns text round, or is not seen at all."""


@contextmanager
def hostile_worker(url: str) -> Iterator[None]:
    """Connected, announced and registered when this yields."""
    about = {
        "runtime": TRICKS,
        "name": f"evil{TRICKS}",
        "description": TRICKS,
        "os": TRICKS,
        "version": TRICKS,
    }
    schema = {"properties": {TRICKS: {"type": TRICKS, "description": TRICKS, "default": TRICKS}}}
    with connect(url, compression=None) as connection:
        connection.recv()
        ask(connection, "engine::workers::register", about | {"pid": 42})
        metadata = {TRICKS: TRICKS}
        formats = {"request_format": schema, "response_format": TRICKS, "metadata": metadata}
        register(connection, FUNCTION, description=TRICKS, **formats)
        threading.Thread(target=fail_every_call, args=[connection], daemon=True).start()
        yield


def fail_every_call(connection: Any) -> None:
    """Until the connection is over."""
    error = {"code": TRICKS, "message": TRICKS, "stacktrace": TRICKS}
    with suppress(ConnectionClosed):  # an engine drops a worker that closes
        for frame in connection:
            call = json.loads(frame)
            if call.get("type") == "invokefunction":
                answer = {key: call[key] for key in ("invocation_id", "function_id")}
                connection.send(json.dumps({"type": "invocationresult", "error": error} | answer))


@contextmanager
def hostile_writer(url: str, token: str) -> Iterator[None]:
    """A sealed stream with a message, and an abort instead of an end."""
    with connect(f"{url}{target_of(ref_of(token))}", compression=None) as connection:
        seal = {"v": 1, "id": "00" * 16}
        connection.send(json.dumps({"iii": seal | {"open": {"mode": "bytes", "digest": "xxh3_128"}}}))
        connection.send(b"abc")
        connection.send(TRICKS)
        connection.send(json.dumps({"iii": seal | {"abort": {"code": 1, "reason": TRICKS}}}))
        yield


@contextmanager
def registered(url: str, name: str, **functions: Any) -> Iterator[None]:
    """A worker of that name with these functions: ids, and the schemas of what they take."""
    with connect(url, compression=None) as connection:
        connection.recv()
        ask(connection, "engine::workers::register", {"name": name, "pid": 43})
        for function, schema in functions.items():
            register(connection, function, request_format=schema)
        yield


def register(connection: Any, function: str, **fields: Any) -> None:
    """Returns when the engine has it."""
    connection.send(json.dumps({"type": "registerfunction", "id": function} | fields))
    ask(connection, "engine::functions::info", {"function_id": function})


def ask(connection: Any, function: str, data: Any) -> Any:
    """One call; its whole answer."""
    call = {"type": "invokefunction", "invocation_id": "7d0e0000-0000-4000-8000-000000000001"}
    connection.send(json.dumps(call | {"function_id": function, "data": data}))
    answer = json.loads(connection.recv())
    assert "error" not in answer, answer
    return answer

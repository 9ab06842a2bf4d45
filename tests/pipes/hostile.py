"""A worker that tries to get at the terminal of whoever lists it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("FUNCTION", "hostile_worker", "registered")

TRICKS = "\x1b[31mred\x1b]52;c;aGk=\x07\x1b[2J\N{RIGHT-TO-LEFT OVERRIDE}\x9b1mfresh\nline\r\x08\x7f"
FUNCTION = "evil::\x1b[2Jfn"


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
        register(connection, FUNCTION, description=TRICKS, request_format=schema, response_format=TRICKS)
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

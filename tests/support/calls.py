"""Calls over a bare socket: a process for each of them would take a quarter of a second."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.support.websocket import WebSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.refs import Ref

__all__ = ("Caller", "call", "calling", "create_channel", "wait_for_functions")

LOOK_EVERY = 0.01  # seconds


class Caller:
    """A connection that calls, and is no worker."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket

    def outcome(self, function: str, data: Any) -> dict[str, Any]:
        """Call, and return the whole answer."""
        call_id = str(uuid4())
        self._websocket.say(
            {"type": "invokefunction", "invocation_id": call_id, "function_id": function, "data": data}
        )
        while True:
            for message in self._websocket.hear():
                if message.get("invocation_id") == call_id:
                    return message

    def call(self, function: str, data: Any) -> Any:
        """Call, and return the result."""
        answer = self.outcome(function, data)
        assert "error" not in answer, answer
        return answer.get("result")


@contextmanager
def calling(url: str, *, token: str | None = None, timeout: float = 20.0) -> Iterator[Caller]:
    """A caller for as long as this lasts. `timeout`: for each answer, in seconds."""
    headers = [f"Authorization: Bearer {token}"] if token else []
    with WebSocket(url, "/", *headers, timeout=timeout) as websocket:
        yield Caller(websocket)


def call(url: str, function: str, data: Any, *, timeout: float = 20.0) -> Any:
    """Call a function on a connection of its own, and return the result."""
    with calling(url, timeout=timeout) as caller:
        return caller.call(function, data)


def create_channel(url: str, buffer_size: int | None = None, *, token: str | None = None) -> tuple[Ref, Ref]:
    """A new channel: the writer's ref and the reader's."""
    data = {} if buffer_size is None else {"buffer_size": buffer_size}
    with calling(url, token=token) as caller:
        refs = caller.call("engine::channels::create", data)
    return refs["writer"], refs["reader"]


def wait_for_functions(url: str, *names: str, within: float = 20.0) -> None:
    """Until the engine has them all."""
    deadline = time.monotonic() + within
    with calling(url) as caller:
        for name in names:
            while "error" in caller.outcome("engine::functions::info", {"function_id": name}):
                assert time.monotonic() < deadline, f"no {name}"
                time.sleep(LOOK_EVERY)

"""An engine in the hand: no sockets, a clock that stands still, ids that count."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

from iii_cli.engine.builtins import builtin_functions
from iii_cli.engine.core import Core
from iii_cli.engine.model import SECOND, Close, Delivery, Drop, Send, Settings

__all__ = ("Bench", "Peer", "uuid")

START = 1_700_000_000 * SECOND


def uuid(number: int) -> str:
    """A UUID that a reader of a failing test can tell from others."""
    return f"{number:08x}-0000-4000-8000-{number:012x}"


class Peer:
    """A worker that hears what the engine decides to send it."""

    def __init__(self, bench: Bench, connection: int, ip: str) -> None:
        self.bench = bench
        self.connection = connection
        self.heard: list[dict[str, Any]] = []
        self.raw: list[bytes] = []  # all that it ever heard
        self.end: str | None = None
        bench.peers[connection] = self
        bench.deliver(bench.core.connected(connection, ip, bench.now))
        self.id = self.heard[0]["worker_id"]
        self.token = self.heard[0]["reattach_token"]

    def say(self, kind: str, **fields: Any) -> Peer:
        """Send a message."""
        return self.say_raw(json.dumps({"type": kind, **fields}))

    def say_raw(self, frame: str | bytes) -> Peer:
        """Send whatever."""
        data = frame if isinstance(frame, bytes) else frame.encode()
        self.bench.deliver(self.bench.core.received(self.connection, data, self.bench.now))
        return self

    def hear(self) -> list[dict[str, Any]]:
        """What came since the last time."""
        heard, self.heard = self.heard, []
        return heard

    def hear_one(self) -> dict[str, Any]:
        """The one message that came."""
        (message,) = self.hear()
        return message

    def announce(self, name: str | None = None, **fields: Any) -> Peer:
        """Say who it is, and forget the answer."""
        assert self.call("engine::workers::register", {"name": name, "pid": 1, **fields})["success"]
        return self

    def invoke(self, function_id: str, data: Any = None, **fields: Any) -> str:
        """Begin a call and return its id."""
        call_id = uuid(next(self.bench.call_ids))
        self.say("invokefunction", function_id=function_id, invocation_id=call_id, data=data, **fields)
        return call_id

    def answer(self, call: dict[str, Any], **fields: Any) -> None:
        """Answer a call that was heard."""
        self.say(
            "invocationresult", invocation_id=call["invocation_id"], function_id=call["function_id"], **fields
        )

    def call_raw(self, function_id: str, data: Any = None, **fields: Any) -> dict[str, Any]:
        """Call a built-in and return the whole answer."""
        call_id = self.invoke(function_id, {} if data is None else data, **fields)
        (mine,) = [message for message in self.heard if message.get("invocation_id") == call_id]
        self.heard.remove(mine)
        return mine

    def call(self, function_id: str, data: Any = None, **fields: Any) -> Any:
        """Call a built-in and return its result."""
        answer = self.call_raw(function_id, data, **fields)
        assert "error" not in answer, answer
        return answer.get("result")

    def refused(self, function_id: str, data: Any = None, **fields: Any) -> tuple[str, str]:
        """Call a built-in that refuses, and return code and message."""
        error = self.call_raw(function_id, data, **fields)["error"]
        return error["code"], error["message"]

    def leave(self) -> None:
        """The socket is gone."""
        self.bench.deliver(self.bench.core.disconnected(self.connection, self.bench.now))


class Bench:
    """The engine, its clock and its peers."""

    def __init__(self, **settings: Any) -> None:
        ids = count(1)
        self.call_ids = count(0x1000_0000)
        self.now = START
        self.peers: dict[int, Peer] = {}
        self.notices: list[tuple[str, dict[str, Any]]] = []
        self.core = Core(
            lambda: uuid(next(ids)),
            START,
            builtin_functions(),
            settings=Settings(**settings),
            notice=lambda event, /, **details: self.notices.append((event, details)),
        )

    def connect(self, ip: str = "127.0.0.1") -> Peer:
        """A new worker, whose first message was heard."""
        peer = Peer(self, len(self.peers) + 1, ip)
        peer.hear()
        return peer

    def worker(self, name: str | None = None, *functions: str, **fields: Any) -> Peer:
        """A new worker that announced itself and registered functions."""
        peer = self.connect().announce(name, **fields)
        for function in functions:
            peer.say("registerfunction", id=function)
        return peer

    def deliver(self, deliveries: list[Delivery]) -> None:
        """Do what the core decided."""
        for delivery in deliveries:
            peer = self.peers[delivery.connection]
            match delivery:
                case Send(_, message):
                    assert peer.end is None, f"sent to a connection that was ended: {message!r}"
                    peer.raw.append(message)
                    peer.heard.append(json.loads(message))
                case Close():
                    peer.end = "close"
                case Drop():
                    peer.end = "drop"

    def wait(self, seconds: float) -> None:
        """Time passes; everything that is due on the way is done when it is due."""
        target = self.now + int(seconds * SECOND)
        while (deadline := self.core.next_deadline()) <= target:
            self.now = max(self.now, deadline)
            self.deliver(self.core.tick(self.now))
        self.now = target

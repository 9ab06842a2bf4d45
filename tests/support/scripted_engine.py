"""An engine that answers calls as a test says: for answers that no worker of ours would give."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from websockets.sync.server import ServerConnection

__all__ = ("Drop", "FunctionError", "Later", "ScriptedEngine", "Silence", "running_engine")


class Later(Exception):
    """An answer, the exception's argument, that waits until the next call is answered."""


class Silence(Exception):
    """No answer, ever."""


class Drop(Exception):
    """The engine dies: the connection ends without a Close."""


class FunctionError(Exception):
    """The function answers with this error body."""


@dataclass
class ScriptedEngine:
    """`functions` by id; each gets the data. `calls` is every invokefunction that came, in order, on that
    many `connections`, whose requests had these `headers`, by names in small letters. `others` is what came
    beside calls and pings.
    """

    functions: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    calls: list[dict[str, Any]] = field(default_factory=list)
    others: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    headers: list[dict[str, str]] = field(default_factory=list)
    port: int = 0
    waiting: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def converse(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.connections += 1
        self.headers.append({name.lower(): value for name, value in connection.request.headers.raw_items()})
        try:
            if not connection.request.path.startswith("/ws/channels/"):  # an end that nothing is behind
                connection.send(
                    json.dumps({"type": "workerregistered", "worker_id": "w", "reattach_token": "k"})
                )
            for text in connection:
                message = json.loads(text)
                if message["type"] == "ping":
                    connection.send('{"type":"pong"}')
                elif message["type"] == "invokefunction":
                    self.answer(connection, message)
                else:
                    self.others.append(message)
        except ConnectionClosed:
            return

    def answer(self, connection: ServerConnection, message: dict[str, Any]) -> None:
        self.calls.append(message)
        reply = {
            "type": "invocationresult",
            "invocation_id": message.get("invocation_id"),
            "function_id": message["function_id"],
        }
        try:
            result = self._function(message)(message["data"])
        except FunctionError as error:
            reply["error"] = error.args[0]
        except Silence:
            return
        except Later as later:
            self.waiting.append(reply | {"result": later.args[0]})
            return
        except Drop:
            for earlier in self.waiting:
                connection.send(json.dumps(earlier))
            self.waiting.clear()
            connection.close_socket()
            return
        else:
            if result is not None:
                reply["result"] = result
        if message.get("invocation_id") is not None:
            connection.send(json.dumps(reply))
        for earlier in self.waiting:
            connection.send(json.dumps(earlier))
        self.waiting.clear()

    def _function(self, message: dict[str, Any]) -> Callable[[Any], Any]:
        name, namespace = message["function_id"], message.get("namespace") or "default"

        def missing(data: Any) -> NoReturn:
            text = f"Function {name} not found in namespace {namespace}."
            raise FunctionError({"code": "function_not_found", "message": text})

        return self.functions.get(name, missing) if namespace == "default" else missing


def running_engine() -> Iterator[ScriptedEngine]:
    """For a fixture: it listens when this yields."""
    engine = ScriptedEngine()
    with serve(engine.converse, "127.0.0.1", 0, compression=None, max_size=1 << 27) as server:
        engine.port = server.socket.getsockname()[1]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield engine
        finally:
            server.shutdown()
            thread.join()

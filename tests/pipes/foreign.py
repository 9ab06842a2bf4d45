"""Peers that are not ours, on plain WebSockets: a writer with or without a seal, and a worker."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.support.program import Program

__all__ = (
    "Refuse",
    "Vanish",
    "end_target",
    "foreign_stream",
    "foreign_worker",
    "read_frames",
    "seal_frame",
    "write_frames",
)

CALL_ID = "7d0e0000-0000-4000-8000-000000000002"


class Vanish(Exception):
    """Raised by a function: its worker is gone, without an answer."""


class Refuse(Exception):
    """Raised by a function: it answers with this code, and the message `no`."""


def end_target(end: str | dict[str, Any]) -> str:
    """Where on the engine an end is: of a token, or of a ref as JSON."""
    if isinstance(end, str):
        _, direction, channel, key = end.split(":")
    else:
        direction, channel, key = end["direction"], end["channel_id"], end["access_key"]
    return f"/ws/channels/{channel}?key={key}&dir={direction}"


def write_frames(url: str, end: str | dict[str, Any], frames: Sequence[str | bytes]) -> None:
    """Write these frames into a writer's `end`, and end cleanly."""
    with connect(url + end_target(end), compression=None) as connection, suppress(ConnectionClosed):
        for frame in frames:
            connection.send(frame)


def read_frames(url: str, end: str | dict[str, Any]) -> list[str | bytes]:
    """What comes out of a reader's `end`, until the stream is over."""
    frames: list[str | bytes] = []
    with connect(url + end_target(end), compression=None, ping_interval=None, max_size=None) as connection:
        frames.extend(connection)
    return frames


@contextmanager
def foreign_stream(iii: Program, *frames: str | bytes) -> Iterator[str]:
    """The reader's token of a new channel into which these frames are written."""
    writer, reader = iii.channel()
    writing = threading.Thread(target=write_frames, args=(iii.env["III_URL"], writer, frames))
    writing.start()
    try:
        yield reader
    finally:
        writing.join()


def seal_frame(kind: str, body: dict[str, Any]) -> str:
    """A frame of the seal of the stream `00…`."""
    return json.dumps({"iii": {"v": 1, "id": "00" * 16, kind: body}})


@contextmanager
def foreign_worker(url: str, metadata: Any = None, **functions: Callable[[Any], Any]) -> Iterator[None]:
    """A worker with these functions, registered when this yields. They run one after another."""
    with connect(url, compression=None) as connection:
        connection.recv()
        about = {"name": "foreign", "runtime": "python", "pid": 44}
        _ask(connection, "engine::workers::register", about)
        for name in functions:
            connection.send(json.dumps({"type": "registerfunction", "id": name, "metadata": metadata}))
            _ask(connection, "engine::functions::info", {"function_id": name})
        serving = threading.Thread(target=_serve, args=(connection, functions))
        serving.start()
        try:
            yield
        finally:
            connection.close()
            serving.join()


def _serve(connection: Any, functions: dict[str, Callable[[Any], Any]]) -> None:
    with suppress(ConnectionClosed):
        for frame in connection:
            call = json.loads(frame)
            if call.get("type") == "invokefunction":
                answer = {key: call[key] for key in ("invocation_id", "function_id")}
                try:
                    answer["result"] = functions[call["function_id"]](call["data"])
                except Refuse as refusal:
                    answer["error"] = {"code": str(refusal), "message": "no"}
                except Vanish:
                    connection.close_socket()
                    return
                connection.send(json.dumps({"type": "invocationresult", **answer}))


def _ask(connection: Any, function: str, data: Any) -> None:
    call = {"type": "invokefunction", "invocation_id": CALL_ID, "function_id": function, "data": data}
    connection.send(json.dumps(call))
    answer = json.loads(connection.recv())
    assert "error" not in answer, answer

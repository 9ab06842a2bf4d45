"""Where conversations are held: with a core in the hand, or with an engine on sockets."""

from __future__ import annotations

import asyncio
import json
import os
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote
from uuid import uuid4

from tests.conformance.raw import BINARY, CLOSE, TEXT, Dropped, RawSocket
from tests.engine.bench import Bench, Peer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Party", "PureStage", "Ref", "SocketParty", "SocketStage", "Stage")

Ref = dict[str, str]


class Party:
    """One worker of a conversation."""

    id = ""
    token = ""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def say_raw(self, frame: str | bytes) -> None:
        """Send a frame: text or binary."""
        raise NotImplementedError

    async def next(self, within: float = 5.0) -> dict[str, Any]:
        """The next message."""
        raise NotImplementedError

    async def leave(self) -> None:
        """Drop the connection without a Close frame, and wait until the engine has noticed."""
        raise NotImplementedError

    async def ended(self) -> str:
        """How the engine ends the connection: `close` without a code, or `drop`."""
        raise NotImplementedError

    async def say(self, kind: str, **fields: Any) -> None:
        """Send a message."""
        await self.say_raw(json.dumps({"type": kind, **fields}))

    async def hear(self, kind: str, /, **fields: Any) -> dict[str, Any]:
        """The next message is this one, with these keys and no others. `...` stands for any value."""
        message = await self.next()
        expected = {"type": kind, **fields}
        shown = {key: ... if expected.get(key) is ... else value for key, value in message.items()}
        assert shown == expected, message
        return message

    async def quiet(self) -> None:
        """Nothing has come that was not heard."""
        await self.stage.settle()
        await self.say("ping")
        await self.hear("pong")

    async def announce(self, name: str | None = None, **fields: Any) -> None:
        """Say who it is, and wait until that is done."""
        data = {"name": name or self.stage.name("worker"), "pid": 1, "runtime": "python", **fields}
        assert await self.call("engine::workers::register", data) == {"success": True}

    async def invoke(self, function_id: str, data: Any = None, **fields: Any) -> str:
        """Begin a call."""
        call_id = str(uuid4())
        await self.say("invokefunction", function_id=function_id, invocation_id=call_id, data=data, **fields)
        return call_id

    async def outcome(self, function_id: str, data: Any = None, **fields: Any) -> dict[str, Any]:
        """Call, and return the whole answer."""
        call_id = await self.invoke(function_id, {} if data is None else data, **fields)
        answer = await self.next()
        assert answer["invocation_id"] == call_id, answer
        return answer

    async def call(self, function_id: str, data: Any = None, **fields: Any) -> Any:
        """Call, and return the result."""
        answer = await self.outcome(function_id, data, **fields)
        assert "error" not in answer, answer
        return answer.get("result")

    async def error(self, function_id: str, data: Any = None, **fields: Any) -> tuple[str, str]:
        """Call, and return code and message of the error."""
        answer = await self.outcome(function_id, data, **fields)
        return answer["error"]["code"], answer["error"]["message"]

    async def answer(self, call: dict[str, Any], **fields: Any) -> None:
        """Answer a call that was heard."""
        ids = {key: call[key] for key in ("invocation_id", "function_id")}
        await self.say("invocationresult", **ids, **fields)

    async def register(self, function_id: str, **fields: Any) -> None:
        """Register a function, and wait until it is there: frames of one socket are applied in order."""
        await self.say("registerfunction", id=function_id, **fields)


class Stage(Protocol):
    """What a conversation needs of its engine."""

    is_foreign: bool  # somebody else's engine, reached by III_CONFORMANCE_URL

    def name(self, stem: str) -> str:
        """A name that no other conversation uses."""
        ...

    async def worker(self, *, announced: bool = True, **fields: Any) -> Party:
        """A worker that has been greeted."""
        ...

    async def wait(self, seconds: float) -> None:
        """Time passes."""
        ...

    async def settle(self) -> None:
        """Long enough for what was sent to be dealt with."""
        ...


_numbers = count(1)


class _Names:
    is_foreign = False

    def name(self, stem: str) -> str:
        return f"c{os.getpid()}x{next(_numbers)}::{stem}"


class PureParty(Party):
    """A worker in the hand."""

    def __init__(self, stage: PureStage) -> None:
        super().__init__(stage)
        self._peer = Peer(stage.bench, len(stage.bench.peers) + 1, "127.0.0.1")

    async def say_raw(self, frame: str | bytes) -> None:
        self._peer.say_raw(frame)

    async def next(self, within: float = 5.0) -> dict[str, Any]:
        assert self._peer.heard, "nothing was said"
        return self._peer.heard.pop(0)

    async def leave(self) -> None:
        self._peer.leave()

    async def ended(self) -> str:
        assert self._peer.end is not None, "the connection goes on"
        return self._peer.end


class PureStage(_Names):
    """A core without sockets, and a clock that obeys."""

    def __init__(self) -> None:
        self.bench = Bench()

    async def worker(self, *, announced: bool = True, **fields: Any) -> Party:
        return await _greeted(PureParty(self), announced, fields)

    async def wait(self, seconds: float) -> None:
        self.bench.wait(seconds)

    async def settle(self) -> None:
        pass


class SocketParty(Party):
    """A worker on a socket."""

    def __init__(self, stage: SocketStage, raw: RawSocket) -> None:
        super().__init__(stage)
        self.raw = raw

    async def say_raw(self, frame: str | bytes) -> None:
        await self.raw.send(
            TEXT if isinstance(frame, str) else BINARY, frame.encode() if isinstance(frame, str) else frame
        )

    async def next(self, within: float = 5.0) -> dict[str, Any]:
        frame = await self.raw.receive(within)
        assert (frame.opcode, frame.fin, frame.rsv) == (TEXT, True, 0), frame
        message: dict[str, Any] = json.loads(frame.payload)
        return message

    async def leave(self) -> None:
        self.raw.reset()
        await self.stage.settle()

    async def ended(self) -> str:
        try:
            assert await self.raw.receive_close() == (None, "")
        except Dropped:
            return "drop"
        await self.raw.send(CLOSE)
        await self.raw.receive_end()
        return "close"


class SocketStage(_Names):
    """An engine at a URL. `move_clock` is there where the engine is ours."""

    def __init__(self, url: str, move_clock: Callable[[float], None] | None = None) -> None:
        self.url = url
        self.is_foreign = move_clock is None
        self._move_clock = move_clock
        self._sockets: list[RawSocket] = []

    async def open(self, target: str, *headers: str, **options: Any) -> RawSocket:
        """Any socket of the engine. Raises Refused, Dropped."""
        raw = await RawSocket.open(self.url, target, *headers, **options)
        self._sockets.append(raw)
        return raw

    async def worker(self, *, announced: bool = True, **fields: Any) -> Party:
        return await _greeted(SocketParty(self, await self.open("/")), announced, fields)

    async def refs(self, **data: Any) -> tuple[Ref, Ref]:
        """A fresh channel: the writer's ref and the reader's."""
        worker = await self.worker(announced=False)
        result = await worker.call("engine::channels::create", data)
        return result["writer"], result["reader"]

    async def end(self, ref: Ref, direction: str | None = None, **options: Any) -> RawSocket:
        """Open one end of a channel."""
        return await self.open(target_of(ref, direction), **options)

    async def wait(self, seconds: float) -> None:
        await self.settle()
        if self._move_clock is None:
            await asyncio.sleep(seconds)
        else:
            self._move_clock(seconds)

    async def settle(self) -> None:
        await asyncio.sleep(0.3 if self.is_foreign else 0.01)

    async def close(self) -> None:
        """Drop what is left."""
        for raw in self._sockets:
            raw.reset()
        for _ in range(3):  # transports close a turn of the loop later
            await asyncio.sleep(0)


def target_of(ref: Ref, direction: str | None = None) -> str:
    """Where an end is opened."""
    key = quote(ref["access_key"], safe="")
    return f"/ws/channels/{ref['channel_id']}?key={key}&dir={direction or ref['direction']}"


async def _greeted(party: Party, announced: bool, fields: dict[str, Any]) -> Party:
    greeting = await party.hear("workerregistered", worker_id=..., reattach_token=...)
    party.id, party.token = greeting["worker_id"], greeting["reattach_token"]
    if announced:
        await party.announce(**fields)
    return party

"""Conversations with an engine on sockets: workers that speak raw JSON, and raw ends of channels."""

from __future__ import annotations

import asyncio
import json
import os
from collections import deque
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tests.support.raw import BINARY, CLOSE, TEXT, Dropped, Frame, RawSocket, Refused
from tests.support.refs import target_of

if TYPE_CHECKING:
    from tests.support.clocked import Clock
    from tests.support.refs import Ref

__all__ = ("Party", "Stage")

FOREIGN_SECONDS = 0.3  # until somebody else's engine has certainly dealt with what was sent

_numbers = count(1)


class Party:
    """One worker of a conversation."""

    id = ""
    token = ""

    def __init__(self, stage: Stage, raw: RawSocket) -> None:
        self.stage = stage
        self.raw = raw
        self._kept: deque[Frame | None] = deque()  # what came and was not heard yet; None: the end

    async def say_raw(self, frame: str | bytes) -> None:
        """Send a frame: text or binary."""
        data = frame.encode() if isinstance(frame, str) else frame
        await self.raw.send(TEXT if isinstance(frame, str) else BINARY, data)

    async def next(self, within: float = 5.0) -> dict[str, Any]:
        """The next message."""
        frame = await self._next_frame(within)
        assert (frame.opcode, frame.fin, frame.rsv) == (TEXT, True, 0), frame
        message: dict[str, Any] = json.loads(frame.payload)
        return message

    async def _next_frame(self, within: float = 5.0) -> Frame:
        frame = self._kept.popleft() if self._kept else await self.raw.receive(within)
        if frame is None:
            raise Dropped
        return frame

    async def catch_up(self) -> None:
        """Wait until the engine has dealt with what was sent, and keep what it says meanwhile."""
        try:
            await self.say("ping")
            while True:
                frame = await self.raw.receive()
                if frame.opcode == TEXT and json.loads(frame.payload) == {"type": "pong"}:
                    return
                self._kept.append(frame)
                if frame.opcode == CLOSE:
                    return
        except Dropped:
            self._kept.append(None)

    async def leave(self) -> None:
        """Drop the connection without a Close frame, and wait until the engine has noticed."""
        self.stage.forget(self)
        self.raw.reset()
        await self.stage.settle()

    async def ended(self) -> str:
        """How the engine ends the connection: `close` without a code, or `drop`."""
        self.stage.forget(self)
        try:
            assert await self._next_frame() == Frame(CLOSE, b"")
        except Dropped:
            return "drop"
        await self.raw.send(CLOSE)
        await self.raw.receive_end()
        return "close"

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


class Stage:
    """An engine at a URL. Its clock can be moved where it is ours."""

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self.url = url
        self.is_foreign = clock is None  # somebody else's engine, or one whose time is everybody's
        self._clock = clock
        self._sockets: list[RawSocket] = []
        self._parties: list[Party] = []

    def name(self, stem: str) -> str:
        """A name that no other conversation uses."""
        return f"c{os.getpid()}x{next(_numbers)}::{stem}"

    async def open(self, target: str, *headers: str, **options: Any) -> RawSocket:
        """Any socket of the engine. Raises Refused, Dropped."""
        raw = await RawSocket.open(self.url, target, *headers, **options)
        self._sockets.append(raw)
        return raw

    async def worker(self, *, announced: bool = True, **fields: Any) -> Party:
        """A worker that has been greeted."""
        party = Party(self, await self.open("/"))
        greeting = await party.hear("workerregistered", worker_id=..., reattach_token=...)
        party.id, party.token = greeting["worker_id"], greeting["reattach_token"]
        self._parties.append(party)
        if announced:
            await party.announce(**fields)
        return party

    def forget(self, party: Party) -> None:
        """It leaves: nothing is to be heard of it any more."""
        with suppress(ValueError):
            self._parties.remove(party)

    async def refs(self, **data: Any) -> tuple[Ref, Ref]:
        """A fresh channel: the writer's ref and the reader's."""
        worker = await self.worker(announced=False)
        result = await worker.call("engine::channels::create", data)
        return result["writer"], result["reader"]

    async def end(self, ref: Ref, direction: str | None = None, **options: Any) -> RawSocket:
        """Open one end of a channel."""
        return await self.open(target_of(ref, direction), **options)

    async def wait(self, seconds: float) -> None:
        """Time passes."""
        await self.settle()
        if self._clock is None:
            await asyncio.sleep(seconds)
        else:
            await asyncio.to_thread(self._clock.move, seconds)
        await self.settle()

    async def settle(self) -> None:
        """What was sent has been dealt with."""
        await self._poke()
        for party in list(self._parties):
            await party.catch_up()
        await self._poke()
        if self.is_foreign:
            await asyncio.sleep(FOREIGN_SECONDS)

    async def _poke(self) -> None:
        """A connection and an answer: the engine has looked at all of its sockets, and at its clock."""
        with suppress(Refused):
            await self.open("/nope")

    async def close(self) -> None:
        """Drop what is left."""
        for raw in self._sockets:
            raw.reset()
        for _ in range(3):  # transports close a turn of the loop later
            await asyncio.sleep(0)

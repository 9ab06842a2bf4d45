"""Every row of the two tables of a channel's ends, and every row that is not there, over real sockets."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from itertools import product
from typing import TYPE_CHECKING

import anyio
import pytest

from iii_cli.client.channels import (
    READER_TABLE,
    WRITER_TABLE,
    ChannelReader,
    ChannelWriter,
    ReaderState,
    ReaderStep,
    WriterState,
    WriterStep,
)
from iii_cli.errors import Failure
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.seal import Sealer
from iii_cli.protocol.verifier import Verifier
from tests.client.fake_engine import REF, close_without_code, fake_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from iii_cli.net.websocket import WebSocket

STREAM = "0" * 32
THEIRS = {WriterStep.ECHO, WriterStep.REFUSE, WriterStep.LOSE}
SOON = 0.05  # seconds of a writer's silence, and for what must not happen


async def until(condition: object) -> None:
    """Wait for what a callable says."""
    assert callable(condition)
    with anyio.fail_after(5):
        while not condition():
            await anyio.sleep(0.001)


class Engine:
    """The other side of a writer: it does a step when it is told to. A probe finds the end in use."""

    def __init__(self) -> None:
        self.step: WriterStep | None = None
        self.goodbye: bytes | None = None
        self._told = anyio.Event()

    def do(self, step: WriterStep) -> None:
        self.step = step
        self._told.set()

    async def __call__(self, ws: WebSocket) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._listen, ws)
            await self._told.wait()
            if self.step is WriterStep.ECHO:
                await ws.send(Opcode.CLOSE, self.goodbye or b"\x03\xe8unasked")
            elif self.step is WriterStep.REFUSE:
                await ws.send(Opcode.CLOSE, b"")
            tasks.cancel_scope.cancel()

    async def _listen(self, ws: WebSocket) -> None:
        with suppress(Exception):
            while True:
                for opcode, payload, _ in await ws.receive():
                    if opcode == Opcode.CLOSE:
                        self.goodbye = bytes(payload)


@asynccontextmanager
async def a_writer(state: WriterState) -> AsyncIterator[tuple[ChannelWriter, Engine]]:
    """A writer that is in this state, with an eye on its connection."""
    engine = Engine()

    async def quietly(*acts: object) -> None:
        for act in acts:
            assert callable(act)
            with suppress(Failure, anyio.ClosedResourceError):
                await act()

    async with fake_engine(engine, close_without_code) as fake, anyio.create_task_group() as tasks:
        writer = ChannelWriter(fake, REF, Sealer(STREAM))
        if state is WriterState.ENDED:
            await writer.abort(1, "enough")
        elif state is not WriterState.NEW:
            await writer.open()
            tasks.start_soon(quietly, writer.attend)
        if state is WriterState.BROKEN:
            engine.do(WriterStep.REFUSE)
        if state is WriterState.CLOSING:
            tasks.start_soon(quietly, writer.finish)
            await until(lambda: engine.goodbye)
        await until(lambda: writer.state is state)
        yield writer, engine
        tasks.cancel_scope.cancel()
    await writer.abort(1, "enough")


@pytest.mark.parametrize(("state", "step"), list(product(WriterState, WriterStep)))
async def test_a_writer(state: WriterState, step: WriterStep) -> None:
    after = WRITER_TABLE.get((state, step))
    async with a_writer(state) as (writer, engine):
        if step in THEIRS:
            engine.do(step)
            if state is WriterState.OPEN and step is WriterStep.ECHO:
                after = WriterState.BROKEN  # a Close that is no echo, whatever it says
            await until(lambda: writer.state is (after or state))
            await anyio.sleep(0)
            assert writer.state is (after or state)
            return
        if step is WriterStep.ABORT:
            await writer.abort(1, "enough")
            assert writer.state is after
            return
        if step is WriterStep.CONNECT and state not in (WriterState.NEW, WriterState.ENDED):
            await writer.open()  # it is idempotent
            assert writer.state is state
            return
        async with anyio.create_task_group() as tasks:
            act = {WriterStep.SEND: lambda: writer.push(b"x"), WriterStep.FINISH: writer.finish}
            if state is WriterState.NEW or after is not None:
                tasks.start_soon(act.get(step, writer.open))
                connected = WRITER_TABLE[WriterState.OPEN, step] if step in act else WriterState.OPEN
                await until(lambda: writer.state is (after or connected))  # from NEW it connects first
            else:
                with pytest.raises((anyio.ClosedResourceError, Failure)) as refused:
                    await act.get(step, writer.open)()
                assert isinstance(refused.value, Failure) == (state is WriterState.BROKEN)
                assert writer.state is state
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def a_reader(state: ReaderState, step: ReaderStep) -> AsyncIterator[ChannelReader]:
    """A reader that is in this state; what its engine does is the step."""
    seal = Sealer(STREAM)
    opening = seal.open_frame()

    async def engine(ws: WebSocket) -> None:
        if state is ReaderState.ENDED:
            await ws.send(Opcode.CLOSE, b"")
            return
        await ws.send(Opcode.TEXT, opening)
        if step is ReaderStep.RECEIVE:
            await ws.send(Opcode.BINARY, b"data")
        elif step is ReaderStep.FINISH:
            await ws.send(Opcode.TEXT, seal.close_frame())
        elif step is ReaderStep.CLOSE:
            await ws.send(Opcode.CLOSE, b"")
        if step is not ReaderStep.LOSE:
            await anyio.sleep_forever()

    async with fake_engine(engine, close_without_code) as fake:
        reader = ChannelReader(fake, REF, Verifier(), peer_timeout=SOON)
        if state in (ReaderState.OPEN, ReaderState.ENDED):
            await reader.open()
        if state is ReaderState.ENDED:
            assert await reader.pull() == []
        if state is ReaderState.LEFT:
            reader.leave()
        assert reader.state is state
        yield reader
        await reader.aclose()


@pytest.mark.parametrize(("state", "step"), list(product(ReaderState, ReaderStep)))
async def test_a_reader(state: ReaderState, step: ReaderStep) -> None:
    after = READER_TABLE.get((state, step))
    async with a_reader(state, step) as reader:
        with anyio.fail_after(5):
            if step is ReaderStep.LEAVE:
                reader.leave()
                assert reader.state is after
                return
            if step is ReaderStep.CONNECT:
                if state is ReaderState.LEFT:
                    with pytest.raises(anyio.ClosedResourceError):
                        await reader.open()
                else:
                    await reader.open()  # it is idempotent
                assert reader.state is (after or state)
                return
            if state is ReaderState.LEFT:
                with pytest.raises(anyio.ClosedResourceError):
                    await reader.pull()
            else:
                # From NEW it connects first; after the end there is nothing more.
                events = await reader.pull()
                assert bool(events) == (step is ReaderStep.RECEIVE and state is not ReaderState.ENDED)
                if state is ReaderState.NEW:
                    after = READER_TABLE[ReaderState.OPEN, step]
            assert reader.state is (after or state)


async def test_a_connection_that_is_dropped_under_a_waiting_reader() -> None:
    async with a_reader(ReaderState.OPEN, ReaderStep.CONNECT) as reader, anyio.create_task_group() as tasks:
        tasks.start_soon(reader.pull)
        await until(lambda: reader.opened)
        reader.leave()
        with suppress(anyio.ClosedResourceError):
            await reader.pull()
        assert reader.state is ReaderState.LEFT

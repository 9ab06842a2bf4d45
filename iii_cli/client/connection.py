"""One connection to an engine: send, receive, and the calls in flight."""

from __future__ import annotations

import os
import platform
import socket
from collections import deque
from contextlib import asynccontextmanager
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, final

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.lowlevel import checkpoint
from msgspec import Struct

from iii_cli.client.call import encoded, messages_in, new_uuid, read_created
from iii_cli.errors import (
    EngineUnreachable,
    Failure,
    FunctionForbidden,
    NameTaken,
    NotAuthorised,
    PeerMisbehaved,
    TimedOut,
    sole_cause,
)
from iii_cli.limits import limit
from iii_cli.net.dialing import ConnectionLost
from iii_cli.net.websocket import open_websocket
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.messages import (
    InvocationResult,
    InvokeFunction,
    Ping,
    Pong,
    Reattach,
    RegistrationRejected,
    WorkerRegistered,
    encode,
    failure_of,
    result_of,
)
from iii_cli.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from anyio.abc import TaskStatus

    from iii_cli.net.websocket import WebSocket
    from iii_cli.protocol.frames import Event
    from iii_cli.protocol.messages import Message
    from iii_cli.protocol.refs import ChannelRef, Endpoint

__all__ = ("DEAD_SECONDS", "PING_SECONDS", "Connection", "Identity", "open_connection", "unique_name")

PING_SECONDS = limit("ping", 20.0)  # how often we ask whether the engine is there; the SDKs' figure
DEAD_SECONDS = limit("dead", 60.0)  # without any frame from it: three pings unanswered
UNSENT_BYTES = 64 << 10  # that messages may wait for company
CREATE_SECONDS = 30.0  # the engine creates a channel by itself, in milliseconds


class Identity(Struct, frozen=True):
    """Who we say we are. `namespace` None is the engine's `default`."""

    name: str
    namespace: str | None = None
    description: str | None = None

    def announcement(self) -> dict[str, Any]:
        """The payload of `engine::workers::register`. Without a pid the engine would hide us."""
        payload = {
            "runtime": "python",
            "version": __version__,
            "name": self.name,
            "os": f"{platform.system()} {platform.release()} ({platform.machine()})",
            "pid": os.getpid(),
        }
        optional = {"namespace": self.namespace, "description": self.description}
        return payload | {key: value for key, value in optional.items() if value is not None}


def unique_name() -> str:
    """A worker name that no other process and no other connection has. Never `iii-cli:…`."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(2).hex()}"


class _Waiter:
    """A call in flight."""

    __slots__ = ("done", "outcome")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.outcome: InvocationResult | Failure | None = None


@final
class Connection:
    """One connection. Run `attend` beside everything else: it receives. Any task may send and call.

    What is in flight when the connection is lost fails with it, and so does every later call. Answers that
    belong to no `call` go to `on_answer`.
    """

    def __init__(self, endpoint: Endpoint, ws: WebSocket) -> None:
        """Use `open`."""
        self.worker_id: str | None = None
        self.reattach_token: str | None = None
        self.lost: Failure | None = None  # why it ended
        self.on_answer: Callable[[InvocationResult], object] = lambda answer: None
        self._endpoint = endpoint
        self._ws = ws
        self._unread: Iterator[Message] = iter(())  # came together with the answer to the announcement
        self._calls: dict[str, _Waiter] = {}
        self._pings: deque[anyio.Event] = deque()  # of `ping`, in the order of their answers
        self._owed: dict[Opcode, bytes] = {}  # answers to pings; one of a kind says as much as many
        self._owing = anyio.Event()
        self._heard_at = 0.0

    @classmethod
    async def open(
        cls,
        endpoint: Endpoint,
        identity: Identity | None = None,
        *,
        previous: Connection | None = None,
    ) -> Connection:
        """Dial, take over from the `previous` connection, announce ourselves, and wait for the answer.

        Without an identity nothing is announced and nothing awaited: who only calls needs no name.
        The endpoint's `connect_timeout` bounds the answer too. Raises EngineUnreachable, NotAuthorised,
        NameTaken, FunctionFailed, LocalProblem.
        """
        ws = await open_websocket(endpoint, endpoint.address.worker_target(), what="engine")
        connection = cls(endpoint, ws)
        if identity is None:
            return connection
        patience = DEAD_SECONDS if endpoint.connect_timeout is None else endpoint.connect_timeout
        try:
            with anyio.move_on_after(patience):
                await connection._announce(identity, previous)
                return connection
            raise EngineUnreachable(f"{endpoint.address.url} did not take our announcement in time")
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Drop the connection; the engine forgets what was not answered. Never waits."""
        self._ws.close()

    @property
    def is_full(self) -> bool:
        """Is so much queued that it should be flushed before more is posted?"""
        return self._ws.unsent_bytes > UNSENT_BYTES

    @property
    def in_flight(self) -> int:
        """Calls without an answer yet."""
        return len(self._calls)

    async def attend(
        self,
        handle: Callable[[Message], Awaitable[None]] | None = None,
        *,
        task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
    ) -> None:
        """Receive until the connection is lost, or this is cancelled; `lost` says why.

        Answers go to their calls, pings are answered, what else there is goes to `handle`. The engine is
        asked every 20 s whether it is there, and lost after 60 s without any frame.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keep_alive)
                task_status.started()
                while True:
                    for message in self._unread:
                        if isinstance(message, InvocationResult):
                            self._settle(message)
                        elif handle is not None:
                            await handle(message)
                    self._unread = await self._receive()
        except* Failure as failures:
            failure = sole_cause(failures)
            assert isinstance(failure, Failure)
            self._end(failure)
        finally:
            self._end(EngineUnreachable("the connection was closed"))

    def post(self, message: Message) -> None:
        """Queue one message for `flush`; it may go out before. Never waits.

        Raises what ended the connection; FunctionFailed `payload_too_large` for a message that the engine
        would not read.
        """
        if self.lost is not None:
            raise copy(self.lost)  # several tasks raise it
        if self._ws.socket.trail is not None:
            self._ws.socket.trail.message(message)
        self._ws.post(Opcode.TEXT, encoded(message))

    async def flush(self) -> None:
        """Send what is queued. Cancelled, it may still go out, whole. Raises EngineUnreachable."""
        try:
            await self._ws.flush()
        except ConnectionLost as lost:
            raise self._lost(lost.reason) from None

    async def send(self, message: Message) -> None:
        """Send one message. Waits for room, and a moment for the messages of other tasks.

        Cancelled, the message may still go out, whole. Raises as `post` and `flush`.
        """
        if self.is_full:
            await self.flush()
        self.post(message)
        await checkpoint()  # tasks that have something to send too share the system call
        await self.flush()

    async def exchange(self, request: InvokeFunction) -> Any:
        """Send a call and wait for its result; without an invocation id there is none.

        Cancelled, the function goes on and its result is dropped. Raises FunctionFailed, PeerMisbehaved for
        an answer that cannot be read, and as `send`.
        """
        if request.invocation_id is None:
            await self.send(request)
            return None
        waiter = self._calls[request.invocation_id] = _Waiter()
        try:
            await self.send(request)
            await waiter.done.wait()
        finally:
            del self._calls[request.invocation_id]
        outcome = waiter.outcome
        assert outcome is not None
        if isinstance(outcome, InvocationResult):
            return result_of(outcome)
        raise copy(outcome)  # several tasks raise it

    async def call(
        self,
        function_id: str,
        data: Any,
        *,
        namespace: str | None = None,
        metadata: Any = None,
        traceparent: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the limit of one call, told by its name
    ) -> Any:
        """Call a function and return its result. `timeout` in seconds; None: no limit.

        Cancelled, the function goes on and its result is dropped. Raises FunctionFailed, TimedOut,
        EngineUnreachable, NotAuthorised; TypeError and ValueError for data that is not JSON.
        """
        request = InvokeFunction.of(
            function_id,
            data,
            invocation_id=new_uuid(),
            namespace=namespace,
            metadata=metadata,
            traceparent=traceparent,
        )
        with anyio.move_on_after(timeout):
            return await self.exchange(request)
        raise TimedOut(f"no answer from {function_id} within {timeout:g} s")

    async def ping(self) -> None:
        """Wait until the engine has read everything that was sent before, and we its answers to that.

        The engine applies the messages of a connection in order. Raises as `send`.
        """
        if self.is_full:
            await self.flush()
        answered = anyio.Event()
        self.post(Ping())
        self._pings.append(answered)  # nothing between them can be cancelled: answers come in order
        await self.flush()
        await answered.wait()
        if self.lost is not None:
            raise copy(self.lost)

    async def create_channel(
        self, buffer_size: int | None = None, *, traceparent: str | None = None
    ) -> tuple[ChannelRef, ChannelRef]:
        """A new channel's writer and reader ref (docs: protocol, "Channels").

        Raises as `call`, PeerMisbehaved.
        """
        data = {} if buffer_size is None else {"buffer_size": buffer_size}
        created = await self.call(
            "engine::channels::create", data, traceparent=traceparent, timeout=CREATE_SECONDS
        )
        return read_created(created)

    # inside

    async def _announce(self, identity: Identity, previous: Connection | None) -> None:
        """With an invocation id, so that its answer says from when on functions are ours."""
        invocation_id = new_uuid()
        if previous is not None and previous.worker_id is not None:
            await self.send(Reattach(previous.worker_id, previous.reattach_token))
        await self.send(
            InvokeFunction.of(
                "engine::workers::register",
                identity.announcement(),
                invocation_id=invocation_id,
                namespace="default",
            )
        )
        while True:
            for message in self._unread:
                if isinstance(message, RegistrationRejected) and message.worker_name is not None:
                    raise NameTaken(
                        f"the worker name {message.worker_name} is taken in namespace {message.namespace} "
                        f"by worker {message.owner_worker_id}"
                    )
                if isinstance(message, InvocationResult) and message.invocation_id == invocation_id:
                    failure = None if message.error is None else failure_of(message.error)
                    if isinstance(failure, FunctionForbidden):
                        raise NotAuthorised(
                            f"{self._endpoint.address.url} refused us: {failure.remote_message}"
                        )
                    if failure is not None:
                        raise failure
                    return
            self._unread = await self._receive()

    async def _keep_alive(self) -> None:
        """Ask the engine whether it is there, answer when it asks, and notice its silence
        (docs: protocol, "Keepalive").

        In a task of its own: a receiver that waits to send may wait for an engine that waits for it.
        """
        self._heard_at = anyio.current_time()
        unsent_seen = 0
        while True:
            with anyio.move_on_after(PING_SECONDS):
                await self._owing.wait()
            silent = anyio.current_time() - self._heard_at >= DEAD_SECONDS
            unsent = self._ws.unsent_bytes
            if silent and unsent in (0, unsent_seen):
                raise self._lost(f"no sign of life for {DEAD_SECONDS:g} s")
            if silent:
                self._heard_at = anyio.current_time()  # a long message goes out slowly: that is life, too
                unsent_seen = unsent
            owed = self._owed or ({} if unsent else {Opcode.PING: b""})
            self._owed, self._owing = {}, anyio.Event()
            for opcode, payload in owed.items():
                self._ws.post(opcode, payload)
            with anyio.move_on_after(PING_SECONDS):
                await self.flush()

    async def _receive(self) -> Iterator[Message]:
        """What came next, which may be no message."""
        try:
            events = await self._ws.receive()
        except ConnectionLost as lost:
            raise self._lost(lost.reason) from None
        except PeerMisbehaved as fault:
            raise self._lost(fault.message) from None
        self._heard_at = anyio.current_time()
        return self._read(events)

    def _read(self, events: list[Event]) -> Iterator[Message]:
        """The messages, but for those that are about the connection itself."""
        try:
            for message in messages_in(events, self._endpoint, partial(self._owe, Opcode.PONG)):
                match message:
                    case WorkerRegistered():
                        self.worker_id, self.reattach_token = message.worker_id, message.reattach_token
                    case Ping():
                        self._owe(Opcode.TEXT, encode(Pong()))
                    case Pong():
                        if self._pings:
                            self._pings.popleft().set()
                    case _:
                        yield message
        except ConnectionLost as lost:
            raise self._lost(lost.reason) from None
        except PeerMisbehaved as fault:
            raise self._lost(fault.message) from None

    def _owe(self, opcode: Opcode, payload: bytes) -> None:
        self._owed[opcode] = payload
        self._owing.set()

    def _settle(self, answer: InvocationResult) -> None:
        waiter = self._calls.get(answer.invocation_id)
        if waiter is None:
            self.on_answer(answer)
        else:
            waiter.outcome = answer
            waiter.done.set()

    def _lost(self, reason: str) -> EngineUnreachable:
        self.close()  # so that the receiver hears of it
        return EngineUnreachable(f"the engine at {self._endpoint.address.url} was lost ({reason})")

    def _end(self, failure: Failure) -> None:
        """The connection is gone, and with it every answer."""
        if self.lost is not None:
            return
        self.lost = failure
        self.close()
        for waiter in self._calls.values():
            if waiter.outcome is None:
                waiter.outcome = failure
                waiter.done.set()
        for answered in self._pings:
            answered.set()


@asynccontextmanager
async def open_connection(endpoint: Endpoint) -> AsyncIterator[Connection]:
    """A connection whose answers still come while the body, cancelled, cleans up.

    Raises as `Connection.open`.
    """
    connection = await Connection.open(endpoint)
    scope = anyio.CancelScope(shield=True)

    async def attend() -> None:
        with scope:
            await connection.attend()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(attend)
            try:
                yield connection
            finally:
                scope.cancel()
    finally:
        connection.close()

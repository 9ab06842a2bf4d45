"""One connection to an engine: send, receive, and the calls in flight."""

from __future__ import annotations

import inspect
import os
import platform
import socket
from collections import deque
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, final

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.lowlevel import checkpoint
from msgspec import Struct

from iii_cli.client.call import encoded, new_uuid, read_created
from iii_cli.errors import (
    EngineUnreachable,
    Failure,
    FunctionForbidden,
    NameTaken,
    NotAuthorised,
    PeerMisbehaved,
    TimedOut,
)
from iii_cli.net.dialing import ConnectionLost
from iii_cli.net.websocket import open_websocket
from iii_cli.protocol.frames import Opcode
from iii_cli.protocol.messages import (
    ErrorMessage,
    InvocationResult,
    InvokeFunction,
    Ping,
    Pong,
    Reattach,
    RegistrationRejected,
    WorkerRegistered,
    encode,
    failure_of,
    read_message,
    result_of,
)
from iii_cli.version import __version__

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from anyio.abc import TaskStatus

    from iii_cli.net.websocket import WebSocket
    from iii_cli.protocol.messages import Message
    from iii_cli.protocol.refs import ChannelRef, Endpoint

__all__ = (
    "CALLER_KEY",
    "DEAD_SECONDS",
    "PING_SECONDS",
    "Call",
    "Caller",
    "Calls",
    "Functions",
    "Handler",
    "Identity",
    "Link",
    "Registration",
    "open_caller",
    "split_caller",
    "unique_name",
)


if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from iii_cli.protocol.messages import RegisterFunction

    Handler: TypeAlias = Callable[..., Awaitable[Any]]


CALLER_KEY = "_caller_worker_id"  # the engine puts it into every payload that is an object (protocol.md 2.3)


class Call(Struct, frozen=True):
    """What a handler may know of a call beside its payload."""

    function_id: str
    invocation_id: str | None  # None: nobody hears the result
    caller_worker_id: str | None
    metadata: Any = None
    traceparent: str | None = None
    baggage: str | None = None


@dataclass(slots=True)
class Registration:
    """A function of ours. `taken`: another worker of the namespace has the name."""

    message: RegisterFunction
    handler: Handler
    wants_call: bool
    live: bool = True
    keep_ends: bool = False
    taken: NameTaken | None = None


class Functions:
    """The functions of one worker, by id."""

    def __init__(self) -> None:
        self._registered: dict[str, Registration] = {}

    def __iter__(self) -> Any:
        return iter(list(self._registered.values()))

    def get(self, function_id: str) -> Registration | None:
        """The function that answers to `function_id`."""
        return self._registered.get(function_id)

    def add(
        self, message: RegisterFunction, handler: Handler, *, live: bool, keep_ends: bool
    ) -> Registration:
        """Keep a function. Raises ValueError for an id that is empty or already ours."""
        if not message.id.strip():
            raise ValueError("a function needs an id")
        if message.id in self._registered:
            raise ValueError(f"{message.id} is registered already")
        registration = Registration(message, handler, _takes_two(handler), live, keep_ends)
        self._registered[message.id] = registration
        return registration

    def remove(self, function_id: str) -> bool:
        """Forget a function. False: there was none."""
        return self._registered.pop(function_id, None) is not None

    def rejected(self, message: RegistrationRejected) -> NameTaken:
        """The engine gave the name to another worker (protocol.md 2.6)."""
        name = message.function_id or ""
        if message.owner_worker_id:
            reason = f"is taken in namespace {message.namespace} by worker {message.owner_worker_id}"
        else:
            reason = f"may not be registered in namespace {message.namespace}"
        failure = NameTaken(f"the function {name} {reason}")
        registration = self._registered.get(name)
        if registration is not None:
            registration.taken = failure
        return failure

    def forget_rejections(self) -> None:
        """A new connection, a new chance."""
        for registration in self._registered.values():
            registration.taken = None

    def first_rejection(self) -> NameTaken | None:
        """Why one of the functions is not callable; None where all are."""
        return next((entry.taken for entry in self._registered.values() if entry.taken), None)


@dataclass(slots=True)
class _Waiter:
    settled: anyio.Event = field(default_factory=anyio.Event)
    answer: InvocationResult | None = None
    failure: Failure | None = None


class Calls:
    """The calls of ours that are in flight on one connection."""

    def __init__(self) -> None:
        self._waiting: dict[str, _Waiter] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, invocation_id: str) -> None:
        """Before the call is sent. Every `begin` has an `end`."""
        self._waiting[invocation_id] = _Waiter()

    def end(self, invocation_id: str) -> None:
        """Nobody waits for it any more; an answer that comes later is dropped."""
        self._waiting.pop(invocation_id, None)

    def settle(self, message: InvocationResult) -> bool:
        """An answer came. False: nobody waits for it."""
        waiter = self._waiting.get(message.invocation_id)
        if waiter is None:
            return False
        waiter.answer = message
        waiter.settled.set()
        return True

    def fail_all(self, failure: Failure) -> None:
        """The connection is gone, and with it every answer."""
        for waiter in self._waiting.values():
            if waiter.answer is None:
                waiter.failure = failure
                waiter.settled.set()

    async def outcome(self, invocation_id: str) -> Any:
        """Wait for the answer. Raises FunctionFailed, or what `fail_all` was given."""
        waiter = self._waiting[invocation_id]
        await waiter.settled.wait()
        if waiter.failure is not None:
            raise copy(waiter.failure)  # several tasks raise it
        assert waiter.answer is not None
        return result_of(waiter.answer)


def split_caller(data: Any) -> tuple[Any, str | None]:
    """A payload as the caller sent it, and who that was."""
    if isinstance(data, dict) and isinstance(data.get(CALLER_KEY), str):
        rest = {key: value for key, value in data.items() if key != CALLER_KEY}
        return rest, data[CALLER_KEY]
    return data, None


def _takes_two(handler: Handler) -> bool:
    """Does the handler want the Call beside the payload? Raises TypeError for what cannot be one."""
    try:
        signature = inspect.signature(handler)
    except ValueError:  # written in C, without a signature
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = [p for p in signature.parameters.values() if p.kind in kinds and p.default is p.empty]
    if len(required) > 2:
        raise TypeError("a handler takes the payload, or the payload and the Call")
    return len(required) == 2


PING_SECONDS = 20.0  # how often we ask whether the engine is there; the SDKs' figure (protocol.md 1.5)
UNSENT_BYTES = 64 << 10  # that messages may wait for company
DEAD_SECONDS = 60.0  # without any frame from it: three pings unanswered


def unique_name() -> str:
    """A worker name that no other process and no other connection has. Never `iii-cli:…`."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(2).hex()}"


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


@final
class Link:
    """An announced connection. Run `attend()` beside everything else; one task receives, many may send."""

    def __init__(self, endpoint: Endpoint, ws: WebSocket, *, ping_every: float, dead_after: float) -> None:
        """Use `open`."""
        self.worker_id: str | None = None
        self.reattach_token: str | None = None
        self._endpoint = endpoint
        self._ws = ws
        self._ping_every = ping_every
        self._dead_after = dead_after
        self._turn = anyio.Lock(fast_acquire=True)
        self._early: list[Message] = []  # came together with the answer to the announcement
        self._barriers: deque[anyio.Event] = deque()
        self._owed: Sequence[tuple[Opcode, bytes]] = ()
        self._owing = anyio.Event()
        self._unsent_seen = 0

    @classmethod
    async def open(
        cls,
        endpoint: Endpoint,
        identity: Identity | None,
        *,
        previous: Link | None = None,
        ping_every: float = PING_SECONDS,
        dead_after: float = DEAD_SECONDS,
    ) -> Link:
        """Dial, take over from the `previous` connection, announce ourselves, and wait for the answer.

        Without an identity nothing is announced and nothing awaited: who only calls needs no name.
        The endpoint's `connect_timeout` bounds the answer too. Raises EngineUnreachable, NotAuthorised,
        NameTaken, FunctionFailed.
        """
        ws = await open_websocket(endpoint, endpoint.address.worker_target(), what="engine")
        link = cls(endpoint, ws, ping_every=ping_every, dead_after=dead_after)
        if identity is None:
            return link
        try:
            with anyio.move_on_after(endpoint.connect_timeout):
                await link._announce(identity, previous)
                return link
            raise EngineUnreachable(f"{endpoint.address.url} did not take our announcement in time")
        except BaseException:
            ws.socket.close()
            raise

    def close(self) -> None:
        """Drop the connection. Never waits; a clean Close would tell the engine nothing more."""
        self._ws.socket.close()

    async def send(self, message: Message) -> None:
        """Send one message. Waits for room, and a moment for the messages of other tasks.

        Cancelled, the message may still go out, whole. Raises EngineUnreachable when the connection is lost;
        ValueError and TypeError for what is not JSON; FunctionFailed `payload_too_large` for a message that
        the engine would not read.
        """
        if self._ws.socket.trail is not None:
            self._ws.socket.trail.message(message)
        await self._send((Opcode.TEXT, encoded(message)))

    async def receive(self) -> list[Message]:
        """The next messages. Pings are answered, what is not a message is ignored.

        Raises EngineUnreachable when the connection is lost, or silent for 60 s; NotAuthorised when the
        engine throws us out.
        """
        if self._early:
            early, self._early = self._early, []
            return early
        while True:
            messages = self._read(await self._events())
            if messages:
                return messages
            await checkpoint()  # nothing but pings, and perhaps without end: others have their turn

    async def barrier(self) -> None:
        """Wait until the engine has read everything that was sent before, and we its answers to that.

        The engine applies the messages of a connection in order (protocol.md 1.4). Raises EngineUnreachable.
        """
        passed = anyio.Event()
        self._barriers.append(passed)
        await self.send(Ping())
        await passed.wait()
        if self._ws.socket.closed:
            raise self._lost("the connection was closed")

    async def attend(self) -> None:
        """Ask the engine every 20 s whether it is there, and answer when it asks, until the end."""
        while not self._ws.socket.closed:
            with anyio.move_on_after(self._ping_every) as pause:
                await self._owing.wait()
            owed: Sequence[tuple[Opcode, bytes]] = ((Opcode.PING, b""),)
            if not pause.cancelled_caught:
                owed, self._owed, self._owing = self._owed, (), anyio.Event()
            try:
                await self._send(*owed)
            except EngineUnreachable:
                return  # `receive` sees the same, and says so

    # inside

    async def _announce(self, identity: Identity, previous: Link | None) -> None:
        """1.4: with an invocation id, so that its answer says from when on functions are ours."""
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
            messages = self._read(await self._events())
            for at, message in enumerate(messages):
                if isinstance(message, RegistrationRejected) and message.worker_name is not None:
                    raise NameTaken(
                        f"the worker name {message.worker_name} is taken in namespace {message.namespace} "
                        f"by worker {message.owner_worker_id}"
                    )
                if isinstance(message, InvocationResult) and message.invocation_id == invocation_id:
                    self._check_announced(message)
                    self._early += messages[at + 1 :]
                    return
            await checkpoint()

    def _check_announced(self, message: InvocationResult) -> None:
        if message.error is None:
            return
        failure = failure_of(message.error)
        if isinstance(failure, FunctionForbidden):
            raise NotAuthorised(f"{self._endpoint.address.url} refused us: {failure.remote_message}")
        raise failure

    async def _events(self) -> list[Any]:
        while True:
            with anyio.move_on_after(self._dead_after):
                try:
                    return list(await self._ws.receive())
                except ConnectionLost as lost:
                    raise self._lost(lost.reason) from None
                except PeerMisbehaved as fault:
                    raise self._lost(fault.message) from None
            unsent = self._ws.unsent_bytes
            if not unsent or unsent == self._unsent_seen:
                raise self._lost(f"no sign of life for {self._dead_after:g} s")
            self._unsent_seen = unsent  # a long message goes out slowly: that is life, too

    def _read(self, events: list[Any]) -> list[Message]:
        messages: list[Message] = []
        for opcode, payload, _ in events:
            if opcode == Opcode.PING:
                self._owe(Opcode.PONG, bytes(payload))
            elif opcode == Opcode.CLOSE:
                raise self._lost("the engine closed the connection")
            elif opcode in (Opcode.TEXT, Opcode.BINARY):
                message = read_message(bytes(payload))
                if message is not None:
                    self._take(message, messages)
        return messages

    def _take(self, message: Message, messages: list[Message]) -> None:
        match message:
            case WorkerRegistered():
                self.worker_id, self.reattach_token = message.worker_id, message.reattach_token
            case Ping():
                self._owe(Opcode.TEXT, encode(Pong()))
            case Pong():
                if self._barriers:
                    self._barriers.popleft().set()
            case ErrorMessage():
                raise NotAuthorised(
                    f"{self._endpoint.address.url} refused us: {message.error.message}",
                    hint="set III_TOKEN or --token-file",
                )
            case _:
                messages.append(message)

    def _owe(self, opcode: Opcode, payload: bytes) -> None:
        """Answer in `attend`: a receiver that waits to send may wait for an engine that waits for it.

        One answer says as much as many.
        """
        self._owed = (*(pair for pair in self._owed if pair[0] != opcode), (opcode, payload))
        self._owing.set()

    async def _send(self, *frames: tuple[Opcode, bytes]) -> None:
        try:
            async with self._turn:
                if self._ws.unsent_bytes > UNSENT_BYTES:
                    await self._ws.flush()
                for opcode, payload in frames:
                    self._ws.post(opcode, payload)
            await checkpoint()  # whoever has something to send too shares the system call
            await self._ws.flush()
        except ConnectionLost as lost:
            raise self._lost(lost.reason) from None

    def _lost(self, reason: str) -> EngineUnreachable:
        self._ws.socket.close()
        while self._barriers:
            self._barriers.popleft().set()
        return EngineUnreachable(f"the engine at {self._endpoint.address.url} was lost ({reason})")


CREATE_SECONDS = 30.0  # the engine answers it by itself, in milliseconds


@final
class Caller:
    """Use `open`, run `attend` beside the calls, `close` at the end."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._calls = Calls()
        self._lost: Failure | None = None
        self.answered: Callable[[InvocationResult], object] = self._calls.settle

    @classmethod
    async def open(cls, endpoint: Endpoint) -> Caller:
        """Connect. Raises EngineUnreachable, NotAuthorised, LocalProblem."""
        return cls(await Link.open(endpoint, None))

    def close(self) -> None:
        """Drop the connection; the engine forgets what was not answered. Never waits."""
        self._link.close()

    async def attend(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Receive answers and answer pings until the connection is lost, or this is cancelled.

        What is in flight when it is lost fails with it, and so does every later call. `answered` hears of
        each answer.
        """
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._link.attend)
            task_status.started()
            try:
                while True:
                    for message in await self._link.receive():
                        if isinstance(message, InvocationResult):
                            self.answered(message)
            except Failure as failure:
                self._lost = failure
                self._calls.fail_all(failure)
            tasks.cancel_scope.cancel()

    @property
    def lost(self) -> Failure | None:
        """Why the connection ended; None while it has not."""
        return self._lost

    async def send(self, request: InvokeFunction) -> None:
        """Send a call whose answer `answered` hears of. Raises what ended the connection, FunctionFailed."""
        if self._lost is not None:
            raise copy(self._lost)  # several tasks raise it
        await self._link.send(request)

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
        EngineUnreachable, NotAuthorised.
        """
        request = InvokeFunction.of(
            function_id,
            data,
            invocation_id=new_uuid(),
            namespace=namespace,
            metadata=metadata,
            traceparent=traceparent,
        )
        assert request.invocation_id is not None
        self._calls.begin(request.invocation_id)
        try:
            with anyio.move_on_after(timeout):
                await self.send(request)
                return await self._calls.outcome(request.invocation_id)
            raise TimedOut(f"no answer from {function_id} within {timeout:g} s")
        finally:
            self._calls.end(request.invocation_id)

    async def ping(self) -> None:
        """There and back to the engine, which has then read all that was sent before. Raises as `send`."""
        if self._lost is not None:
            raise copy(self._lost)
        await self._link.barrier()

    async def create_channel(
        self, buffer_size: int | None = None, *, traceparent: str | None = None
    ) -> tuple[ChannelRef, ChannelRef]:
        """A new channel's writer and reader ref (protocol.md 3.1). Raises as `call`, PeerMisbehaved."""
        data = {} if buffer_size is None else {"buffer_size": buffer_size}
        created = await self.call(
            "engine::channels::create", data, traceparent=traceparent, timeout=CREATE_SECONDS
        )
        return read_created(created)


@asynccontextmanager
async def open_caller(endpoint: Endpoint) -> AsyncIterator[Caller]:
    """A caller whose answers still come while the body, cancelled, cleans up. Raises as `Caller.open`."""
    caller = await Caller.open(endpoint)
    scope = anyio.CancelScope(shield=True)

    async def attend() -> None:
        with scope:
            await caller.attend()

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(attend)
            try:
                yield caller
            finally:
                scope.cancel()
    finally:
        caller.close()

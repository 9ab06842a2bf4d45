"""One connection of a worker to the engine, from the announcement to the loss (protocol.md 1.1 to 1.7)."""

from __future__ import annotations

import os
import platform
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, final

import anyio
from anyio.lowlevel import checkpoint

from iii_cli.client.call import encoded
from iii_cli.client.identity import new_uuid
from iii_cli.errors import (
    EngineUnreachable,
    FunctionForbidden,
    NameTaken,
    NotAuthorised,
    PeerMisbehaved,
)
from iii_cli.transport.dialing import ConnectionLost
from iii_cli.transport.websocket import open_websocket
from iii_cli.wire.frames import Opcode
from iii_cli.wire.messages import (
    ErrorMessage,
    InvocationResult,
    InvokeFunction,
    Ping,
    Pong,
    Reattach,
    RegistrationRejected,
    WorkerRegistered,
    encode,
)
from iii_cli.wire.unreadable import failure_of, read_message
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.transport.websocket import WebSocket
    from iii_cli.wire.address import Endpoint
    from iii_cli.wire.messages import Message

__all__ = ("DEAD_SECONDS", "PING_SECONDS", "Identity", "Link", "unique_name")

PING_SECONDS = 20.0  # how often we ask whether the engine is there; the SDKs' figure (protocol.md 1.5)
UNSENT_BYTES = 64 << 10  # that messages may wait for company
DEAD_SECONDS = 60.0  # without any frame from it: three pings unanswered


def unique_name() -> str:
    """A worker name that no other process and no other connection has. Never `iii-cli:…`."""
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(2).hex()}"


class Identity(Value):
    """Who we say we are. `namespace` None is the engine's `default`."""

    name: str
    version: str
    namespace: str | None = None
    description: str | None = None

    def announcement(self) -> dict[str, Any]:
        """The payload of `engine::workers::register`. Without a pid the engine would hide us."""
        payload = {
            "runtime": "python",
            "version": self.version,
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
            InvokeFunction(
                function_id="engine::workers::register",
                data=identity.announcement(),
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
                self._owe(Opcode.TEXT, encode(Pong()).encode())
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

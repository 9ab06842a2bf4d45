"""The connection of a worker, won back whenever it is lost.

Theory of operation. `run` is one loop: open a link, live on it until it is lost, open the next one. What
must outlive a link is kept here: the functions, which are announced on every new link before anything else is
sent. What must not is bound to it: calls of ours that are in flight fail with it, and handlers that run are
cancelled, because nobody can hear their result any more (the engine has told the callers
`invocation_stopped`, protocol.md 1.8).
"""

from __future__ import annotations

import random
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, final

import anyio
from anyio import TASK_STATUS_IGNORED

from iii_cli.client.link import DEAD_SECONDS, PING_SECONDS, Link
from iii_cli.client.session import Calls, Functions
from iii_cli.errors import EngineUnreachable, Failure
from iii_cli.wire.messages import InvocationResult, InvokeFunction, RegistrationRejected, UnregisterFunction
from iii_cli.wire.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup, TaskStatus

    from iii_cli.client.answering import Answering
    from iii_cli.client.link import Identity
    from iii_cli.wire.address import Endpoint
    from iii_cli.wire.messages import Message

__all__ = ("Connection", "Pace")


class Pace(Value):
    """How a connection is watched and won back, in seconds (protocol.md 1.5)."""

    ping_every: float = PING_SECONDS
    dead_after: float = DEAD_SECONDS
    retry_first: float = 1.0
    retry_max: float = 30.0
    jitter: float = 0.3  # a fraction: many workers must not come back at the same moment

    def pause(self, attempt: int) -> float:
        """How long to wait before the next attempt; the first is number 0."""
        pause = min(self.retry_first * 2.0 ** min(attempt, 30), self.retry_max)
        return pause * random.uniform(1 - self.jitter, 1 + self.jitter)


@final
class Connection:
    """Links to one engine, one after the other. `functions` is what they announce."""

    def __init__(
        self,
        endpoint: Endpoint,
        identity: Identity,
        functions: Functions,
        answering: Answering,
        *,
        reconnect: bool,
        on_lost: Callable[[Failure], None] | None,
        on_back: Callable[[], None] | None,
        pace: Pace,
    ) -> None:
        self.link: Link | None = None
        self.calls = Calls()
        self.made = 0  # how often a connection was made
        self.failure: Failure | None = None  # what ended it for good
        self._endpoint = endpoint
        self._identity = identity
        self._functions = functions
        self._answering = answering
        self._reconnect = reconnect
        self._on_lost = on_lost or (lambda failure: None)
        self._on_back = on_back or (lambda: None)
        self._pace = pace
        self._announced: set[str] = set()  # ids of the functions that the present link knows
        self._registering = anyio.Lock(fast_acquire=True)
        self._fresh = anyio.Event()  # a function was added
        self._changed = anyio.Event()  # connected, failed for good, or a function was refused

    def announce_soon(self) -> None:
        """A function was added."""
        self._fresh.set()

    async def withdraw(self, function_id: str) -> None:
        """A function was removed. Raises EngineUnreachable."""
        if function_id in self._announced and self.link is not None:
            self._announced.discard(function_id)
            await self.link.send(UnregisterFunction(function_id))

    async def ready(self) -> Link:
        """The present link, or the next one, once it knows every function so far.

        Raises EngineUnreachable where it is lost meanwhile, and what ended the connection for good.
        """
        while self.link is None:
            if self.failure is not None:
                raise self.failure
            await self._changed.wait()
        link = self.link
        await self._register(link)
        return link

    async def announce_again(self) -> None:
        """Give the functions that were refused another chance, and wait for the engine's word on all of them.

        Raises as `ready`.
        """
        for registration in self._functions:
            if registration.taken is not None:
                registration.taken = None
                self._announced.discard(registration.message.id)
        link = await self.ready()
        await link.barrier()

    async def trouble(self) -> Failure:
        """Wait until a function is refused, or the connection has failed for good."""
        while True:
            changed = self._changed
            failure = self.failure or self._functions.first_rejection()
            if failure is not None:
                return failure
            await changed.wait()

    async def exchange(self, link: Link, request: InvokeFunction) -> Any:
        """Send a call and wait for its answer; without an invocation id there is none.

        Raises FunctionFailed, EngineUnreachable.
        """
        if request.invocation_id is None:
            await link.send(request)
            return None
        self.calls.begin(request.invocation_id)
        try:
            await link.send(request)
            return await self.calls.outcome(request.invocation_id)
        finally:
            self.calls.end(request.invocation_id)

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Connect and stay connected until cancelled. `started` once announced.

        Raises what made the first connection fail.
        """
        link = await self._open(self._endpoint, None)
        async with anyio.create_task_group() as handlers:
            try:
                task_status.started()
                while True:
                    lost = await self._live(link, handlers)
                    if not self._reconnect:
                        self._fail(lost)
                        return
                    self._on_lost(lost)
                    link = await self._again(link, lost)
            finally:
                handlers.cancel_scope.cancel()

    async def _open(self, endpoint: Endpoint, previous: Link | None) -> Link:
        pace = self._pace
        link = await Link.open(
            endpoint,
            self._identity,
            previous=previous,
            ping_every=pace.ping_every,
            dead_after=pace.dead_after,
        )
        self.made += 1
        return link

    async def _again(self, previous: Link, lost: Failure) -> Link:
        """Win the connection back, however long it takes. A refusal may be over soon: the engine's auth
        function is a worker that has to come back, too.
        """
        attempt = 0
        while True:
            await anyio.sleep(self._pace.pause(attempt))
            attempt += 1
            try:
                return await self._open(self._endpoint.replace(wait_engine=None), previous)
            except Failure as failure:
                if type(failure) is not type(lost):
                    lost = failure
                    self._on_lost(failure)

    async def _live(self, link: Link, handlers: TaskGroup) -> Failure:
        """Serve one link until it is lost, and say how."""
        self.link, self._announced = link, set()
        self._functions.forget_rejections()
        self._note_change()
        lost: Failure = EngineUnreachable("the connection was closed")
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.attend)
                tasks.start_soon(partial(self._keep_registered, link, back=self.made > 1))
                try:
                    while True:
                        for message in await link.receive():
                            await self._dispatch(link, message, handlers)
                except Failure as failure:
                    lost = failure
                tasks.cancel_scope.cancel()
        finally:
            self.link = None
            self.calls.fail_all(lost)
            self._answering.stop()
            link.close()
        return lost

    async def _dispatch(self, link: Link, message: Message, handlers: TaskGroup) -> None:
        match message:
            case InvocationResult():
                self.calls.settle(message)
            case InvokeFunction():
                if self._answering.accept():
                    handlers.start_soon(self._answering.answer, link, message)
                else:
                    with anyio.move_on_after(self._pace.dead_after):
                        await self._answering.refuse(link, message)
            case RegistrationRejected() if message.function_id is not None:
                self._functions.rejected(message)
                self._note_change()
            case _:
                return

    async def _keep_registered(self, link: Link, *, back: bool) -> None:
        """Announce what is there and what is added; say that we are `back` when the engine has all of it."""
        with suppress(EngineUnreachable):  # `receive` sees the same, and says so
            if back:
                await self._register(link)
                await link.barrier()
                self._on_back()
            while True:
                fresh = self._fresh = anyio.Event()
                await self._register(link)
                await fresh.wait()

    async def _register(self, link: Link) -> None:
        """Announce the functions that the link does not know yet."""
        async with self._registering:
            if self.link is not link:
                return
            for registration in self._functions:
                if registration.message.id not in self._announced:
                    self._announced.add(registration.message.id)
                    await link.send(registration.message)

    def _fail(self, failure: Failure) -> None:
        self.failure = failure
        self._note_change()

    def _note_change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

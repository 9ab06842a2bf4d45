"""Calls over one connection that announces no worker, many in flight at once.

A caller needs no name and no functions (protocol.md 1.3); `client.worker` is for who has them.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, final

import anyio
from anyio import TASK_STATUS_IGNORED

from iii_cli.client.call import read_created
from iii_cli.client.identity import new_uuid
from iii_cli.client.link import Link
from iii_cli.client.session import Calls
from iii_cli.errors import Failure, TimedOut
from iii_cli.wire.messages import InvocationResult, InvokeFunction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import TaskStatus

    from iii_cli.wire.address import Endpoint
    from iii_cli.wire.ref import ChannelRef

__all__ = ("Caller", "open_caller")

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
        request = InvokeFunction(
            function_id=function_id,
            data=data,
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

"""The whole engine without a socket: something happens, deliveries come back.

`now` is in nanoseconds since the epoch and never goes backwards. Connections are numbers that the caller
chooses and does not use twice. Channels are opened through `channels`; everything else is a message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from iii_cli.engine.builtins import all_functions, builtin_functions
from iii_cli.engine.router import Router
from iii_cli.engine.sessions import Registration, Sessions
from iii_cli.engine.settings import Settings
from iii_cli.engine.state import EngineState, Notice, keep_quiet
from iii_cli.engine.triggers import FUNCTIONS_AVAILABLE, TriggerTable
from iii_cli.protocol.messages import (
    InvocationResult,
    InvokeFunction,
    MalformedMessage,
    Ping,
    Pong,
    Reattach,
    TriggerRegistrationResult,
    decode,
    render,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from iii_cli.engine.channels import ChannelTable
    from iii_cli.engine.delivery import Delivery
    from iii_cli.engine.worker import Worker
    from iii_cli.protocol.messages import Message

__all__ = ("Core",)

TELEMETRY = (b"OTLP", b"MTRC", b"LOGS")  # how binary frames begin that are no messages (1.6)


class Core:
    """One engine. `new_id` makes UUIDs; it is the only source of randomness. It starts at `now`."""

    def __init__(
        self,
        new_id: Callable[[], str],
        now: int,
        *,
        settings: Settings | None = None,
        notice: Notice = keep_quiet,
    ) -> None:
        self._state = state = EngineState(new_id, settings or Settings(), notice, now)
        self._router = Router(state)
        self._triggers = TriggerTable(state)
        self._sessions = Sessions(state, self._router, self._triggers)
        for function in builtin_functions(state, self._triggers, self._sessions):
            state.registry.register(function)
        self._polled_at = now
        self._functions_told: int | None = None  # a hash of the listing, which can be large
        state.registry.changed = False

    def __repr__(self) -> str:
        return f"<Core with {self.worker_count} workers, {len(self.channels)} channels>"

    @property
    def settings(self) -> Settings:
        """The limits that it goes by."""
        return self._state.settings

    @property
    def channels(self) -> ChannelTable:
        """The channels, whose ends have sockets of their own."""
        return self._state.channels

    @property
    def worker_count(self) -> int:
        """How many workers are connected."""
        return len(self._state.registry.workers)

    def connected(self, connection: int, ip: str, now: int) -> list[Delivery]:
        """A worker socket was opened."""
        self._sessions.connect(connection, ip, now)
        return self._state.deliveries()

    def disconnected(self, connection: int, now: int) -> list[Delivery]:
        """A worker socket is gone, whoever ended it. Saying so twice does no harm."""
        worker = self._state.registry.workers.get(connection)
        if worker is not None:
            self._sessions.leave(worker, now)
        return self._state.deliveries()

    def received(self, connection: int, frame: str | bytes, now: int) -> list[Delivery]:
        """A frame came: text as str, binary as bytes. What is no message is dropped (1.9)."""
        worker = self._state.registry.workers.get(connection)
        if worker is None:
            return []
        if isinstance(frame, bytes) and frame.startswith(TELEMETRY):
            return []
        try:
            message = decode(frame)
        except MalformedMessage as error:
            if frame.strip():
                self._state.notice("frame dropped", worker=worker.id, reason=str(error))
            return []
        self._dispatch(worker, message, len(frame), now)
        return self._state.deliveries()

    def dropping(self, connection: int, reason: str) -> None:
        """The server is about to let go of a worker. For the log: `disconnected` follows."""
        worker = self._state.registry.workers.get(connection)
        if worker is not None:
            self._state.notice("worker dropped", worker=worker.id, reason=reason)

    def _dispatch(self, worker: Worker, message: Message, size: int, now: int) -> None:
        match message:
            case InvokeFunction():
                self._router.invoke(worker, message, now)
            case InvocationResult():
                self._router.answered(message, now)
            case Ping():
                self._state.send(worker, Pong())
            case Reattach():
                self._sessions.reattach(worker, message, now)
            case TriggerRegistrationResult():
                self._trigger_answered(worker, message, now)
            case _ if isinstance(message, Registration):
                self._sessions.register(worker, message, size, now)
            case _:
                pass  # 2.9: what only the engine says means nothing to it

    def _trigger_answered(self, worker: Worker, message: TriggerRegistrationResult, now: int) -> None:
        waiting = self._triggers.answered(worker, message)
        if waiting is not None:
            invocation, binding = waiting
            self._router.answer(invocation, now, {"id": binding.id}, message.error)

    # Time

    def next_deadline(self) -> int:
        """When `tick` has something to do."""
        due = [
            deadline
            for deadline in (
                self._sessions.next_grace,
                self.channels.next_sweep,
                self._triggers.next_due,
                self._polled_at + self.settings.poll_every,
            )
            if deadline is not None
        ]
        return min(due)

    def tick(self, now: int) -> list[Delivery]:
        """Do what is due."""
        self._sessions.settle_late(now)
        for channel in self.channels.sweep(now):
            self._state.notice("channel swept", channel=channel.id)
        for invocation, binding in self._triggers.overdue(now):
            self._router.answer(invocation, now, {"id": binding.id})
        if now >= self._polled_at + self.settings.poll_every:
            self._polled_at = now
            self._look_at_functions()
        return self._state.deliveries()

    def _look_at_functions(self) -> None:
        """3.9: every 5 s. A change that nobody watched is told to nobody later, and what comes and goes
        between two looks is none.
        """
        if not self._state.registry.changed:
            return
        self._state.registry.changed = False
        before, self._functions_told = self._functions_told, None
        if not self._triggers.is_bound(FUNCTIONS_AVAILABLE):
            return
        listed = all_functions(self._state)
        self._functions_told = hash(render(listed))
        if before != self._functions_told:
            self._triggers.fire(FUNCTIONS_AVAILABLE, {"event": "functions_changed", "functions": listed})

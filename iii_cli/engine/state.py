"""What the parts of the core share, and how they speak to workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from iii_cli.engine.channels import ChannelTable
from iii_cli.engine.delivery import Close, Delivery, Drop, Send
from iii_cli.engine.logs import LogStore
from iii_cli.engine.registry import Registry
from iii_cli.engine.spans import SpanStore
from iii_cli.protocol.messages import encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from iii_cli.engine.settings import Settings
    from iii_cli.engine.worker import Worker
    from iii_cli.protocol.messages import Message

__all__ = ("EngineState", "Notice", "keep_quiet")


class Notice(Protocol):
    """Told what happens, for the engine's log. Never given a key or a payload."""

    def __call__(self, event: str, /, **details: Any) -> None: ...


def keep_quiet(event: str, /, **details: Any) -> None:
    """A Notice that tells nobody."""


class EngineState:
    """The tables of one engine, and the deliveries that were decided and not yet handed out."""

    def __init__(
        self, new_id: Callable[[], str], settings: Settings, notice: Notice, started_at: int
    ) -> None:
        self.new_id = new_id
        self.settings = settings
        self.notice = notice
        self.started_at = started_at
        self.registry = Registry()
        self.spans = SpanStore(new_id, max_spans=settings.max_spans, max_bytes=settings.max_span_bytes)
        self.logs = LogStore(max_logs=settings.max_logs, max_bytes=settings.max_log_bytes)
        self.channels = ChannelTable(new_id, settings, self.spans)
        self._outbox: list[Delivery] = []

    def send(self, worker: Worker, message: Message) -> None:
        """Tell a worker, unless it is gone."""
        if not worker.gone:
            self._outbox.append(Send(worker.connection, encode(message)))

    def close(self, worker: Worker) -> None:
        """The last thing that a refused worker sees."""
        self._outbox.append(Close(worker.connection))

    def drop(self, worker: Worker) -> None:
        """An evicted worker sees nothing at all."""
        self._outbox.append(Drop(worker.connection))

    def deliveries(self) -> list[Delivery]:
        """What was decided since the last time."""
        outbox, self._outbox = self._outbox, []
        return outbox

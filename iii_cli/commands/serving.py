"""A function that `iii serve` serves: from its registration to the end, and each run of its COMMAND."""

from __future__ import annotations

import random
import signal
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, final

import anyio  # noqa: TID253 - loaded only when `serve` runs

from iii_cli.client.connection import Identity, unique_name
from iii_cli.client.worker import BUSY, Worker, open_worker
from iii_cli.commands.streams import spawn_heard
from iii_cli.errors import EngineUnreachable, Failure, FunctionFailed, Interrupted, NameTaken
from iii_cli.io.console import console
from iii_cli.io.process import DEVNULL, PIPE, is_first_process, reap_orphans
from iii_cli.io.signals import ends_by_itself, heard, note, receiving, stop_at_once
from iii_cli.quantities import format_bytes, format_duration

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from iii_cli.client.filter import Filter
    from iii_cli.config.settings import Settings
    from iii_cli.io.process import Child, CommandStderr
    from iii_cli.io.sources import Source

__all__ = ("Service", "run_command")

STANDBY_SECONDS = 1.0  # between two attempts at a name that another worker has
OWNER_SECONDS = 2.0  # for the owner's name, without which the error says its id alone


@final
@dataclass(slots=True, eq=False)
class Service:
    """One function, from its registration to the end. Made in an event loop; `run` it once.

    `about` is what the engine is told of it. `once`: for one call. `standby`: wait for the name while another
    worker has it. `shutdown_timeout`, in seconds, is for the calls that run at the end; None: wait for every
    one.
    """

    settings: Settings
    name: str
    filter: Filter
    about: dict[str, Any]
    once: bool
    standby: bool
    shutdown_timeout: float | None
    _worker: Worker = field(init=False)
    _stopping: anyio.Event = field(default_factory=anyio.Event, init=False)
    _connecting: anyio.CancelScope = field(default_factory=anyio.CancelScope, init=False)
    _serving: anyio.CancelScope = field(default_factory=anyio.CancelScope, init=False)
    _signum: int | None = field(default=None, init=False)
    _drained: bool = field(default=False, init=False)  # every call has ended by itself
    _taken: bool = field(default=False, init=False)  # the one call of --once has come
    _failure: Failure | None = field(default=None, init=False)  # of that call

    def __post_init__(self) -> None:
        self._worker = Worker(
            self.settings.endpoint,
            Identity(unique_name(), self.settings.namespace),
            max_calls=self.filter.max_parallel + self.filter.max_waiting + 16,  # more, to be refused politely
            on_lost=lambda failure: console.notice(f"{failure.message}; trying again"),
            on_back=lambda: console.notice(f"serving {self.name} again"),
        )
        handler = self._told if self.settings.verbose else self.filter
        metadata = {"iii": {"serve": {"max_parallel": self.filter.max_parallel}}}  # for `iii pipe`
        register = self._worker.function(self.name, live=False, metadata=metadata, **self.about)
        register(partial(self._answer_once, handler) if self.once else handler)

    async def run(self) -> None:
        """Serve until a signal, or until the one call has been answered.

        A first signal lets the calls that run end; a second one ends everything at once. Returns after
        SIGTERM and SIGHUP when every call has ended by itself. Raises Interrupted otherwise, and NameTaken.
        """
        with receiving(heard()) as signals:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._listen, signals)
                if is_first_process():
                    tasks.start_soon(reap_orphans)
                with self._serving, self._connecting:
                    async with open_worker(self._worker):
                        self._connecting = anyio.CancelScope()  # from here on the end is not that abrupt
                        await self._serve()
                tasks.cancel_scope.cancel()
        if self._signum is not None and (self._signum == signal.SIGINT or not self._drained):
            raise Interrupted(self._signum)
        if self._failure is not None:
            raise self._failure

    async def _listen(self, signals: AsyncIterator[signal.Signals]) -> None:
        async for signum in signals:
            if self._signum is not None:
                stop_at_once(signum)
            self._signum = signum
            note(signum)
            if ends_by_itself(signum):
                console.notice(f"{signum.name} received; ending")
                self._serving.cancel()
                continue
            count = self._worker.statistics().answering
            waits = f"waiting for {count} call{'' if count == 1 else 's'}" if count else "ending"
            console.notice(
                f"{signum.name} received; {waits}{' (once more to stop at once)' if count else ''}"
            )
            self._connecting.cancel()
            self._stopping.set()

    async def _serve(self) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_registered)
            await self._stopping.wait()
            await self._drain()
            tasks.cancel_scope.cancel()

    async def _keep_registered(self) -> None:
        waiting = False
        while True:
            try:
                await self._worker.wait_registered()
                waiting = False
                console.notice(f"serving {self.name}")
                await self._worker.serve()
            except NameTaken as taken:
                if not self.standby:
                    raise await self._with_owner(taken) from None
                if not waiting:
                    waiting = True
                    console.notice(f"{await self._with_owner(taken)}; standing by")
                await anyio.sleep(STANDBY_SECONDS * random.uniform(0.7, 1.3))
            except EngineUnreachable:
                continue  # lost while registering; the worker wins the connection back

    async def _with_owner(self, taken: NameTaken) -> NameTaken:
        """The engine says only the owner's id, which means little to people."""
        question = {"function_id": self.name, "namespace": self.settings.namespace or "default"}
        with suppress(Failure):
            info = await self._worker.trigger("engine::functions::info", question, timeout=OWNER_SECONDS)
            if isinstance(info, dict) and isinstance(info.get("worker_name"), str):
                return NameTaken(f"{taken.message} ({info['worker_name']})", hint=taken.hint)
        return taken

    async def _answer_once(self, handler: Callable[[Any], Awaitable[Any]], payload: Any) -> Any:
        if self._taken:
            raise FunctionFailed(BUSY, f"{self.name} is served for one call only, and that has come")
        self._taken = True
        await self._worker.unregister(self.name)
        try:
            return await handler(payload)
        except FunctionFailed as failure:
            cause = failure.__cause__
            self._failure = cause if isinstance(cause, Failure) else failure
            raise
        finally:
            self._stopping.set()

    async def _told(self, payload: Any) -> Any:
        """For --verbose: a line for each call."""
        try:
            facts = await self.filter(payload)
        except FunctionFailed as failure:
            console.notice(f"{self.name}: {failure.message}")
            raise
        took = format_duration(facts["duration_ms"] / 1000)
        console.notice(
            f"{self.name}: {format_bytes(facts['stdin_bytes'])} in, "
            f"{format_bytes(facts['stdout_bytes'])} out, {took}"
        )
        return facts

    async def _drain(self) -> None:
        """Take no new calls, and let those that run end: for so long, then they are cancelled."""
        with suppress(EngineUnreachable):
            await self._worker.unregister(self.name)
        with anyio.move_on_after(self.shutdown_timeout):
            await self._worker.wait_idle()
            self._drained = True
        if not self._drained:
            count = self._worker.statistics().answering
            console.notice(f"stopping {count} call{'' if count == 1 else 's'} that did not end in time")


# Its COMMAND.


@final
class _Run:
    """One run of the COMMAND, as `client.filter.Running` says."""

    def __init__(self, child: Child, complaints: CommandStderr) -> None:
        assert child.stdout is not None
        self.name = child.name
        self.stdin = child.stdin
        self.stdout: Source = child.stdout
        self._child = child
        self._complaints = complaints

    @property
    def exit_code(self) -> int | None:
        return self._child.exit_code

    @property
    def stdin_bytes(self) -> int:
        return self._child.stdin.bytes_written if self._child.stdin else 0

    @property
    def stderr_tail(self) -> str:
        return self._complaints.tail

    async def ended_well(self) -> None:
        await self._child.ended_well()


@asynccontextmanager
async def run_command(
    argv: Sequence[str], *, name: str, feed: bool, cwd: str | None, grace: float, show: Callable[[str], None]
) -> AsyncIterator[_Run]:
    """A run of COMMAND, for a Filter. Nothing of a call reaches its arguments or its environment.

    `feed`: has it a stdin? `show` takes the lines of its stderr. `grace` is in seconds. Left by an exception,
    the whole group is stopped, and its stdin closed only after that.
    """
    stdin = PIPE if feed else DEVNULL
    how = {"name": name, "stdin": stdin, "stdout": PIPE, "cwd": cwd, "grace": grace}
    async with spawn_heard(argv, show, **how) as (child, complaints):
        yield _Run(child, complaints)

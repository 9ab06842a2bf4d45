"""A function that `iii serve` serves: from its registration to the end, and each run of its COMMAND."""

from __future__ import annotations

import random
import signal
from contextlib import asynccontextmanager, suppress
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
    from collections.abc import AsyncIterator, Callable, Sequence

    from iii_cli.client.filter import Filter
    from iii_cli.config.settings import Settings
    from iii_cli.io.process import Child, CommandStderr
    from iii_cli.io.sources import Source

__all__ = ("run_command", "serve_function")

STANDBY_SECONDS = 1.0  # between two attempts at a name that another worker has
OWNER_SECONDS = 2.0  # for the owner's name, without which the error says its id alone


async def serve_function(
    settings: Settings,
    name: str,
    handler: Filter,
    *,
    description: str,
    request_format: Any,
    response_format: Any,
    once: bool,
    standby: bool,
    shutdown_timeout: float | None,
) -> None:
    """Serve until a signal, or with `once` until the first call has been answered.

    `standby`: wait for the name while another worker has it. `shutdown_timeout`, in seconds, is for the calls
    that run at the end; None: wait for every one.

    A first signal lets the calls that run end; a second one ends everything at once. Returns after SIGTERM
    and SIGHUP when every call has ended by itself. Raises Interrupted otherwise, and NameTaken.
    """
    service = _Service(settings, name, handler, once, standby, shutdown_timeout)
    service.register(description, request_format, response_format)
    with receiving(heard()) as signals:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.listen, signals)
            if is_first_process():
                tasks.start_soon(reap_orphans)
            await service.run()
            tasks.cancel_scope.cancel()


@final
class _Service:
    """One function, from its registration to the end."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        handler: Filter,
        once: bool,
        standby: bool,
        shutdown_timeout: float | None,
    ) -> None:
        self._name = name
        self._filter = handler
        self._once = once
        self._standby = standby
        self._shutdown_timeout = shutdown_timeout
        self._namespace = settings.namespace or "default"
        self._handler = self._told if settings.verbose else handler
        self._worker = Worker(
            settings.endpoint,
            Identity(unique_name(), settings.namespace),
            max_calls=handler.max_parallel + handler.max_waiting + 16,  # more, to be refused politely
            on_lost=lambda failure: console.notice(f"{failure.message}; trying again"),
            on_back=lambda: console.notice(f"serving {name} again"),
        )
        self._stopping = anyio.Event()
        self._connecting = anyio.CancelScope()
        self._serving = anyio.CancelScope()
        self._signum: int | None = None
        self._drained = False  # every call has ended by itself
        self._taken = False  # the one call of --once has come
        self._failure: Failure | None = None  # of that call

    def register(self, description: str, request_format: Any, response_format: Any) -> None:
        """Before `run`: what the engine is told of the function."""
        register = self._worker.function(
            self._name,
            description=description,
            request_format=request_format,
            response_format=response_format,
            metadata={"iii": {"serve": {"max_parallel": self._filter.max_parallel}}},  # for `iii pipe`
            live=False,
        )
        register(self._answer_once if self._once else self._handler)

    async def listen(self, signals: AsyncIterator[signal.Signals]) -> None:
        """Hear the signals."""
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

    async def run(self) -> None:
        """Connect, serve, drain."""
        with anyio.CancelScope() as self._serving, anyio.CancelScope() as self._connecting:
            async with open_worker(self._worker):
                self._connecting = anyio.CancelScope()  # from here on the end is not that abrupt
                await self._serve()
        if self._signum is not None and (self._signum == signal.SIGINT or not self._drained):
            raise Interrupted(self._signum)
        if self._failure is not None:
            raise self._failure

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
                console.notice(f"serving {self._name}")
                await self._worker.serve()
            except NameTaken as taken:
                if not self._standby:
                    raise await self._with_owner(taken) from None
                if not waiting:
                    waiting = True
                    console.notice(f"{await self._with_owner(taken)}; standing by")
                await anyio.sleep(STANDBY_SECONDS * random.uniform(0.7, 1.3))
            except EngineUnreachable:
                continue  # lost while registering; the worker wins the connection back

    async def _with_owner(self, taken: NameTaken) -> NameTaken:
        """The engine says only the owner's id, which means little to people."""
        question = {"function_id": self._name, "namespace": self._namespace}
        with suppress(Failure):
            info = await self._worker.trigger("engine::functions::info", question, timeout=OWNER_SECONDS)
            if isinstance(info, dict) and isinstance(info.get("worker_name"), str):
                return NameTaken(f"{taken.message} ({info['worker_name']})", hint=taken.hint)
        return taken

    async def _answer_once(self, payload: Any) -> Any:
        if self._taken:
            raise FunctionFailed(BUSY, f"{self._name} is served for one call only, and that has come")
        self._taken = True
        await self._worker.unregister(self._name)
        try:
            return await self._handler(payload)
        except FunctionFailed as failure:
            cause = failure.__cause__
            self._failure = cause if isinstance(cause, Failure) else failure
            raise
        finally:
            self._stopping.set()

    async def _told(self, payload: Any) -> Any:
        """For --verbose: a line for each call."""
        try:
            facts = await self._filter(payload)
        except FunctionFailed as failure:
            console.notice(f"{self._name}: {failure.message}")
            raise
        took = format_duration(facts["duration_ms"] / 1000)
        console.notice(
            f"{self._name}: {format_bytes(facts['stdin_bytes'])} in, "
            f"{format_bytes(facts['stdout_bytes'])} out, {took}"
        )
        return facts

    async def _drain(self) -> None:
        """Take no new calls, and let those that run end: for so long, then they are cancelled."""
        with suppress(EngineUnreachable):
            await self._worker.unregister(self._name)
        with anyio.move_on_after(self._shutdown_timeout):
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

"""The COMMAND of a filter: a child process where `client.filter_run` wants something that runs."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import anyio  # noqa: TID253 - loaded only when `serve` runs

from iii_cli.io.process import DEVNULL, PIPE, Complaints, ConsumerSink, prepare_command, spawn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from iii_cli.errors import Failure
    from iii_cli.io.process import Child
    from iii_cli.io.sources import Source

__all__ = ("FilterCommand", "RunningChild")


@final
class RunningChild:
    """One run of the COMMAND."""

    def __init__(self, child: Child, complaints: Complaints, *, feed: bool) -> None:
        assert child.stdout is not None
        self.name = child.name
        self.stdin = ConsumerSink(child) if feed else None
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

    async def wait(self) -> int:
        return await self._child.wait()

    def failure(self) -> Failure | None:
        return self._child.failure()


@final
class FilterCommand:
    """Starts the same COMMAND for each call. Nothing of a call reaches its arguments or its environment."""

    def __init__(
        self, argv: Sequence[str], *, cwd: str | None, grace: float, show: Callable[[str], None]
    ) -> None:
        """Raises what `prepare_command` raises, before anybody calls."""
        path = argv[0] if argv else ""
        if cwd is not None and os.sep in path:
            path = os.path.join(cwd, path)  # as the command itself would see it
        self._argv = [path, *argv[1:]]
        self._name = argv[0] if argv else ""
        self._cwd = cwd
        self._grace = grace
        self._show = show
        prepare_command(self._argv)

    @asynccontextmanager
    async def __call__(self, *, feed: bool) -> AsyncIterator[RunningChild]:
        """A run. Left by an exception, the whole group is stopped, and its stdin closed only after that."""
        complaints = Complaints(self._show)
        try:
            async with self._spawn(complaints, feed=feed) as child, anyio.create_task_group() as tasks:
                tasks.start_soon(complaints.follow)
                try:
                    yield RunningChild(child, complaints, feed=feed)
                except BaseException:
                    await child.terminate()  # while somebody hears what it still says
                    raise
                await complaints.rest()
                tasks.cancel_scope.cancel()
        finally:
            complaints.close()

    def _spawn(self, complaints: Complaints, *, feed: bool) -> Child:
        child = spawn(
            self._argv,
            name=self._name,
            stdin=PIPE if feed else DEVNULL,
            stdout=PIPE,
            stderr=complaints.fd,
            cwd=self._cwd,
            grace=self._grace,
        )
        complaints.started()
        return child

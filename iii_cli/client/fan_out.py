"""One stream into several channels, as `tee` does it (design.md section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import anyio
from anyio import TASK_STATUS_IGNORED

from iii_cli.client.sending import abort_words
from iii_cli.errors import Failure, gravest, sole_cause

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.abc import TaskStatus

    from iii_cli.client.writer import ChannelWriter, WriterStatistics
    from iii_cli.wire.frames import Buffer

__all__ = ("Branch", "FanOut")


@dataclass(slots=True, eq=False)
class Branch:
    """One of the channels. `name` is for people; `failure` is why it was given up."""

    name: str
    writer: ChannelWriter
    failure: Failure | None = None


@final
class FanOut:
    """Writes the same stream into every branch, at the pace of the slowest reader.

    A branch that fails is given up and the others go on; only when none is left does a method raise, the
    gravest of their failures.
    """

    def __init__(self, branches: Sequence[Branch]) -> None:
        self.branches = list(branches)

    @property
    def living(self) -> list[Branch]:
        """The branches that have not failed."""
        return [branch for branch in self.branches if branch.failure is None]

    @property
    def failures(self) -> list[Failure]:
        """Why the others were given up."""
        return [branch.failure for branch in self.branches if branch.failure is not None]

    def statistics(self) -> WriterStatistics:
        """Of the branch that got furthest."""
        return max(branch.writer.statistics() for branch in self.branches)

    async def open(self) -> None:
        """Connect them all. Raises the gravest failure where none can be opened."""
        await self._each(lambda writer: writer.open())

    async def push(self, data: Buffer) -> None:
        """`ChannelWriter.push` on each."""
        await self._each(lambda writer: writer.push(data))

    async def push_whole(self, data: bytes) -> None:
        """`ChannelWriter.push_whole` on each."""
        await self._each(lambda writer: writer.push_whole(data))

    async def push_message(self, text: Buffer) -> None:
        """`ChannelWriter.push_message` on each."""
        await self._each(lambda writer: writer.push_message(text))

    async def push_messages(self, texts: Sequence[bytes]) -> None:
        """`ChannelWriter.push_messages` on each."""
        await self._each(lambda writer: writer.push_messages(texts))

    async def finish(self) -> None:
        """`ChannelWriter.finish` on each, at once: a slow reader keeps none of the others open."""
        await self._each(lambda writer: writer.finish())

    async def abort(self, code: int, reason: str) -> None:
        """`ChannelWriter.abort` on each; together they take no longer than one."""
        async with anyio.create_task_group() as tasks:
            for branch in self.branches:
                tasks.start_soon(branch.writer.abort, code, reason)

    async def cause_of(self, failure: Failure) -> Failure:
        """The branches have asked, each for its own."""
        return failure

    async def attend(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """`ChannelWriter.attend` for each. Raises the gravest failure when none is left."""
        try:
            async with anyio.create_task_group() as tasks:
                for branch in self.living:
                    await tasks.start(self._attend_one, branch)
                task_status.started()
        except BaseExceptionGroup as group:
            raise sole_cause(group) from None

    async def _attend_one(self, branch: Branch, *, task_status: TaskStatus[None]) -> None:
        under_way = _Once(task_status)
        await self._guarded(branch, lambda: branch.writer.attend(task_status=under_way))
        under_way.started()  # also where it failed before it could attend to anything
        self._check_living()

    async def _each(self, act: Callable[[ChannelWriter], Awaitable[None]]) -> None:
        living = self.living
        if len(living) == 1:
            await self._guarded(living[0], lambda: act(living[0].writer))
        else:
            async with anyio.create_task_group() as tasks:
                for branch in living:
                    tasks.start_soon(self._guarded, branch, lambda branch=branch: act(branch.writer))
        self._check_living()

    async def _guarded(self, branch: Branch, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except (Failure, BaseExceptionGroup) as error:
            cause = sole_cause(error)
            if not isinstance(cause, Failure):
                raise
            if branch.failure is None:
                branch.failure = cause
                await branch.writer.abort(*abort_words(cause))
                branch.failure = await branch.writer.cause_of(cause)
        except anyio.ClosedResourceError:
            if branch.failure is None:  # given up by its attendant a moment ago, or a mistake of ours
                raise

    def _check_living(self) -> None:
        if not self.living:
            raise gravest(self.failures)


class _Once:
    """A task status that may be told twice."""

    def __init__(self, task_status: TaskStatus[None]) -> None:
        self._task_status: TaskStatus[None] | None = task_status

    def started(self, value: None = None) -> None:
        if self._task_status is not None:
            self._task_status.started()
            self._task_status = None

"""A COMMAND and its stderr: ours, or under `--progress json` an event for each of its lines."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio  # noqa: TID253 - loaded only when a COMMAND runs

from iii_cli.errors import sole_cause
from iii_cli.io import process as children
from iii_cli.io.console import talk
from iii_cli.io.process import Complaints

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from iii_cli.io.process import Child

__all__ = ("spawn", "tell_line")


@asynccontextmanager
async def spawn(
    argv: Sequence[str], *, name: str | None = None, stdin: int | None = None, stdout: int | None = None
) -> AsyncIterator[Child]:
    """As `terminal.children.spawn`, and raises as it does. What COMMAND says last comes before the end."""
    if not talk.as_json:
        async with children.spawn(argv, name=name, stdin=stdin, stdout=stdout) as child:
            yield child
        return
    called = argv[0] if name is None else name
    complaints = Complaints(lambda line: tell_line(called, line))
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(complaints.follow)
            child = children.spawn(argv, name=name, stdin=stdin, stdout=stdout, stderr=complaints.fd)
            complaints.started()
            async with child:
                yield child
            await complaints.rest()
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        raise sole_cause(group) from None
    finally:
        complaints.close()


def tell_line(command: str, line: str) -> None:
    """A line that COMMAND wrote to its stderr, for programs."""
    talk.event("stderr", {"command": command, "message": line})

"""A descriptor that is closed under who waits for it."""

from __future__ import annotations

import os
import socket

import anyio
import pytest

from iii_cli.io.sources import Source


async def read_all(source: Source, into: bytearray) -> None:
    view = memoryview(bytearray(100))
    while count := await source.read_into(view):
        into += view[:count]


@pytest.mark.parametrize("kind", ["pipe", "shared pipe", "socket"])
async def test_its_number_stays_taken_until_the_waiter_has_gone(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newcomer would get it, and lose its registration to the waiter's clean-up."""
    if kind == "shared pipe":  # macOS, another user's pipe
        monkeypatch.setattr("iii_cli.io.descriptors._opened_again", lambda fd, flags: fd)
    ends = [end.detach() for end in socket.socketpair()] if kind == "socket" else os.pipe()
    source, got = Source(ends[0], name="the source", owned=True), bytearray()
    async with anyio.create_task_group() as group:
        group.start_soon(read_all, source, bytearray())
        await anyio.wait_all_tasks_blocked()
        source.close()
        ours, theirs = os.pipe()
        newcomer = Source(ours, name="the source", owned=True)
        group.start_soon(read_all, newcomer, got)
        await anyio.wait_all_tasks_blocked()
        os.close(ends[1])
        os.write(theirs, b"for the newcomer")
        os.close(theirs)
    assert got == b"for the newcomer"
    newcomer.close()

"""The stderr of a command: shown, and its end kept."""

from __future__ import annotations

import os

import anyio

from iii_cli.io.process import CommandStderr


async def said(*parts: bytes) -> tuple[list[str], str]:
    """What is shown of these writes, and what is kept."""
    shown: list[str] = []
    complaints = CommandStderr(shown.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(complaints.follow)
        for part in parts:
            os.write(complaints.fd, part)
            await anyio.wait_all_tasks_blocked()
        complaints.started()
        await complaints.rest()
    complaints.close()
    complaints.close()
    return shown, complaints.tail


async def test_lines_are_shown_whole_and_the_last_one_too() -> None:
    assert await said(b"one\ntw", b"o\n\nthr", b"ee") == (["one", "two", "", "three"], "one\ntwo\n\nthree")


async def test_the_tail_is_bounded_and_begins_with_a_line() -> None:
    shown, tail = await said(b"".join(b"line %d\n" % n for n in range(1000)))
    assert len(shown) == 1000
    assert len(tail) <= 4096
    assert tail.startswith("line ")
    assert tail.endswith("line 999\n")


async def test_an_endless_line_is_shown_in_parts() -> None:
    shown, tail = await said(b"x" * 10_000)
    assert "".join(shown) == "x" * 10_000
    assert len(shown) > 1
    assert tail == "x" * 4096


async def test_what_is_not_text() -> None:
    assert await said(b"\xff\n") == (["\ufffd"], "\ufffd\n")


async def test_a_grandchild_that_keeps_it_open_is_not_waited_for() -> None:
    shown: list[str] = []
    complaints = CommandStderr(shown.append)
    kept = os.dup(complaints.fd)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(complaints.follow)
        os.write(kept, b"daemon\n")
        complaints.started()
        with anyio.fail_after(2):
            await complaints.rest()
        tasks.cancel_scope.cancel()
    os.close(kept)
    complaints.close()
    assert shown == ["daemon"]

"""One task wakes another, and no ring is lost."""

from __future__ import annotations

import anyio

from iii_cli.engine.bell import Bell


async def test_a_ring_before_the_wait_is_not_missed() -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    with anyio.fail_after(1):
        await bell.wait()
    with anyio.move_on_after(0.01) as scope:
        await bell.wait()
    assert scope.cancelled_caught, "two rings before a wait are one"


async def test_a_ring_wakes_the_one_who_waits_again_and_again() -> None:
    bell, answer = Bell(), Bell()
    heard = 0

    async def listen() -> None:
        nonlocal heard
        while True:
            await bell.wait()
            heard += 1
            answer.ring()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        with anyio.fail_after(1):
            for _ in range(3):
                bell.ring()
                await answer.wait()
        tasks.cancel_scope.cancel()
    assert heard == 3


async def test_a_cancelled_wait_loses_no_ring() -> None:
    bell = Bell()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await bell.wait()
    bell.ring()
    with anyio.fail_after(1):
        await bell.wait()

"""What is always made anew moves out of a crowd's memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from iii_cli.engine.reserve import FILLERS_MAX, SIZES

MOVING = """
import anyio
from iii_cli.engine.reserve import POOL, Reserve

async def main():
    reserve = Reserve()
    pools = {id(thing) // POOL for thing in reserve._held}
    crowd = [float(number) for number in range(20_000)]
    remade = {"number": 0.5}

    async def remake():
        while True:
            remade["number"] = remade["number"] + 1
            await anyio.sleep(0)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(remake)
        await anyio.sleep(0)
        del crowd[::2]  # many pools, all with places that would be taken first
        print(id(remade["number"]) // POOL in pools)
        await reserve.move_in()
        print(id(remade["number"]) // POOL in pools)
        tasks.cancel_scope.cancel()
    print(len(reserve._fillers), len({id(thing) // POOL for thing in reserve._held}) >= len(pools))

anyio.run(main)
"""

ANOTHER = """
import anyio
from iii_cli.engine.reserve import Reserve

reserve, made = Reserve(), []
fill = reserve._fill
reserve._fill = lambda pools: (fill(frozenset()), made.append(len(reserve._fillers)))[0]
anyio.run(reserve.move_in)
print(*made)
"""


def _run(script: str, allocator: str) -> str:
    """In a process of its own, where no other test has left holes."""
    environment = {**os.environ, "PYTHONMALLOC": allocator}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=20,
    )
    return done.stdout


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="other allocators have no such pools")
def test_what_comes_and_goes_is_made_in_the_reserve() -> None:
    assert _run(MOVING, "pymalloc").split("\n") == ["False", "True", "0 True", ""]


def test_with_another_allocator_it_gives_up_early() -> None:
    """Nothing ever lands where it is waited for."""
    assert int(_run(ANOTHER, "malloc")) == FILLERS_MAX // SIZES[0]

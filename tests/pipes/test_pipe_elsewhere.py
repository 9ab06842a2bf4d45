"""The ways that lead to `iii pipe`: the library, and the pointer of `trigger`."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.program import Program

LIBRARY = """
import sys
import anyio
from iii_cli import Failure, connect

class Sink:
    async def send(self, data):
        sys.stdout.buffer.write(data)

async def chunks():
    for line in (b"b\\n", b"", b"a\\n"):
        yield line

async def main():
    async with connect() as worker:
        for stages, source in eval(sys.argv[1]):
            try:
                results = await worker.pipe(stages, chunks() if source else None, Sink(), timeout=10)
                print([result["stdout_bytes"] for result in results], flush=True)
            except Failure as failure:
                print(type(failure).__name__, failure, failure.exit_status, flush=True)

anyio.run(main, backend=sys.argv[2])
"""


def in_python(iii: Program, *pipes: tuple[list[str], bool], backend: str = "asyncio") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY, repr(pipes), backend], capture_output=True, env=iii.env, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().splitlines()


def test_a_pipeline_in_python(iii: Program) -> None:
    with (
        iii.serving("lib::sort", "--", "sort"),
        iii.serving("lib::upper", "--", "tr", "a-z", "A-Z"),
        iii.serving("lib::fail", "--", "false"),
        iii.serving("lib::three", "--stdin", "none", "--", "seq", "3"),
    ):
        good = (["lib::sort", "lib::upper x=1"], True)
        assert in_python(iii, good, backend="trio") == ["A", "B", "[4, 4]"]
        assert in_python(
            iii,
            (["lib::three", "-n default lib::sort"], False),
            (["lib::sort", "lib::fail"], True),
            (["lib::sort", "lib::frob"], True),
            (["lib::three"], True),
            (["lib::sort 'x"], True),
            good,
        ) == [
            *("1", "2", "3", "[6, 6]"),
            "StageFailed stage 2, lib::fail: command_failed: false exited 1 1",
            "StageFailed stage 2, lib::frob: Function 'lib::frob' is not registered. 5",
            "UsageProblem the source: stage 1, lib::three has no place for a reader 2",
            "UsageProblem stage 1: not a STAGE: no closing quotation 2",
            *("A", "B", "[4, 4]"),
        ]


def test_trigger_points_to_it(iii: Program, tmp_path: Path) -> None:
    """Where a file is its stdin, and the function wants streams."""
    (tmp_path / "in").write_bytes(b"x")
    with iii.serving("lib::sort", "--", "sort"), (tmp_path / "in").open("rb") as fed:
        done = iii.run("trigger", "lib::sort", stdin=fed)
        assert done.returncode == 1
        assert done.stderr.endswith(b"iii: its parameters are streams: `iii pipe lib::sort < FILE > FILE`\n")
        assert b"iii pipe" not in iii.run("trigger", "lib::sort").stderr, "nothing is fed"
        assert b"iii pipe" not in iii.run("trigger", "lib::nothing", stdin=fed).stderr

"""The installed `iii engine run` with a clock that can be moved: nobody waits six minutes for a sweep.

As a program it replaces the clocks of Python's `time` before it runs the installed script: each line on its
stdin is a number of seconds, and is answered with a line once they have passed.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("Clock", "clocked_engine")


@final
class Clock:
    """Of an engine."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def move(self, seconds: float) -> None:
        """Let them pass. The engine notices when something wakes it, half a second later at most."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{seconds}\n".encode())
        self._process.stdin.flush()
        assert self._process.stdout.readline() == b"moved\n"


@contextmanager
def clocked_engine(*options: str) -> Iterator[tuple[str, Clock]]:
    """The URL of an engine, and its clock."""
    # -P: what stands beside this file is no standard library
    words = [sys.executable, "-P", __file__, "engine", "run", "--port", "0", "--print-url", *options]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().decode().strip(), Clock(process)
        finally:
            process.terminate()
            process.wait(10)


def _replace_clocks() -> None:
    """Each clock is `passed` seconds ahead. A loop in C would keep a clock of its own: there is none here."""
    passed = 0.0

    def moved(clock: str, unit: int) -> None:
        real = getattr(time, clock)
        setattr(time, clock, lambda: real() + type(real())(passed * unit))

    for clock in ("monotonic", "time", "perf_counter"):
        moved(clock, 1)
        moved(f"{clock}_ns", 1_000_000_000)
    sys.modules["uvloop"] = None  # type: ignore[assignment]

    def listen() -> None:
        nonlocal passed
        for line in sys.stdin:
            passed += float(line)
            sys.stdout.write("moved\n")
            sys.stdout.flush()

    threading.Thread(target=listen, daemon=True).start()


if __name__ == "__main__":
    _replace_clocks()
    script = str(Path(sys.executable).with_name("iii"))
    sys.argv[0] = script
    runpy.run_path(script, run_name="__main__")

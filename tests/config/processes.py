"""Real processes for tests of files that several of them change."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("run_together",)


def run_together(*bodies: Callable[[], None]) -> None:
    """Fork a process for each body, let all go at once, and wait. Raises AssertionError if one fails."""
    start, go = os.pipe()
    children = [_fork(body, start, go) for body in bodies]
    os.close(start)
    os.close(go)  # the end of the file is the shot
    statuses = [os.waitpid(child, 0)[1] for child in children]
    assert statuses == [0] * len(bodies)


def _fork(body: Callable[[], None], start: int, go: int) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.close(go)
        os.read(start, 1)
        body()
        status = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(status)

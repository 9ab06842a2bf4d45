"""`iii`, observed: SIGPROF makes it append what it holds to the file that III_CENSUS names.

    python tests/soak/observed.py engine run --port 0

Garbage is collected first, so that only what is held counts.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import runpy
import signal
import sys
import threading
from collections import Counter
from pathlib import Path

__all__: tuple[str, ...] = ()


def census(*_: object) -> None:
    """One line: tasks, threads, objects, and the types that are most frequent."""
    gc.collect()
    objects = gc.get_objects()
    kinds = Counter(type(one).__name__ for one in objects).most_common(12)
    line = {
        "tasks": len(asyncio.all_tasks()),
        "threads": threading.active_count(),
        "objects": len(objects),
        "kinds": dict(kinds),
    }
    with Path(os.environ["III_CENSUS"]).open("a") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    signal.signal(signal.SIGPROF, census)
    runpy.run_path(str(Path(sys.executable).with_name("iii")), run_name="__main__")

"""What a process is writing: files that have no name yet cannot be found in their folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess

__all__ = ("sizes_in",)


def sizes_in(folder: Path, process: subprocess.Popen[bytes]) -> list[int]:
    """Of the files in `folder`, named or not, that a process has open. Needs /proc."""
    found = []
    for fd in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            if os.readlink(fd).startswith(f"{folder}/"):
                found.append(fd.stat().st_size)
        except OSError:
            continue
    return found

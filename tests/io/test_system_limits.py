"""What the system allows."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import resource
from iii_cli.io.descriptors import system_limits
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
limits = system_limits()
print(limits.open_files, limits.open_files_max, limits.file_bytes, (limits.pipe_bytes or 4096) >= 4096)
"""


def test_the_limits_are_those_of_this_process() -> None:
    told = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["100", "200", "4096", "True"]

"""The cable is cut under a writer: it ends with 3, and a reader that merely stands still ends nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.program import III

TOOLS = ("unshare", "nsenter", "ip")


def _allowed() -> str | None:
    """Why not, else None."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        return f"no {', '.join(missing)}"
    script = "ip link add here type veth peer name there"
    done = subprocess.run(["unshare", "--net", "sh", "-c", script], capture_output=True, text=True)
    return None if done.returncode == 0 else f"no network of our own: {done.stderr.strip()}"


@pytest.mark.ci
@pytest.mark.timeout(90)
def test_a_cut_cable_ends_a_writer_and_a_reader_that_stands_still_does_not(tmp_path: Path) -> None:
    reason = _allowed()
    if reason is not None:
        pytest.skip(reason)
    home = str(tmp_path)
    env = os.environ | {"HOME": home, "XDG_STATE_HOME": home, "XDG_CONFIG_HOME": home}
    env |= {"III_TEST_LIMITS": "look=1,dead=6", "STAND_STILL": "9"}
    words = ["unshare", "--net", sys.executable, str(Path(__file__).with_name("cable.py")), III, home]
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=80)
    assert done.returncode == 0, done.stderr
    status, seconds, *said = done.stdout.split()
    assert status == "3", done.stdout
    assert 5 <= float(seconds) <= 15
    assert "the network is dead: ws://10.199.7.2:" in " ".join(said)

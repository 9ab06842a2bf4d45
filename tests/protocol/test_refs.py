"""Bugs happen, and Python prints what it has."""

from __future__ import annotations

import subprocess
import sys

from tests.support.keys import KEY, READER, TOKEN


def test_a_traceback_of_ours_shows_no_secret() -> None:
    """Bugs happen: what Python prints then must not hold one either."""
    script = f"""
from iii_cli.protocol.refs import ChannelRef
from iii_cli.protocol.refs import Endpoint, EngineAddress
from iii_cli.protocol.refs import Secret
ref = ChannelRef.from_token({READER!r})
token = Secret({TOKEN!r})
endpoint = Endpoint(EngineAddress.parse("ws://h/?token={TOKEN}"), token, (("x", token),))
print(ref, repr(ref), endpoint, [ref], {{"ref": endpoint}}, f"{{ref}} {{endpoint!r}}")
raise ValueError(ref, endpoint)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    frames = [line for line in done.stderr.splitlines() if "Error" in line]
    assert "aaaa" in done.stdout
    assert len(frames) == 1, done.stderr
    assert KEY not in done.stdout + frames[0]
    assert TOKEN not in done.stdout + frames[0]

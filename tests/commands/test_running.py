"""A second signal ends everything at once."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

BODY = """
from iii_cli.commands.common import run
async def body():
    from iii_cli.io.process import spawn
    async with spawn(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]) as child:
        await child.wait()
run(body)
"""


def test_a_second_signal_takes_a_stubborn_command_along() -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", BODY], stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert process.stderr is not None
    assert os.read(reading, 100) == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == b"iii: interrupted; ending (once more to stop at once)\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=4) == 130
    assert select.select([reading], [], [], 4)[0], "nobody holds its stdout any more"
    assert os.read(reading, 100) == b""
    os.close(reading)
    process.stderr.close()

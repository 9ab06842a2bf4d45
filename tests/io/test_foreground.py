"""A password prompt of a COMMAND works, Ctrl-C and Ctrl-Z do what a person expects: on a real terminal."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import termios
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = """
import os, sys
import anyio
from iii_cli.io.process import spawn, DEVNULL
async def main():
    async with spawn(["sh", "-c", sys.argv[1]], stdin=DEVNULL) as child:
        if len(sys.argv) > 2:  # as whoever reads its output: not waiting for its end
            while not os.path.exists(sys.argv[2]):
                await anyio.sleep(0.01)
        await child.wait()
    print("ended:", child.exit_code, repr(child.failure()), os.tcgetpgrp(0) == os.getpgrp(), flush=True)
anyio.run(main)
"""

# As little of a shell as job control needs: one job in the foreground, and `fg` as soon as it was stopped.
SHELL = """
import fcntl, os, signal, subprocess, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
job = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], process_group=0)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
os.tcsetpgrp(0, job.pid)
while True:
    _, status = os.waitpid(job.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    os.tcsetpgrp(0, os.getpgrp())
    print("job stopped by", os.WSTOPSIG(status), flush=True)
    os.tcsetpgrp(0, job.pid)
    os.killpg(job.pid, signal.SIGCONT)
print("job status", os.waitstatus_to_exitcode(status), flush=True)
"""


class Terminal:
    """A person at a terminal, seen from the keyboard."""

    def __init__(self, controller: int, process: subprocess.Popen[bytes]) -> None:
        self.controller = controller
        self.process = process
        self.screen = ""

    def type(self, keys: bytes) -> None:
        os.write(self.controller, keys)

    def expect(self, text: str) -> None:
        """Wait until `text` is on the screen."""
        deadline = time.monotonic() + 10
        while text not in self.screen:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in {self.screen!r}"
            if select.select([self.controller], [], [], left)[0]:
                self.screen += os.read(self.controller, 4096).decode()

    def modes(self) -> int:
        flags: int = termios.tcgetattr(self.controller)[3]
        return flags


@contextmanager
def terminal(script: str, *more: str) -> Iterator[Terminal]:
    controller, inner = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SHELL, JOB, script, *more],
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
    )
    try:
        yield Terminal(controller, process)
    finally:
        process.kill()
        process.wait()
        os.close(inner)
        os.close(controller)


def test_a_prompt_gets_the_terminal_and_gives_it_back() -> None:
    prompt = "stty -echo </dev/tty; printf 'password: ' >/dev/tty; read x </dev/tty; stty echo </dev/tty"
    with terminal(f"{prompt}; echo got $x") as person:
        person.expect("password: ")
        person.type(b"secret\n")
        person.expect("got secret")
        person.expect("ended: 0 None True")


def test_a_prompt_gets_the_terminal_while_nobody_waits_for_its_end(tmp_path: Path) -> None:
    read = tmp_path / "read"
    with terminal(
        f"printf 'password: ' >/dev/tty; read x </dev/tty; echo got $x; touch {read}", str(read)
    ) as person:
        person.expect("password: ")
        person.type(b"secret\n")
        person.expect("got secret")
        person.expect("ended: 0 None True")


def test_ctrl_c_at_the_prompt_means_us_and_brings_the_echo_back() -> None:
    with terminal("stty -echo </dev/tty; echo ready; read x </dev/tty") as person:
        person.expect("ready")
        assert not person.modes() & termios.ECHO
        person.type(b"\x03")
        person.expect("ended: 130 Interrupted(")
        person.expect("True")
        assert person.modes() & termios.ECHO


def test_a_child_that_asks_for_nothing_leaves_the_terminal_to_us() -> None:
    with terminal("echo working; exec sleep 60") as person:
        person.expect("working")
        person.type(b"\x03")
        person.expect(f"job status -{signal.SIGINT:d}")


def test_ctrl_z_at_the_prompt_stops_the_whole_job_and_fg_goes_on() -> None:
    with terminal("read x </dev/tty; echo one $x; read y </dev/tty; echo got $y") as person:
        person.type(b"first\n")
        person.expect("one first")
        person.type(b"\x1a")
        person.expect(f"job stopped by {signal.SIGTSTP:d}")
        person.type(b"back\n")
        person.expect("got back")
        person.expect("ended: 0 None True")

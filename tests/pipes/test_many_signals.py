"""Signals in quick succession, from the first moment on: each end is 128+n, and quiet."""

from __future__ import annotations

import subprocess
import time
from contextlib import suppress
from itertools import cycle, product
from pathlib import Path
from random import Random
from signal import SIGHUP, SIGINT, SIGTERM, Signals
from typing import TYPE_CHECKING, NoReturn

import pytest

from tests.support.marks import in_ci_but
from tests.support.scripted_engine import ScriptedEngine, Silence, running_engine

if TYPE_CHECKING:
    from tests.support.program import Child, Program

COMMANDS = {
    "read": ("channel", "read", "env:x_r"),
    "write": ("channel", "write", "env:x_w"),
    "trigger": ("trigger", "f", "--timeout", "20s"),
}
scripted = pytest.fixture(running_engine)
PAIRS = [(SIGINT, SIGINT), (SIGTERM, SIGINT), (SIGHUP, SIGTERM)]
ENDING = (b"iii: interrupted; ending (once more to stop at once)\n", b" received; ending\n")


def never(data: object) -> NoReturn:
    raise Silence


def begun(process: Child) -> None:
    """Wait until it deals with signals. Before, it is a Python that starts."""
    while True:
        status = Path(f"/proc/{process.pid}/status").read_text()
        if int(status.partition("SigCgt:")[2].split()[0], 16) & 1 << SIGTERM - 1:
            return


def storm(process: Child, signals: tuple[Signals, ...]) -> bytes:
    """Signals as fast as they can be sent, until it has ended. What it said."""
    for signum in cycle(signals):
        if process.poll() is not None:
            break
        with suppress(ProcessLookupError):
            process.send_signal(signum)
    assert process.stderr is not None
    assert process.returncode in [128 + signum for signum in signals], process.stderr.read().decode()
    return process.stderr.read()


@pytest.mark.parametrize(
    ("words", "signals"),
    in_ci_but([(COMMANDS["read"], PAIRS[1])], product(COMMANDS.values(), PAIRS)),
)
def test_a_storm(iii: Program, words: tuple[str, ...], signals: tuple[Signals, ...]) -> None:
    iii.refs("x")
    for _ in range(5):
        with iii.start(*words, stdin=subprocess.PIPE) as process:
            begun(process)
            said = storm(process, signals)
        assert said == b"" or said.endswith(ENDING), said.decode()


@pytest.mark.ci
@pytest.mark.parametrize("name", COMMANDS)
def test_two_at_any_moment(iii: Program, scripted: ScriptedEngine, name: str) -> None:
    """Of 400 such pairs nine ended in a traceback."""
    words, moments = COMMANDS[name], Random(name)
    if name == "trigger":
        iii.env["III_URL"] = scripted.url
        scripted.functions["f"] = never
    for _ in range(40):
        if name != "trigger":
            iii.refs("x")
        with iii.start(*words, stdin=subprocess.PIPE) as process:
            begun(process)
            time.sleep(moments.random() / 4)
            first, second = moments.choice(PAIRS)
            process.send_signal(first)
            time.sleep(moments.random() / 50)
            said = storm(process, (second, first))
        assert said == b"" or said.endswith(ENDING), said.decode()


def test_a_second_signal_takes_a_stubborn_command_along(iii: Program) -> None:
    iii.refs("x")
    command = "trap '' TERM; echo ready >&2; while :; do sleep 1; done"
    with iii.start("channel", "write", "env:x_w", "--", "sh", "-c", command) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"ready\n"
        process.send_signal(SIGINT)
        assert process.stderr.readline() == ENDING[0]
        process.send_signal(SIGINT)
        began = time.monotonic()
        assert process.stderr.read() == b"", "until nobody holds it any more"
        assert process.wait(4) == 130
    assert time.monotonic() - began < 4, "before a time of grace is over"

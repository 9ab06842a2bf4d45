"""A writer that says nothing, one that cannot say anything any more, and one whose failure nobody hears."""

from __future__ import annotations

import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.program import Program, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def iii(tmp_path: Path) -> Iterator[Program]:
    with running_engine() as (url, _):
        yield Program(tmp_path, url)


@pytest.mark.soak
@pytest.mark.timeout(150)
def test_a_writer_that_beats_is_alive_and_one_that_stopped_has_vanished(iii: Program, tmp_path: Path) -> None:
    """Beats come every 15 s; the clock runs here because nothing else can show it end to end."""
    writer, reader = iii.channel()
    out = tmp_path / "out"
    reading = iii.start("channel", "read", reader, "--peer-timeout", "20s", "-o", str(out))
    writing = iii.start("channel", "write", writer, stdin=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        reading.wait(50)  # two beats and more than two time-outs
    stopped = time.monotonic()
    writing.send_signal(signal.SIGSTOP)
    _, err = reading.communicate(timeout=30)
    assert 4 <= time.monotonic() - stopped <= 21
    assert (reading.returncode, b"vanished" in err) == (7, True), err
    assert not out.exists()
    writing.kill()
    writing.communicate()


@pytest.mark.ci
def test_a_producer_before_a_pipe_cannot_be_told_from_success_and_a_command_can(iii: Program) -> None:
    """`iii help seals` says so."""
    done = iii.shell(
        """
        iii channel create --save a; iii channel create --save b
        { iii channel read @a; echo "read $?"; } &
        { set +o pipefail; false | iii channel write @a; echo "write $?"; }
        wait
        { iii channel read @b 2>b.err; echo "read $?"; } &
        iii channel write @b -- false 2>w.err; echo "write $?"
        wait; cat b.err
        """
    )
    told = done.stdout.decode().split("\n")
    assert sorted(told[:2]) == ["read 0", "write 0"]
    assert sorted(told[2:4]) == ["read 7", "write 11"]
    assert "aborted by the writer: false exited 1" in told[4]

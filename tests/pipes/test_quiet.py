"""`-q` says nothing but errors, and SIGUSR1, which asks for a line of progress, never kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.program import running_engine

if TYPE_CHECKING:
    from tests.support.program import Program


def until_handled(process: subprocess.Popen[bytes], signum: signal.Signals) -> None:
    """Wait until Python runs our main, which is when a signal has a handler (proc(5), SigCgt)."""
    limit = time.monotonic() + 10
    while time.monotonic() < limit:
        status = Path(f"/proc/{process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
        if int(caught.split()[1], 16) >> (signum - 1) & 1:
            return
    raise AssertionError("no handler")


def test_a_quiet_reader_and_writer_end_without_a_word(iii: Program) -> None:
    writer, reader = iii.channel()
    with (
        iii.start("-q", "channel", "write", writer, stdin=subprocess.PIPE) as writing,
        iii.start("-q", "channel", "read", reader) as reading,
    ):
        assert writing.stdin is not None
        assert reading.stdout is not None
        writing.stdin.write(b"x")
        writing.stdin.flush()
        assert reading.stdout.read(1) == b"x"
        writing.send_signal(signal.SIGTERM)
        assert writing.communicate(timeout=10)[1] == b""
        assert writing.returncode == 128 + signal.SIGTERM
        reading.send_signal(signal.SIGTERM)
        # The writer's abort may have come first, which is an error and is said.
        assert b"ending" not in reading.communicate(timeout=10)[1]


def test_a_quiet_server_ends_without_a_word(iii: Program) -> None:
    with iii.start("-q", "serve", "quiet::cat", "--", "cat") as serving:
        iii.ok("functions", "wait", "quiet::cat", "--timeout", "10s")
        serving.send_signal(signal.SIGTERM)
        assert serving.communicate(timeout=10)[1] == b""


@pytest.mark.ci
def test_a_quiet_engine_logs_nothing_unless_it_is_asked_to(iii: Program) -> None:
    for words, said in ((("-q",), False), (("-q", "--log", "text"), True)):
        with iii.start("engine", "run", "--port", "0", "--print-url", *words) as engine:
            assert engine.stdout is not None
            url = engine.stdout.readline().decode().strip()
            assert iii.run("channel", "create", "--url", url).returncode == 0
            engine.send_signal(signal.SIGTERM)
            assert bool(engine.communicate(timeout=10)[1]) is said


@pytest.mark.ci
def test_an_error_of_one_of_several_channels_is_said_all_the_same(iii: Program) -> None:
    used, _ = iii.channel()
    assert iii.run("channel", "write", used, stdin=b"").returncode == 0
    writer, reader = iii.channel()
    with iii.start("channel", "read", reader) as reading:
        done = iii.run("-q", "channel", "tee", writer, used, stdin=b"all of it")
        reading.communicate(timeout=10)
    assert b"REF 2: the writer end of this channel was already taken" in done.stderr


@pytest.mark.ci
def test_a_second_damaged_file_is_said_all_the_same(iii: Program) -> None:
    folder = iii.home / "iii-cli" / "contexts"
    folder.mkdir(parents=True, mode=0o700)
    for name in ("one.toml", "two.toml"):
        (folder / name).write_text("\x01")
    done = iii.run("-q", "context", "ls")
    assert done.returncode == 10
    assert b"one.toml" in done.stderr
    assert b"two.toml" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("quiet", [(), ("-q",)], ids=["talking", "quiet"])
def test_sigusr1_kills_neither_before_nor_after_the_stream(iii: Program, quiet: tuple[str, ...]) -> None:
    writer, reader = iii.channel()
    with (
        iii.start(*quiet, "channel", "read", reader, "-o", "/dev/null") as reading,
        iii.start(*quiet, "channel", "write", writer, stdin=subprocess.PIPE) as writing,
    ):
        assert writing.stdin is not None
        for process in (reading, writing):
            until_handled(process, signal.SIGUSR1)
        for _ in range(50):
            reading.send_signal(signal.SIGUSR1)
            writing.send_signal(signal.SIGUSR1)
            writing.stdin.write(b"x" * 10_000)
        writing.stdin.close()
        limit = time.monotonic() + 10
        while None in (reading.poll(), writing.poll()) and time.monotonic() < limit:
            reading.send_signal(signal.SIGUSR1)
            writing.send_signal(signal.SIGUSR1)
            time.sleep(0.001)
        assert (reading.returncode, writing.returncode) == (0, 0)


@pytest.mark.ci
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sigusr1_kills_no_server_and_no_engine(iii: Program) -> None:
    with iii.start("serve", "usr1::cat", "--", "cat") as serving:
        until_handled(serving, signal.SIGUSR1)
        serving.send_signal(signal.SIGUSR1)
        iii.ok("functions", "wait", "usr1::cat", "--timeout", "10s")
        serving.send_signal(signal.SIGUSR1)
        assert serving.poll() is None
        serving.send_signal(signal.SIGTERM)
        serving.communicate(timeout=10)
        assert serving.returncode == 0
    with running_engine() as (_, engine):
        engine.send_signal(signal.SIGUSR1)
        engine.send_signal(signal.SIGTERM)
        assert engine.wait(10) == 0


def test_a_command_does_not_inherit_it(iii: Program) -> None:
    """A COMMAND that is sent SIGUSR1 decides by itself, and its default is to die."""
    writer, _ = iii.channel()
    done = iii.run("channel", "write", writer, "--exit-code", "--", "sh", "-c", "kill -USR1 $$; exit 0")
    assert done.returncode == 128 + signal.SIGUSR1

"""No consumer outlives us with half a stream: whatever ends us, and wherever it hides."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.marks import in_ci
from tests.support.processes import children_of, in_folder
from tests.support.program import III, wait_until

if TYPE_CHECKING:
    from tests.support.program import Child, Program

# Nothing is faster: one process that has read everything, and makes a file at the end of its input.
TAKER = "while read -r line; do touch began; done; : >took"
WHEREABOUTS = {
    "alone": TAKER,
    "behind a pipe": f"cat | sh -c '{TAKER}'",
    "in a session of its own": f"exec setsid sh -c '{TAKER}'",
    "in the background of another session": f"exec 3<&0; setsid sh -c '{TAKER}' <&3 & wait",
    "in a group of its own": f"exec bash -c 'set -m; sh -c \"{TAKER}\" & wait'",
    "left behind": f"(setsid sh -c '{TAKER}' <&3 &) 3<&0; exit 0",
}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the process group is found")


def start_reading(iii: Program, consumer: str, *options: str) -> tuple[Child, Child]:
    """A writer that goes on, and a reader whose consumer has had its first line."""
    iii.refs("x")
    writing = iii.start("channel", "write", "env:x_w", "--", "sh", "-c", "echo one; exec sleep 60")
    words = (III, "channel", "read", "env:x_r", *options, "--", "sh", "-c", consumer)
    reading = subprocess.Popen(words, env=iii.env, cwd=iii.home, stderr=subprocess.PIPE, process_group=0)
    wait_until(iii.home / "began")
    return writing, reading  # type: ignore[return-value] # both are processes


def end(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        process.kill()
        process.communicate()


def nothing_is_left(iii: Program) -> None:
    """Neither consumers nor guards: all of them have this test's folder."""
    deadline = time.monotonic() + 10
    while (left := in_folder(iii.home)) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert left == []
    assert not (iii.home / "took").exists()


@LINUX
@pytest.mark.parametrize(
    "where",
    [pytest.param(where, marks=[] if where == "alone" else pytest.mark.ci) for where in WHEREABOUTS],
)
@pytest.mark.parametrize(
    "whom", [os.kill, pytest.param(os.killpg, marks=pytest.mark.ci)], ids=["reader", "its group"]
)
def test_a_reader_that_is_killed_takes_its_consumer_along(iii: Program, where: str, whom: type) -> None:
    writing, reading = start_reading(iii, WHEREABOUTS[where])
    whom(reading.pid, signal.SIGKILL)
    reading.communicate()
    end(writing)
    nothing_is_left(iii)


@LINUX
def test_a_producer_whose_guard_was_killed_is_no_success_and_goes_too(iii: Program) -> None:
    iii.refs("x")
    words = (III, "channel", "write", "env:x_w", "--", "sh", "-c", "echo half; exec sleep 60 >&-")
    writing = subprocess.Popen(words, env=iii.env, cwd=iii.home, stderr=subprocess.PIPE)
    with iii.start("channel", "read", "env:x_r") as reading:
        assert reading.stdout is not None
        assert reading.stdout.read(1) == b"h"
        os.kill(first_child(writing.pid), signal.SIGKILL)
        said = writing.communicate(timeout=20)[1]
        assert (writing.returncode, said) == (11, b"iii: sh was killed by SIGKILL\n")
        assert reading.wait(20) == 7
    nothing_is_left(iii)


@LINUX
def test_a_guard_that_is_killed_before_it_answers_is_not_asked_again(iii: Program) -> None:
    """It may have started COMMAND: a second one could run beside the first."""
    iii.refs("x")
    words = (III, "channel", "write", "env:x_w", "--", "sh", "-c", "echo $$ >>begun")
    writing = subprocess.Popen(words, env=iii.env, cwd=iii.home, stderr=subprocess.PIPE)
    guard = first_child(writing.pid)
    os.kill(guard, signal.SIGSTOP)
    wait_until_in(writing.pid, "unix_stream_read")
    os.kill(guard, signal.SIGKILL)
    assert writing.communicate(timeout=20)[1].startswith(b"iii: cannot run sh: ")
    assert writing.returncode == 10
    assert not (iii.home / "begun").exists()


@LINUX
@pytest.mark.ci
def test_a_reader_that_is_killed_before_it_knows_that_its_consumer_runs(iii: Program) -> None:
    """It has asked the guard, which has answered; the answer goes down with the reader, unread."""
    iii.refs("x")
    writing = iii.start("channel", "write", "env:x_w", "--", "sh", "-c", "echo one; exec sleep 60")
    words = (III, "channel", "read", "env:x_r", "--", "sh", "-c", "touch began; cat >got; : >took")
    reading = subprocess.Popen(words, env=iii.env, cwd=iii.home)
    try:
        guard = first_child(reading.pid)
        os.kill(guard, signal.SIGSTOP)
        wait_until_in(reading.pid, "unix_stream_read")
        reading.send_signal(signal.SIGSTOP)
        wait_until_in(reading.pid, "signal_stop")
        os.kill(guard, signal.SIGCONT)
        wait_until(iii.home / "began")
        wait_until_in(guard, "poll")
        os.kill(guard, signal.SIGSTOP)  # so that it hears of everything at once
        wait_until_in(guard, "signal_stop")
        reading.kill()
        reading.wait()
        os.kill(guard, signal.SIGCONT)
    finally:
        end(reading, writing)
    nothing_is_left(iii)


def first_child(pid: int) -> int:
    while not (children := children_of(pid)):
        time.sleep(0.001)
    return children[0]


def wait_until_in(pid: int, place: str) -> None:
    """Until the process sleeps there in the kernel."""
    deadline = time.monotonic() + 10
    while place not in Path(f"/proc/{pid}/wchan").read_text():
        if time.monotonic() > deadline:
            pytest.skip("this kernel does not tell where a process sleeps")
        time.sleep(0.001)


@LINUX
@pytest.mark.ci
@pytest.mark.parametrize("where", WHEREABOUTS)
def test_an_abort_stops_the_consumer_wherever_it_is(iii: Program, where: str) -> None:
    writing, reading = start_reading(iii, WHEREABOUTS[where])
    writing.terminate()
    _, said = reading.communicate(timeout=20)
    writing.communicate()
    assert (reading.returncode, said) == (7, b"iii: aborted by the writer: interrupted\n")
    nothing_is_left(iii)


@pytest.mark.parametrize(
    "signum",
    [
        pytest.param(signum, id=signum.name, marks=[] if signum is signal.SIGQUIT else pytest.mark.ci)
        for signum in (signal.SIGQUIT, signal.SIGUSR2, signal.SIGALRM, signal.SIGXCPU)
    ],
)
def test_other_deadly_signals_abort_and_then_end_us(iii: Program, signum: signal.Signals) -> None:
    writing, reading = start_reading(iii, TAKER)
    reading.send_signal(signum)
    _, said = reading.communicate(timeout=20)
    end(writing)
    assert reading.returncode == -signum
    assert said.decode() == f"iii: {signum.name} received; ending\n"
    nothing_is_left(iii)


def test_a_writer_says_the_same_of_them(iii: Program) -> None:
    iii.refs("x")
    with iii.start("channel", "read", "env:x_r", stdout=subprocess.PIPE) as reading:
        writing = iii.start("channel", "write", "env:x_w", "/dev/zero")
        assert reading.stdout is not None
        reading.stdout.read(1 << 20)
        writing.send_signal(signal.SIGQUIT)
        reading.stdout.read()
        writing.communicate(timeout=20)
        assert (writing.returncode, reading.wait(20)) == (-signal.SIGQUIT, 7)


@pytest.mark.parametrize("signum", [signal.SIGHUP, *in_ci(signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)])
def test_a_signal_that_was_ignored_before_us_stays_ignored(iii: Program, signum: signal.Signals) -> None:
    """`nohup iii …`, and a job in the background of a script."""
    iii.refs("x")
    script = f"trap '' {signum.name.removeprefix('SIG')}; exec {III} channel read env:x_r -- sh -c"
    consumer = "grep ^SigIgn /proc/$$/status >ignored; cat"
    with subprocess.Popen(
        ["sh", "-c", f'{script} "{consumer.replace("$", chr(92) + "$")}"'],
        env=iii.env,
        cwd=iii.home,
        stdout=subprocess.PIPE,
    ) as reading:
        writing = iii.start("channel", "write", "env:x_w", stdin=subprocess.PIPE)
        assert writing.stdin is not None
        assert reading.stdout is not None
        writing.stdin.write(b"one\n")
        writing.stdin.flush()
        assert reading.stdout.readline() == b"one\n"
        reading.send_signal(signum)
        writing.communicate(b"two\n", timeout=20)
        assert reading.stdout.read() == b"two\n"
        assert (reading.wait(20), writing.returncode) == (0, 0)
    if sys.platform == "linux":
        assert int((iii.home / "ignored").read_text().split()[1], 16) & (1 << signum - 1)


@LINUX
def test_serve_that_is_killed_takes_its_consumers_along(iii: Program) -> None:
    words = (III, "serve", "test::taker", "--", "sh", "-c", TAKER)
    serving = subprocess.Popen(words, env=iii.env, cwd=iii.home, stderr=subprocess.DEVNULL)
    iii.ok("functions", "wait", "test::taker")
    calling = iii.start("trigger", "test::taker", "--in", "cmd:echo one; sleep 60", "--out", "/dev/null")
    wait_until(iii.home / "began")
    serving.kill()
    serving.wait()
    end(calling)
    nothing_is_left(iii)


@LINUX
@pytest.mark.ci
def test_one_call_of_serve_that_fails_leaves_the_others_alone(iii: Program) -> None:
    """Two runs below one guard: a consumer that has left its group belongs to the run whose pipe it holds."""
    consumer = "read -r folder; cd $folder; touch began; exec setsid --wait sh -c 'cat >got; : >took'"
    words = (III, "serve", "test::two", "--stdout", "result", "--", "sh", "-c", consumer)
    serving = subprocess.Popen(words, env=iii.env, cwd=iii.home, stderr=subprocess.DEVNULL)
    iii.ok("functions", "wait", "test::two")
    calls = {}
    for name in ("good", "bad"):
        (iii.home / name).mkdir()
        iii.ok("channel", "create", "--save", name)
        reader = ("trigger", "test::two", "--ref", f"stdin=@{name}/reader")
        writer = ("channel", "write", f"@{name}/writer")
        calls[name] = iii.start(*reader), iii.start(*writer, stdin=subprocess.PIPE)
        stdin = calls[name][1].stdin
        assert stdin is not None
        stdin.write(f"{iii.home / name}\n".encode())
        stdin.flush()
        wait_until(iii.home / name / "began")
    calls["bad"][1].terminate()
    assert calls["bad"][0].wait(20) == 1
    assert not (iii.home / "bad" / "took").exists()
    calls["good"][1].communicate(b"the rest", timeout=20)
    assert calls["good"][0].wait(20) == 0
    assert (iii.home / "good" / "got").read_text() == "the rest"
    assert (iii.home / "good" / "took").exists()
    end(serving, *calls["good"], *calls["bad"])


@pytest.mark.parametrize(
    ("writer", "options", "line"),
    [
        ("sh -c 'seq 1000; exit 3'", "", {"exit": 7, "verified": False, "bytes": 3893}),
        *in_ci(
            ("seq 1000", "", {"exit": 0, "verified": True, "bytes": 3893}),
            ("seq 1000", "--no-seal", {"exit": 0, "verified": False, "bytes": 3893}),
        ),
    ],
    ids=["aborted", "sealed", "foreign"],
)
def test_a_consumer_can_read_how_the_stream_ended(
    iii: Program, writer: str, options: str, line: dict[str, object]
) -> None:
    consumer = 'cat >got; cat <&"$III_STREAM_STATUS" >status'
    iii.refs("x")
    done = iii.shell(
        f"""
        iii channel write env:x_w {options} -- {writer} 2>/dev/null &
        iii channel read env:x_r --deliver-partial -- sh -c '{consumer}' 2>/dev/null; echo $?
        """
    )
    assert json.loads((iii.home / "status").read_text()) == line
    assert int(done.stdout) == line["exit"]


@pytest.mark.ci
def test_an_early_consumer_can_wait_for_the_verdict(iii: Program) -> None:
    consumer = 'head -c 5 >got; exec <&-; cat <&"$III_STREAM_STATUS" >status'
    iii.refs("x")
    done = iii.shell(
        f"""
        iii channel write env:x_w -- seq 100000 & iii channel read env:x_r -- sh -c '{consumer}'; echo $?
        """
    )
    assert json.loads((iii.home / "status").read_text()) == {"exit": 0, "verified": True, "bytes": 588_895}
    assert int(done.stdout) == 0


@LINUX
@pytest.mark.ci
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, to become another user"
)
def test_a_consumer_of_another_user_is_named(engine_url: str) -> None:
    """As `sudo` makes one: it cannot be stopped, and that is said."""
    from tests.support.nobody import NOBODY, Nobody, python_for_nobody

    python = python_for_nobody()
    if python is None:
        pytest.skip("no Python that nobody can run")
    folder = Path(os.path.realpath("/tmp")) / f"iii-guard-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        become = shutil.copy(shutil.which("setpriv") or "", folder / "become")
        os.chmod(become, 0o4755)
        os.chown(folder, NOBODY, NOBODY)
        nobody = Nobody(python, folder, engine_url)
        nobody.env["III_TEST_LIMITS"] = "kill=0.2,grace=0.1"
        nobody.start("channel", "create", "--save", "x").communicate()
        consumer = f"exec ./become --reuid=0 --regid=0 --clear-groups sh -c '{TAKER}'"
        reading = nobody.start("channel", "read", "@x/reader", "--", "sh", "-c", consumer)
        writing = nobody.start("channel", "write", "@x/writer", "--", "sh", "-c", "echo one; exec sleep 60")
        wait_until(folder / "began")
        writing.terminate()
        writing.communicate()
        _, said = reading.communicate(timeout=20)
        assert reading.returncode == 7
        assert b"warning: sh could not be stopped and may have taken part of the stream for the whole" in said
        wait_until(folder / "took")
    finally:
        shutil.rmtree(folder)

"""COMMANDs as real processes: found, started, stopped, heard; what they leave behind is nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from iii_cli.errors import CommandNotFound, CommandNotRunnable
from iii_cli.io import process
from iii_cli.io.process import (
    DEVNULL,
    PIPE,
    Child,
    CommandStderr,
    find_command,
    prepare_command,
    reap_orphans,
    shell_command,
    spawn,
)
from iii_cli.io.sources import Source
from tests.io.opened import opened


def sh(script: str, *, stdin: int = DEVNULL, stdout: int | None = None, grace: float = 5.0) -> Child:
    return spawn(shell_command(script), name="sh", stdin=stdin, stdout=stdout, grace=grace)


async def read_all(child: Child) -> bytes:
    assert child.stdout is not None
    got, view = bytearray(), memoryview(bytearray(65536))
    while count := await child.stdout.read_into(view):
        got += view[:count]
    return bytes(got)


def alive(pid: int) -> bool:
    """Is there such a process, other than a zombie that its new parent has not buried yet?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_death_by_a_signal() -> None:
    async with sh("kill -USR1 $$") as child:
        assert await child.wait() == 128 + signal.SIGUSR1
    assert str(child.failure()) == "sh was killed by SIGUSR1"


async def test_it_has_a_group_of_its_own_and_no_terminal() -> None:
    async with sh("exec sleep 60") as child:
        assert os.getpgid(child.pid) == child.pid != os.getpgrp()
        assert os.getsid(child.pid) not in (child.pid, os.getsid(0))


async def test_terminate_kills_what_does_not_listen() -> None:
    async with sh("trap '' TERM; echo ready; while :; do sleep 1; done", stdout=PIPE, grace=0.05) as child:
        assert child.stdout is not None
        await child.stdout.read_into(memoryview(bytearray(32)))
        assert await child.terminate() == 128 + signal.SIGKILL


async def test_terminate_wakes_what_is_stopped() -> None:
    async with sh("kill -STOP $$; exit 0") as child:
        with anyio.fail_after(2):
            while Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
                await anyio.lowlevel.checkpoint()
        assert await child.terminate() == 128 + signal.SIGTERM


async def test_a_forgotten_child_is_stopped_and_nothing_stays_open() -> None:
    before = opened()
    async with sh("exec sleep 60", stdin=PIPE, stdout=PIPE) as child:
        pass
    assert child.exit_code == 128 + signal.SIGTERM
    assert opened() == before


async def test_two_tasks_may_wait() -> None:
    codes: list[int | None] = []
    async with sh("exec sleep 60") as child, anyio.create_task_group() as group:

        async def wait() -> None:
            codes.append(await child.wait())

        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        codes.append(await child.terminate())
    assert codes == [143, 143]


async def test_a_command_whose_guard_was_killed_is_no_success_and_the_next_one_has_another() -> None:
    async with sh("exec sleep 60") as child:
        assert process._guard is not None
        os.kill(process._guard.pid, signal.SIGKILL)
        os.waitpid(process._guard.pid, 0)
        assert await child.wait() == 128 + signal.SIGKILL
    with anyio.fail_after(2):
        while alive(child.pid):
            await anyio.sleep(0.001)
    async with sh("exit 3") as child:
        assert await child.wait() == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("#!/no/such/interpreter\n", "its first line names an interpreter"),
        ("neither a script nor a program", "Exec format error"),
    ],
)
def test_what_cannot_be_started(tmp_path: Path, content: str, message: str) -> None:
    tool = tmp_path / "tool"
    tool.write_text(content)
    tool.chmod(0o755)
    before = opened()
    with pytest.raises(CommandNotRunnable, match=message):
        spawn([str(tool)], stdin=PIPE, stdout=PIPE)
    assert opened() == before


IGNORING = """
import signal, anyio
from iii_cli.io.process import spawn
async def main():
    async with spawn(["sh", "-c", "exit 5"]) as child:
        print(await child.wait())
anyio.run(main)
"""


def test_an_ignored_sigchld_does_not_cost_the_exit_code() -> None:
    done = subprocess.run(
        ["sh", "-c", 'trap "" CHLD; exec "$0" -c "$1"', sys.executable, IGNORING],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "5\n"


def test_path_is_searched_as_a_shell_does(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "tool").write_text("#!/bin/sh\n")
    (second / "tool").chmod(0o755)
    env = {"PATH": f"{first}:{second}"}
    assert find_command(["tool", "-x"], env=env) == str(second / "tool")
    (first / "tool").chmod(0o755)
    assert find_command(["tool"], env=env) == str(first / "tool")
    with pytest.raises(CommandNotFound, match="no command missing on PATH"):
        find_command(["missing"], env=env)


async def said(*parts: bytes) -> tuple[list[str], str]:
    """What is shown of these writes, and what is kept."""
    shown: list[str] = []
    read, write = os.pipe()
    stderr = CommandStderr(Source(read, name="stderr", owned=True), shown.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stderr.follow)
        for part in parts:
            os.write(write, part)
            await anyio.wait_all_tasks_blocked()
        os.close(write)
        await stderr.rest()
    return shown, stderr.tail


async def test_lines_are_shown_whole_and_the_last_one_too() -> None:
    assert await said(b"one\ntw", b"o\n\nthr", b"ee") == (["one", "two", "", "three"], "one\ntwo\n\nthree")


async def test_the_tail_is_bounded_and_begins_with_a_line() -> None:
    shown, tail = await said(b"".join(b"line %d\n" % n for n in range(1000)))
    assert len(shown) == 1000
    assert len(tail) <= 4096
    assert tail.startswith("line ")
    assert tail.endswith("line 999\n")


async def test_a_grandchild_that_keeps_it_open_is_not_waited_for() -> None:
    shown: list[str] = []
    read, kept = os.pipe()
    stderr = CommandStderr(Source(read, name="stderr", owned=True), shown.append)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stderr.follow)
        os.write(kept, b"daemon\n")
        with anyio.fail_after(2):
            await stderr.rest()
        tasks.cancel_scope.cancel()
    os.close(kept)
    assert shown == ["daemon"]


def leave_a_dead_child() -> int:
    """A child that nobody started with `spawn` and nobody waits for, as an adopted orphan is."""
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
async def test_orphans_are_reaped_and_our_own_are_left_alone() -> None:
    prepare_command(["sh"])
    async with spawn(["sh", "-c", "exit 3"], stdin=DEVNULL) as child:
        first = leave_a_dead_child()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reap_orphans)
            for orphan in (first, leave_a_dead_child()):
                with anyio.fail_after(5):
                    while Path(f"/proc/{orphan}").exists():
                        await anyio.sleep(0.001)
            tasks.cancel_scope.cancel()
        assert await child.wait() == 3

"""The night shift: what surrounds the program is broken; it does the right thing or says one line."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import signal
import struct
import subprocess
import termios
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.program import III, Program, refused, running_engine
from tests.support.raw import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.ci
DATA = hashlib.shake_256(b"night").digest(3 << 20)


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_closed_descriptors_do_not_get_into_the_data(iii: Program, tmp_path: Path, closed: str) -> None:
    """A socket that gets number 2 would be written into by the first notice."""
    (tmp_path / "in").write_bytes(DATA)
    done = iii.shell(
        f"""
        set -e
        exec 3>&1
        iii channel create --json {closed} > created
        test -s created
        iii channel create --save x {closed}
        iii channel read @x -o out {closed} & reader=$!
        iii channel write @x in --receipt {closed}
        wait $reader
        """
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "out").read_bytes() == DATA


@pytest.mark.parametrize("words", ["channel create", "functions ls --all", "--help", "channel read @x"])
def test_a_closed_stdout_is_said(iii: Program, words: str) -> None:
    done = iii.shell(
        f"""
        iii channel create --save x
        iii channel write @x --stall-timeout 5s <<<hello 2>/dev/null & writer=$!
        iii {words} >&-
        status=$?; kill $writer 2>/dev/null; exit $status
        """
    )
    assert done.returncode == 10, done
    assert done.stderr.startswith(b"iii: ")
    assert done.stderr.count(b"\n") == 1


def test_everything_closed_at_once(iii: Program, tmp_path: Path) -> None:
    done = iii.shell(
        """
        iii channel create --save x
        iii channel write @x 2>/dev/null <<<hello &
        iii channel read @x -o out <&- >&- 2>&-
        """
    )
    assert (done.returncode, (tmp_path / "out").read_bytes()) == (0, b"hello\n")


@pytest.mark.parametrize("home", ["/proc", "/dev/null", "/no/such/place", ""])
def test_a_home_that_is_none(iii: Program, home: str) -> None:
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        del iii.env[name]
    iii.env["HOME"] = home
    if not home:
        del iii.env["HOME"]
        iii.env["XDG_STATE_HOME"] = iii.env["XDG_CONFIG_HOME"] = "/proc/none"
    writer, reader = iii.channel()
    reading = iii.start("channel", "read", reader)
    iii.ok("channel", "write", writer, stdin=b"without a home")
    assert reading.communicate(timeout=20)[0] == b"without a home"
    if home != "/no/such/place" or os.geteuid() != 0:  # root makes that folder
        refused(iii.run("channel", "create", "--save", "x"), 10)


def test_the_c_locale(iii: Program) -> None:
    iii.env |= {"LC_ALL": "C", "LANG": "C"}
    for words, status in (
        (("functions", "info", "n\xf6pe"), 5),
        (("channel", "read", "@\xe4\N{SNOWMAN}"), 5),
        (("channel", "write", "iii:write:\xe4:b", "\N{SNOWMAN}"), 10),
    ):
        refused(iii.run(*words), status)
    writer, reader = iii.channel()
    reading = iii.start("channel", "read", reader)
    iii.ok("channel", "write", writer, "--lines", stdin="\N{SNOWMAN}\n".encode())
    assert reading.communicate(timeout=20)[0] == "\N{SNOWMAN}\n".encode()


@pytest.fixture
def narrow() -> Iterator[tuple[int, int]]:
    """A terminal of one column: our side and the program's."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 1, 1, 0, 0))
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize(
    "words",
    [("functions", "ls", "--all"), ("workers", "ls"), ("channel", "--help"), ("channel", "read", "@no")],
)
def test_a_terminal_of_one_column(iii: Program, narrow: tuple[int, int], words: tuple[str, ...]) -> None:
    iii.env |= {"COLUMNS": "1", "LINES": "1", "TERM": "xterm"}
    process = iii.start(*words, stdout=narrow[1], stderr=narrow[1])
    said = b""
    while process.poll() is None or _waiting(narrow[0]):
        said += os.read(narrow[0], 65536) if _waiting(narrow[0]) else b""
    assert process.returncode == (5 if "@no" in words else 0), said
    assert b"Traceback" not in said
    assert said


def _waiting(fd: int) -> bool:
    import select

    return bool(select.select([fd], [], [], 0.05)[0])


def test_few_descriptors(iii: Program, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(DATA)
    done = iii.shell(
        """
        ulimit -n 32
        iii channel create --save x && iii channel read @x -o out & reader=$!
        for i in $(seq 50); do iii ref ls | grep -q x && break; done
        iii channel write @x --receipt -- cat in && wait $reader
        """
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out").read_bytes() == DATA


def test_an_engine_with_few_descriptors_lives_through_a_crowd(tmp_path: Path) -> None:
    import socket
    from urllib.parse import urlsplit

    script = f"ulimit -n 32; exec {III} engine run --port 0 --print-url --log off"
    engine = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert engine.stdout is not None
    url = engine.stdout.readline().decode().strip()
    address = ("127.0.0.1", urlsplit(url).port or 0)
    crowd = [socket.create_connection(address) for _ in range(60)]
    for one in crowd:
        one.close()
    Program(tmp_path, url).channel()
    engine.terminate()
    engine.communicate(timeout=10)
    assert engine.returncode == 0


def test_two_readers_of_one_ref_at_once(iii: Program) -> None:
    for _ in range(2):
        writer, reader = iii.channel()
        readings = [iii.start("channel", "read", reader) for _ in range(2)]
        iii.ok("channel", "write", writer, stdin=b"only one")
        ends = sorted((process.communicate(timeout=20)[0], process.returncode) for process in readings)
        assert ends == [(b"", 6), (b"only one", 0)]


def test_two_writers_of_one_ref_at_once(iii: Program) -> None:
    writer, reader = iii.channel()
    reading = iii.start("channel", "read", reader)
    writings = [iii.start("channel", "write", writer, "--", "echo", "hello") for _ in range(2)]
    for process in writings:
        process.communicate(timeout=20)
    assert sorted(process.returncode for process in writings) == [0, 6]
    assert reading.communicate(timeout=20)[0] == b"hello\n"
    assert reading.returncode == 0


def test_a_full_pipe_on_stderr_does_not_stop_the_engine(tmp_path: Path) -> None:
    theirs, ours = os.pipe()
    fcntl.fcntl(ours, 1031, 4096)  # F_SETPIPE_SZ
    engine = subprocess.Popen(
        [III, "engine", "run", "--port", "0", "--print-url"], stdout=subprocess.PIPE, stderr=ours
    )
    os.close(ours)
    try:
        assert engine.stdout is not None
        iii = Program(tmp_path, engine.stdout.readline().decode().strip())
        import asyncio

        asyncio.run(_knock(iii.env["III_URL"], 100))
        iii.channel()
        engine.terminate()
        assert engine.wait(10) == 0
    finally:
        engine.kill()
        engine.communicate()
        os.close(theirs)


async def _knock(url: str, times: int) -> None:
    """Each refusal is a line in the log."""
    from tests.support.raw import RawSocket

    for _ in range(times):
        with pytest.raises(Refused):
            await RawSocket.open(url, "/", "Origin: http://a.page.that.knocks.test")


def test_a_full_pipe_on_stderr_does_not_stop_the_data(iii: Program, tmp_path: Path) -> None:
    theirs, ours = os.pipe()
    fcntl.fcntl(ours, 1031, 4096)
    writer, reader = iii.channel()
    lines = "".join(f'{{"text":"{number}"}}\n' for number in range(3000)).encode()
    frames = lines + b'{"base64":"ZGF0YQ=="}\n'
    reading = iii.start("channel", "read", reader, "--require-seal", "--messages", "stderr", stderr=ours)
    os.close(ours)
    done = iii.run("channel", "write", writer, "--jsonl", stdin=frames)
    assert reading.communicate(timeout=25)[0] is not None
    assert (reading.returncode, done.returncode) in ((0, 0), (2, 9)), done.stderr
    os.close(theirs)


@pytest.mark.parametrize("who", ["writer", "reader", "engine"])
def test_a_process_that_was_suspended_goes_on(tmp_path: Path, who: str) -> None:
    (tmp_path / "in").write_bytes(DATA * 8)
    with running_engine() as (url, engine):
        iii = Program(tmp_path, url)
        writer, reader = iii.channel()
        reading = iii.start("channel", "read", reader)
        writing = iii.start("channel", "write", writer, str(tmp_path / "in"), "--receipt")
        assert reading.stdout is not None
        got = os.read(reading.stdout.fileno(), 1 << 20)  # not ahead into a buffer, which communicate() skips
        process: subprocess.Popen[Any] = {"writer": writing, "reader": reading, "engine": engine}[who]
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        process.send_signal(signal.SIGCONT)
        out, err = reading.communicate(timeout=25)
        assert (reading.returncode, got + out == DATA * 8) == (0, True), err
        writing.communicate(timeout=25)
        assert writing.returncode == 9  # stdout confirms nothing


@pytest.mark.parametrize("path", ["out", "/dev/full"])
def test_a_disk_that_fills_up(iii: Program, tmp_path: Path, path: str) -> None:
    done = iii.shell(
        f"""
        iii channel create --save x
        (head -c 1M /dev/zero | iii channel write @x --receipt 2>said; echo $? >wrote) &
        ulimit -f 100
        iii channel read @x -o {path}
        status=$?; wait; exit $status
        """
    )
    assert done.returncode == 10, done
    assert done.stderr.count(b"\n") == 1
    assert (tmp_path / "wrote").read_text().strip() == "9"
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(("out", ".out"))]


def test_tokens_without_a_stderr_work_too(iii: Program) -> None:
    """A token among the arguments asks whether anybody should be warned of it."""
    done = iii.shell(
        """
        read -r _ writer _ reader <<< "$(iii channel create | tr '\\n' '\\t')"
        seq 100000 > big
        iii channel write "$writer" big 2>&- &
        iii channel read "$reader" -o out 2>&-
        echo "read $?"
        wait $!
        echo "write $?"
        cmp big out && echo same
        iii channel 2>&-
        echo "usage $?"
        """
    )
    assert done.stdout.decode().splitlines() == ["read 0", "write 0", "same", "usage 2"]

"""A sealed stream that brings no byte is dead; one that is slow, or whose reader stood still, is not.

The limits are those of the product, made shorter by the same factor.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.pipes.slow_link import slow_link
from tests.support.listening import listening, upgraded

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from tests.support.program import Program

DATA = hashlib.shake_256(b"slow").digest(600_000)


@pytest.mark.parametrize("beats", [0, pytest.param(2, marks=pytest.mark.ci)])
def test_a_writer_that_vanishes_is_noticed_whether_it_beat_or_not(iii: Program, beats: int) -> None:
    iii.env["III_TEST_LIMITS"] = "silence=1,beat=0.3"
    iii.ok("channel", "create", "--save", "x")
    with iii.start("channel", "read", "@x/reader", stdout=subprocess.PIPE) as reading:
        writing = iii.start("channel", "write", "@x/writer", stdin=subprocess.PIPE)
        assert writing.stdin is not None
        assert reading.stdout is not None
        writing.stdin.write(b"a word\n")
        writing.stdin.flush()
        assert reading.stdout.readline() == b"a word\n"
        if beats:
            with pytest.raises(subprocess.TimeoutExpired):
                reading.wait(beats * 1.0)  # longer than the silence that counts: beats come
        writing.send_signal(signal.SIGSTOP)
        _, said = reading.communicate(timeout=10)
        assert (reading.returncode, said) == (7, b"iii: the writer vanished: 1 s of silence after 7 bytes\n")
        writing.kill()
        writing.communicate()


def test_a_reader_that_stood_still_looks_before_it_judges(iii: Program) -> None:
    iii.env["III_TEST_LIMITS"] = "silence=0.5,beat=0.1"
    iii.ok("channel", "create", "--save", "x")
    with iii.start("channel", "read", "@x/reader", stdout=subprocess.PIPE) as reading:
        writing = iii.start("channel", "write", "@x/writer", stdin=subprocess.PIPE)
        assert writing.stdin is not None
        assert reading.stdout is not None
        writing.stdin.write(b"one\n")
        writing.stdin.flush()
        assert reading.stdout.readline() == b"one\n"
        reading.send_signal(signal.SIGSTOP)
        time.sleep(1)  # longer than the silence that counts
        writing.communicate(b"two\n", timeout=10)
        reading.send_signal(signal.SIGCONT)
        assert reading.stdout.read() == b"two\n"
        assert (reading.wait(10), writing.returncode) == (0, 0)


def test_a_stream_without_a_seal_may_be_silent(iii: Program) -> None:
    """It promised no beats."""
    iii.env["III_TEST_LIMITS"] = "silence=0.3,beat=0.1"
    iii.refs("x")
    with iii.start("channel", "read", "env:x_r") as reading:
        done = iii.shell("(echo one; sleep 1; echo two) | iii channel write env:x_w --no-seal")
        out, _ = reading.communicate(timeout=10)
    assert (done.returncode, reading.returncode, out) == (0, 0, b"one\ntwo\n")


def test_an_engine_that_says_nothing_any_more_is_lost(iii: Program) -> None:
    def silent(connection: socket.socket) -> None:
        upgraded(connection)
        while connection.recv(65536):
            pass

    iii.env["III_TEST_LIMITS"] = "ping=0.1,dead=0.5"
    with listening(silent) as url:
        done = iii.run("trigger", "f", "--each", "--url", url, stdin=b"{}\n")
    assert (done.returncode, b"no sign of life for 0.5 s" in done.stderr) == (3, True), done


LIBRARY = """
import anyio, sys
from iii_cli import connect
async def main():
    async with connect() as worker:
        channel = await worker.create_channel()
        print(channel.reader_ref.to_token(), flush=True)
        await channel.writer.send(b"one\\n")
        await anyio.sleep(2)  # longer than the silence that counts
        await channel.writer.send(b"two\\n")
        await channel.writer.aclose()
anyio.run(main, backend=sys.argv[1])
"""


@pytest.mark.ci
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_writers_of_the_library_say_that_they_live(iii: Program, backend: str) -> None:
    iii.env["III_TEST_LIMITS"] = "silence=0.6,beat=0.15"
    words = [sys.executable, "-c", LIBRARY, backend]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=iii.env) as writing:
        assert writing.stdout is not None
        iii.env["III_READER"] = writing.stdout.readline().decode().strip()
        done = iii.run("channel", "read")
    assert (done.returncode, done.stdout, done.stderr, writing.returncode) == (0, b"one\ntwo\n", b"", 0)


@pytest.mark.ci
@pytest.mark.timeout(60)
def test_a_slow_link_is_alive(iii: Program, tmp_path: Path) -> None:
    """A twentieth of the time: 5 KB/s are 100, and no byte comes for 60 s if a MiB is one frame."""
    (tmp_path / "in").write_bytes(DATA)
    writer, reader = iii.channel()
    iii.env["III_TEST_LIMITS"] = "silence=3,beat=0.75,frame=0.25"
    iii.limit = 50
    with slow_link(iii.env["III_URL"], 100e3, 100e3) as url:
        iii.env |= {"III_URL": url, "III_WRITER": writer, "III_READER": reader}
        reading = iii.start("channel", "read", "-o", str(tmp_path / "out"))
        done = iii.run("channel", "write", "env:III_WRITER", str(tmp_path / "in"))
        _, said = reading.communicate(timeout=40)
    assert (done.returncode, done.stderr, reading.returncode, said) == (0, b"", 0, b"")
    assert (tmp_path / "out").read_bytes() == DATA


@pytest.mark.ci
@pytest.mark.timeout(60)
def test_a_long_message_on_a_slow_link_is_alive(iii: Program, tmp_path: Path) -> None:
    """It arrives as one frame, whose bytes count as they come."""
    line = DATA.hex().encode() + b"\n"
    (tmp_path / "in").write_bytes(line)
    writer, reader = iii.channel()
    iii.env["III_TEST_LIMITS"] = "silence=1,beat=0.25"
    with slow_link(iii.env["III_URL"], None, 250e3) as url:
        writing = iii.start("channel", "write", writer, str(tmp_path / "in"), "--lines")
        iii.env |= {"III_URL": url, "III_READER": reader}
        done = iii.run("channel", "read", "-o", str(tmp_path / "out"))
        writing.communicate(timeout=20)
    assert (done.returncode, done.stderr, writing.returncode) == (0, b"", 0)
    assert (tmp_path / "out").read_bytes() == line

"""Backpressure is real: nobody in the pipe holds more than a few frames while the reader is slow."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.calls import create_channel
from tests.support.processes import memory_of
from tests.support.program import Program, running_engine
from tests.support.refs import Ref, address_of, target_of
from tests.support.websocket import BINARY, connect, frame, header

RATE = 20_000_000  # bytes a second, what the slow reader takes
SIZE = 256 << 20


@pytest.mark.ci
@pytest.mark.timeout(90)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_memory_stays_flat_while_the_reader_is_slow(tmp_path: Path) -> None:
    with running_engine() as (url, engine):
        iii = Program(tmp_path, url)
        writer, reader = iii.channel()
        reading = iii.start("channel", "read", reader)
        feeder = subprocess.Popen(["head", "-c", str(SIZE), "/dev/zero"], stdout=subprocess.PIPE)
        writing = iii.start("channel", "write", writer, stdin=feeder.stdout)
        assert feeder.stdout is not None
        assert reading.stdout is not None
        feeder.stdout.close()
        started, received, waited = time.monotonic(), 0, False
        peaks: dict[str, int] = {}
        while chunk := os.read(reading.stdout.fileno(), 1 << 20):
            received += len(chunk)
            time.sleep(max(0.0, received / RATE - (time.monotonic() - started)))  # this is the slow reader
            if received > SIZE // 2 and not peaks:
                waited = writing.poll() is None and feeder.poll() is None
                running = {"engine": engine, "write": writing, "read": reading}
                peaks = {name: memory_of(process.pid, "VmHWM") for name, process in running.items()}
        assert received == SIZE
        assert waited, "the writer was done long before the reader"
        assert peaks["write"] < 64 << 20
        assert peaks["read"] < 64 << 20
        assert peaks["engine"] < 128 << 20
        for process in (reading, writing):
            process.communicate(timeout=20)
            assert process.returncode == 0
        assert feeder.wait(5) == 0


@pytest.mark.ci
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_an_open_channel_does_not_keep_its_last_message() -> None:
    message = frame(BINARY, bytes(1 << 20))
    size = len(header(BINARY, 1 << 20, None)) + (1 << 20)
    with running_engine() as (url, engine), ExitStack() as ends:

        def taken(ref: Ref) -> socket.socket:
            return ends.enter_context(connect(*address_of(url), target_of(ref)))

        channels = [[taken(ref) for ref in create_channel(url)] for _ in range(20)]
        before = memory_of(engine.pid, "VmRSS")
        for writer, reader in channels:
            writer.sendall(message)
            reader.settimeout(10)
            with reader.makefile("rb") as arriving:
                assert len(arriving.read(size)) == size
        assert memory_of(engine.pid, "VmRSS") - before < 10 << 20


@pytest.mark.ci
@pytest.mark.timeout(60)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_streams_that_are_over_leave_nothing_in_the_engine() -> None:
    message = frame(BINARY, bytes(1 << 20))
    with running_engine() as (url, engine):

        def one_stream() -> None:
            """The reader leaves in the middle."""
            writer, reader = (connect(*address_of(url), target_of(ref)) for ref in create_channel(url))
            with writer, suppress(ConnectionError):
                with reader:
                    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
                    writer.settimeout(10)
                    writer.sendall(2 * message)
                    assert reader.recv(1 << 16)
                while True:
                    writer.sendall(message)

        for _ in range(10):
            one_stream()
        before = memory_of(engine.pid)
        for _ in range(60):
            one_stream()
        assert memory_of(engine.pid) - before < 16 << 20


@pytest.mark.ci
@pytest.mark.timeout(120)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("lost", [False, True], ids=["ended", "lost"])
def test_calls_that_are_over_leave_nothing_in_serve(tmp_path: Path, lost: bool) -> None:
    data = bytes(6 << 20)
    with running_engine() as (url, _):
        iii = Program(tmp_path, url)
        serving = iii.start("serve", "copy", "--", "cat")

        def one_call() -> None:
            words = ("trigger", "copy", "--in", "stdin=-", "--out", "stdout=-")
            caller = iii.start(*words, stdin=subprocess.PIPE)
            assert caller.stdin is not None
            assert caller.stdout is not None
            if not lost:
                assert caller.communicate(data)[0] == data
                return
            caller.stdin.write(data[: 1 << 20])
            caller.stdin.flush()
            assert caller.stdout.read(1 << 18)
            caller.kill()
            caller.communicate()

        iii.ok("functions", "wait", "copy", "--timeout", "20s")
        for _ in range(3):
            one_call()
        before = memory_of(serving.pid)
        for _ in range(12):
            one_call()
        assert memory_of(serving.pid) - before < 12 << 20
        serving.terminate()
        serving.communicate(timeout=20)

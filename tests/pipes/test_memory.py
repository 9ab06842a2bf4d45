"""Backpressure is real: nobody in the pipe holds more than a few frames while the reader is slow."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iii_cli.client.call import create_channel
from iii_cli.wire.address import Endpoint, EngineAddress
from iii_cli.wire.frames import Opcode, encode_frame, frame_header
from tests.benchmarks.raw import connect
from tests.pipes.program import Program, running_engine

if TYPE_CHECKING:
    import socket

    from iii_cli.wire.ref import ChannelRef

RATE = 20_000_000  # bytes a second, what the slow reader takes
SIZE = 256 << 20


def memory_of(pid: int, what: str) -> int:
    """The process's resident memory in bytes, now (VmRSS) or at most (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) << 10
    raise AssertionError(f"no {what}")


def peak_of(pid: int) -> int:
    """The process's peak resident memory in bytes."""
    return memory_of(pid, "VmHWM")


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
                peaks = {name: peak_of(process.pid) for name, process in running.items()}
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
    message = b"".join(encode_frame(Opcode.BINARY, bytes(1 << 20), b"mask"))
    size = len(frame_header(Opcode.BINARY, 1 << 20)) + (1 << 20)
    with running_engine() as (url, engine), ExitStack() as ends:
        address = EngineAddress.parse(url)

        def taken(ref: ChannelRef) -> socket.socket:
            return ends.enter_context(connect(address.host, address.port, address.channel_target(ref)))

        channels = [[taken(ref) for ref in create_channel(Endpoint(address))] for _ in range(20)]
        before = memory_of(engine.pid, "VmRSS")
        for writer, reader in channels:
            writer.sendall(message)
            reader.settimeout(10)
            with reader.makefile("rb") as arriving:
                assert len(arriving.read(size)) == size
        assert memory_of(engine.pid, "VmRSS") - before < 10 << 20

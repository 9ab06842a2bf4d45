"""`-o FILE`: whatever ends the program, no file of half a stream is left beside FILE."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.listening import open_port
from tests.support.marks import in_ci
from tests.support.processes import sizes_in
from tests.support.program import Program

if TYPE_CHECKING:
    import subprocess

TOKEN = "iii:read:00000000-0000-4000-8000-000000000000:key"
GAPS = (80e-6, 100e-6, 130e-6, 200e-6)  # seconds from the signal to the answer
STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}
WITHOUT_NAMELESS_FILES = "import os\nif hasattr(os, 'O_TMPFILE'): del os.O_TMPFILE\n"
SLOW_DISK = "import os\nos.fsync = lambda fd: open(os.environ['FLUSHED']).read()\n"

linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="it looks into /proc")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture(params=["nameless files", pytest.param("named files", marks=pytest.mark.ci)])
def iii(request: pytest.FixtureRequest, engine_url: str, tmp_path: Path) -> Program:
    """Also as on a system that knows no files without a name."""
    program = Program(tmp_path / "home", engine_url)
    program.home.mkdir()
    if request.param == "named files":
        customize(program, WITHOUT_NAMELESS_FILES)
    return program


def customize(program: Program, code: str) -> None:
    """Run `code` in every Python before anything else."""
    with (program.home / "sitecustomize.py").open("a") as file:
        file.write(code)
    program.env["PYTHONPATH"] = str(program.home)


@pytest.mark.ci
@linux
@pytest.mark.parametrize("signum", STOPPED)
def test_a_signal_amid_the_start_leaves_no_file(iii: Program, folder: Path, signum: signal.Signals) -> None:
    for gap in GAPS:
        with open_port() as port:
            iii.env["III_URL"] = port.url
            with iii.start("channel", "read", TOKEN, "-o", str(folder / "file")) as reader:
                with port.request() as (connection, accept):
                    wait_until_asleep(reader)
                    reader.send_signal(signum)
                    until = time.perf_counter() + gap
                    while time.perf_counter() < until:
                        pass
                    connection.sendall(accept)
                    assert reader.wait(10) == STOPPED[signum]
        assert not list(folder.iterdir()), f"the answer came {gap * 1e6:.0f} µs after the signal"


@pytest.mark.parametrize("options", ["", *in_ci("--keep-partial")])
def test_a_signal_while_nothing_answers_leaves_no_file(iii: Program, folder: Path, options: str) -> None:
    for signum, status in STOPPED.items():
        with open_port() as port:
            iii.env["III_URL"] = port.url
            with iii.start("channel", "read", TOKEN, "-o", str(folder / "file"), *options.split()) as reader:
                with port.request():
                    reader.send_signal(signum)
                    assert reader.wait(10) == status
        assert not list(folder.iterdir())


@pytest.mark.ci
def test_a_second_signal_leaves_no_file(iii: Program, folder: Path) -> None:
    """The first one waits for the disk, which may take long."""
    customize(iii, SLOW_DISK)
    flushed = iii.home / "flushed"
    os.mkfifo(flushed)
    iii.env["FLUSHED"] = str(flushed)
    writer, reader = iii.channel()
    with iii.start("channel", "read", reader, "-o", str(folder / "file")) as receiver:
        assert receiver.stderr is not None
        iii.ok("channel", "write", writer, stdin=bytes(9 << 20))
        with flushed.open("wb"):  # it has begun to flush the file
            receiver.send_signal(signal.SIGINT)
            assert b"once more" in receiver.stderr.readline()
            receiver.send_signal(signal.SIGINT)
            assert receiver.wait(10) == 130
    assert not list(folder.iterdir())


@linux
@pytest.mark.parametrize("name", ["new", *in_ci("old")])
def test_not_even_kill_leaves_a_file(engine_url: str, tmp_path: Path, folder: Path, name: str) -> None:
    if not has_nameless_files(folder):
        pytest.skip("this file system has no files without a name")
    iii = Program(tmp_path, engine_url)
    (folder / "old").write_bytes(b"old")
    writer, reader = iii.channel()
    with iii.start("channel", "read", reader, "-o", str(folder / name)) as receiver:
        with iii.start("channel", "write", writer, stdin=-1) as sender:
            assert sender.stdin is not None
            sender.stdin.write(bytes(1 << 20))
            sender.stdin.flush()
            while not any(size == 1 << 20 for size in sizes_in(folder, receiver)):
                assert receiver.poll() is None
            receiver.kill()
            receiver.wait()
            sender.kill()
    assert [(entry.name, entry.read_bytes()) for entry in folder.iterdir()] == [("old", b"old")]


@pytest.mark.ci
def test_a_part_is_there_from_the_start(iii: Program, folder: Path) -> None:
    path, part = folder / "file", folder / "file.part"
    part.write_bytes(bytes(2 << 20))  # of an earlier attempt
    writer, reader = iii.channel()
    options = ("-o", str(path), "--keep-partial")
    with iii.start("channel", "read", reader, *options) as receiver:
        with iii.start("channel", "write", writer, stdin=-1) as sender:
            assert sender.stdin is not None
            sender.stdin.write(bytes(1 << 20))
            sender.stdin.flush()
            while part.stat().st_size != 1 << 20:
                assert receiver.poll() is None
            other = iii.run("channel", "read", iii.channel()[1], *options)
            assert (other.returncode, b"another process is writing it" in other.stderr) == (10, True), other
            receiver.kill()
            receiver.wait()
            sender.kill()
    assert [(entry.name, entry.stat().st_size) for entry in folder.iterdir()] == [("file.part", 1 << 20)]
    # An attempt that gets nothing leaves it as it is; one that gets everything replaces it.
    assert iii.run("channel", "read", TOKEN, *options).returncode == 5
    assert part.stat().st_size == 1 << 20
    writer, reader = iii.channel()
    with iii.start("channel", "read", reader, *options) as receiver:
        iii.ok("channel", "write", writer, stdin=b"all of it")
        assert receiver.wait(10) == 0
    assert [(entry.name, entry.read_bytes()) for entry in folder.iterdir()] == [("file", b"all of it")]


def wait_until_asleep(process: subprocess.Popen[bytes]) -> None:
    """Until it does nothing but wait: asleep in a hundred looks, with the processor time of the first."""
    seen, count = "", 0
    while count < 100:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        switches = Path(f"/proc/{process.pid}/status").read_text().partition("voluntary_ctxt")[2]
        now = f"{fields[0]} {fields[11:13]} {switches}"
        seen, count = now, count + 1 if now == seen and fields[0] == "S" else 0
        assert process.poll() is None


def has_nameless_files(folder: Path) -> bool:
    if not hasattr(os, "O_TMPFILE"):
        return False
    try:
        os.close(os.open(folder, os.O_WRONLY | os.O_TMPFILE))
    except OSError:
        return False
    return True

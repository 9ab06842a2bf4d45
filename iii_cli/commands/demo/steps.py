"""The steps of `iii demo`, each a command of ours in a process of its own."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import time
import zlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from iii_cli.config.settings import format_bytes
from iii_cli.errors import ContentDiffers, Failure, cannot_read

if TYPE_CHECKING:
    pass

__all__ = ("run_demo",)

FUNCTION = "demo::gzip"
FILTER = ("gzip", "-1")
STEP_SECONDS = 60.0  # a step that hangs is a failure of the demo, not of the newcomer's patience
STOP_SECONDS = 5.0
CHUNK = 1 << 20
SMALL = 4 << 20  # bytes: below it the time says nothing about a stream
HIDDEN = ("-q", "--log", "off")  # keeps the demo's own page clean; nobody needs to type it


def run_demo(file: str | None) -> None:
    """Run every step. Raises the failure of the first one that fails; returns only if the digests agree."""
    source = _real_file(file)
    with tempfile.TemporaryDirectory(prefix="iii-demo-") as folder, ExitStack() as stack:
        demo = _Demo(Path(folder), stack)
        _say(f"A file of {format_bytes(source.stat().st_size)} through a Unix filter that is a function.\n")
        demo.start_engine()
        demo.serve_filter()
        demo.make_channels()
        seconds = demo.stream(source)
        _compare(source, demo.result, seconds)


@dataclass
class _Demo:
    """The processes of one demo. `stack` stops them, whatever happens."""

    folder: Path
    stack: ExitStack
    environ: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
        # Saved refs and contexts of the person stay out of it.
        self.environ |= {"XDG_STATE_HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder)}
        self.environ |= {"HOME": str(self.folder)}

    @property
    def result(self) -> Path:
        """What comes back."""
        return self.folder / "out.gz"

    def start_engine(self) -> None:
        """An engine of our own, on a port that is free."""
        _say("1. An engine. The real one is called `iii` too; for newcomers, tests and CI this one does:")
        words = ("engine", "run", "--port", "0", "--print-url", "--log", "off", "-q")
        engine = self.start(*words, stdout=subprocess.PIPE)
        assert engine.stdout is not None
        url = engine.stdout.readline().decode().strip()
        if not url:
            raise Failure("the demo's engine did not start")
        self.environ["III_URL"] = url
        _say(f"       it says {url}; export III_URL={url}\n")

    def serve_filter(self) -> None:
        """A worker in a second process: any Unix filter is a function."""
        _say("2. A worker: any Unix filter is a streaming function.")
        self.start("-q", "serve", FUNCTION, "--", *FILTER)
        self.finish(self.start("functions", "wait", FUNCTION, "--timeout", "30s"), "functions wait")
        _say("")

    def make_channels(self) -> None:
        """One channel each way."""
        _say("3. Two channels, one each way. A saved ref keeps its key out of `ps`.")
        for name in ("in", "out"):
            self.finish(self.start("channel", "create", "--save", name), "channel create")
        _say("")

    def stream(self, source: Path) -> float:
        """Everything at once: write, call, read. Returns the seconds it took."""
        _say("4. The call, with the data flowing in and out beside it.")
        started = time.monotonic()
        writer = self.start("channel", "write", "@in", str(source))
        refs = ("--ref", "stdin=@in/reader", "--ref", "stdout=@out/writer")
        call = self.start("trigger", FUNCTION, *refs, stdout=subprocess.PIPE)
        reader = self.start("channel", "read", "@out", "-o", str(self.result))
        self.finish(writer, "channel write")
        self.finish(reader, "channel read")
        self.finish(call, "trigger")
        seconds = time.monotonic() - started
        _say(f"\n   The same in one line:\n     $ iii trigger {FUNCTION} --in {source} --out out.gz\n")
        return seconds

    def start(self, *words: str, stdout: int | IO[bytes] | None = None) -> subprocess.Popen[bytes]:
        """Start one of our commands, printed as a person would type it. It is stopped at the end."""
        shown = [word for word in words if word not in HIDDEN]
        _say(f"     $ iii {shlex.join(shown)}".replace(str(self.folder), "."))
        process = subprocess.Popen(
            _command(words), env=self.environ, stdin=subprocess.DEVNULL, stdout=stdout or subprocess.DEVNULL
        )
        self.stack.callback(_stop, process)
        return process

    def finish(self, process: subprocess.Popen[bytes], name: str) -> None:
        """Wait for a step. Raises Failure where it failed; it has said why on stderr."""
        try:
            code = process.wait(STEP_SECONDS * 10)
        except subprocess.TimeoutExpired:
            raise Failure(f"`iii {name}` did not end") from None
        if code:
            raise Failure(f"`iii {name}` ended with {code}")


def _command(words: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "iii_cli", *words]


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _real_file(name: str | None) -> Path:
    """FILE, or one that every machine has: the Python that runs this, or its library where it is in one."""
    if name is None:
        library = Path(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or "")
        found = [path for path in (Path(os.path.realpath(sys.executable)), library) if path.is_file()]
        return max(found, key=lambda path: path.stat().st_size)
    path = Path(name)
    try:
        with path.open("rb") as probe:
            probe.read(1)
    except OSError as error:
        raise cannot_read(str(name), error) from None
    return path


def _compare(source: Path, packed: Path, seconds: float) -> None:
    """What came back, unpacked here, must be what went in."""
    size, sent = _digest(source)
    received_size, received = _unpacked_digest(packed)
    _say("5. What came out, unpacked, against what went in:")
    _say(f"     sha256 in   {sent}\n     sha256 out  {received}")
    if received != sent:
        raise ContentDiffers(f"what came back is not what was sent: {received_size} of {size} bytes")
    spent = f"in {FILTER[0]}" if size > SMALL else "starting the processes"
    _say(f"   Equal. {size} bytes in {seconds:.2f} s, most of it spent {spent}.")


def _digest(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _unpacked_digest(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    unpacker = zlib.decompressobj(wbits=31)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            data = unpacker.decompress(chunk)
            digest.update(data)
            size += len(data)
    return size, digest.hexdigest()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()

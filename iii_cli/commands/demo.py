"""`iii demo`: the product's main job in one command, on an engine of its own."""

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
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from iii_cli.errors import ContentDiffers, Failure, cannot_read
from iii_cli.quantities import format_bytes

__all__ = ("demo_app",)

demo_app = typer.Typer()

FUNCTION = "demo::gzip"
STEP_SECONDS = 600.0  # a step that hangs is a failure of the demo, not of the newcomer's patience
STOP_SECONDS = 5.0
CHUNK = 1 << 20
SMALL = 4 << 20  # bytes: below it the time says nothing about a stream
HIDDEN = ("-q", "--log", "off")  # keeps the demo's own page clean; nobody needs to type it


@demo_app.command(name="demo")
def demo_command(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="File to send. [a real file it finds]")
    ] = None,
) -> None:
    """Stream a file through a served Unix filter and back, and compare what came out.

    Starts an engine on a free port, whatever III_URL says, and leaves nothing behind. Prints the commands
    that a person would type for each step, then what it measured.

    \b
    Examples:
      iii demo
      iii demo big.bin
    """
    source = _real_file(file)
    try:
        size, sent = _digest(source)
    except OSError as error:
        raise cannot_read(str(source), error) from None
    with tempfile.TemporaryDirectory(prefix="iii-demo-") as name, ExitStack() as stack:
        folder = Path(name)
        result = folder / "out.gz"
        # Saved refs and contexts of the person stay out of it.
        environ = {key: value for key, value in os.environ.items() if not key.startswith("III_")}
        environ |= dict.fromkeys(("XDG_STATE_HOME", "XDG_CONFIG_HOME", "HOME"), name)

        def start(*words: str, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
            """Start one of our commands, printed as a person would type it. It is stopped at the end."""
            shown = shlex.join(word for word in words if word not in HIDDEN)
            _say(f"     $ iii {shown}".replace(name, "."))
            command = [sys.executable, "-m", "iii_cli", *words]
            process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=stdout)
            stack.callback(_stop, process)
            return process

        def finish(process: subprocess.Popen[bytes], command: str) -> None:
            """Wait for a step. One that failed has said why on stderr."""
            try:
                code = process.wait(STEP_SECONDS)
            except subprocess.TimeoutExpired:
                raise Failure(f"`iii {command}` did not end") from None
            if code:
                raise Failure(f"`iii {command}` ended with {code}")

        _say(f"A file of {format_bytes(size)} through a Unix filter that is a function.\n")

        _say("1. An engine. The real one is called `iii` too; for newcomers, tests and CI this one does:")
        words = ("engine", "run", "--port", "0", "--print-url", "--log", "off", "-q")
        engine = start(*words, stdout=subprocess.PIPE)
        assert engine.stdout is not None
        url = engine.stdout.readline().decode().strip()
        if not url:
            raise Failure("the demo's engine did not start")
        environ["III_URL"] = url
        _say(f"       it says {url}; export III_URL={url}\n")

        _say("2. A worker: any Unix filter is a streaming function.")
        start("-q", "serve", FUNCTION, "--", "gzip", "-1")
        finish(start("functions", "wait", FUNCTION, "--timeout", "30s"), "functions wait")

        _say("\n3. Two channels, one each way. A saved ref keeps its key out of `ps`.")
        for channel in ("in", "out"):
            finish(start("channel", "create", "--save", channel), "channel create")

        _say("\n4. The call, with the data flowing in and out beside it.")
        started = time.monotonic()
        writer = start("channel", "write", "@in", str(source))
        call = start("trigger", FUNCTION, "--ref", "stdin=@in/reader", "--ref", "stdout=@out/writer")
        reader = start("channel", "read", "@out", "-o", str(result))
        finish(writer, "channel write")
        finish(reader, "channel read")
        finish(call, "trigger")
        seconds = time.monotonic() - started
        _say(f"\n   The same in one line:\n     $ iii trigger {FUNCTION} --in {source} --out out.gz\n")

        _say("5. What came out, unpacked, against what went in:")
        received_size, received = _digest(result, zlib.decompressobj(wbits=31).decompress)
        _say(f"     sha256 in   {sent}\n     sha256 out  {received}")
        if received != sent:
            raise ContentDiffers(f"what came back is not what was sent: {received_size} of {size} bytes")
        spent = "in gzip" if size > SMALL else "starting the processes"
        _say(f"   Equal. {size} bytes in {seconds:.2f} s, most of it spent {spent}.")


def _real_file(name: str | None) -> Path:
    """FILE, or one that every machine has: the Python that runs this, or its library where it is in one."""
    if name is not None:
        return Path(name)
    library = Path(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or "")
    found = [path for path in (Path(os.path.realpath(sys.executable)), library) if path.is_file()]
    return max(found, key=lambda path: path.stat().st_size)


def _digest(path: Path, unpacked: Callable[[bytes], bytes] = bytes) -> tuple[int, str]:
    """How many bytes the file holds, `unpacked`, and their sha256. Raises OSError."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            data = unpacked(chunk)
            digest.update(data)
            size += len(data)
    return size, digest.hexdigest()


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


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()

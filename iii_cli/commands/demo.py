"""`iii demo`: the product's main job in one command, on an engine of its own."""

from __future__ import annotations

import gzip
import hashlib
import os
import shlex
import sys
import sysconfig
import tempfile
import time
import zlib
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import Annotated

import typer

from iii_cli.errors import ContentDiffers, Failure, cannot_read
from iii_cli.io.console import emit

__all__ = ("demo_app",)

demo_app = typer.Typer()

FUNCTION = "demo::gzip"


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
    source = Path(file).absolute() if file is not None else _real_file()
    try:
        with source.open("rb") as sent:
            digest, size = hashlib.file_digest(sent, "sha256").hexdigest(), sent.tell()
    except OSError as error:
        raise cannot_read(str(source), error) from None
    with tempfile.TemporaryDirectory(prefix="iii-demo-") as folder, ExitStack() as stack:
        # Saved refs and contexts of the person stay out of it.
        environ = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
        environ |= dict.fromkeys(("XDG_STATE_HOME", "XDG_CONFIG_HOME", "HOME"), folder)

        def start(*words: str) -> Popen[bytes]:
            """Start one of our commands, shown as a person would type it. It is stopped at the end."""
            emit(f"   $ iii {shlex.join(words)}\n")
            command = [sys.executable, "-m", "iii_cli", "-q", *words]
            process = Popen(command, env=environ, cwd=folder, stdin=DEVNULL, stdout=PIPE)
            stack.enter_context(process)
            stack.callback(process.terminate)
            return process

        def finish(*words: str) -> None:
            if code := start(*words).wait():  # it has said why on stderr
                raise Failure(f"`iii {words[0]}` ended with {code}")

        emit("1. An engine. The real one is called `iii` too; for newcomers, tests and CI this one does:\n")
        engine = start("engine", "run", "--port", "0", "--print-url", "--log", "off")
        assert engine.stdout is not None
        environ["III_URL"] = engine.stdout.readline().decode().strip()
        if not environ["III_URL"]:
            raise Failure("the demo's engine did not start")
        emit(f"   export III_URL={environ['III_URL']}\n\n2. A worker: any Unix filter is a function.\n")
        start("serve", FUNCTION, "--", "gzip", "-1")
        finish("functions", "wait", FUNCTION, "--timeout", "30s")

        emit("\n3. A call, and a channel each way for its data.\n")
        began = time.monotonic()
        finish("trigger", FUNCTION, "--in", str(source), "--out", "out.gz")
        spent = time.monotonic() - began

        emit("\n4. What came out, unpacked, against what went in:\n")
        try:
            with gzip.open(Path(folder, "out.gz")) as result:
                received = hashlib.file_digest(result, "sha256").hexdigest()
        except (OSError, EOFError, zlib.error) as error:
            received = str(error)
        emit(f"   sha256 in   {digest}\n   sha256 out  {received}\n")
        if received != digest:
            raise ContentDiffers("not equal: what came back is not what was sent")
        emit(f"   Equal. {size} bytes in {spent:.2f} s, the start of the program and gzip included.\n")


def _real_file() -> Path:
    """One that every machine has: the Python that runs this, or its library where it is in one."""
    library = Path(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or "")
    found = [path for path in (Path(os.path.realpath(sys.executable)), library) if path.is_file()]
    return max(found, key=lambda path: path.stat().st_size)

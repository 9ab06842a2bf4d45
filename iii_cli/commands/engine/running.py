"""What `iii engine run` and `iii engine exec` do with their options."""

from __future__ import annotations

import math
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from iii_cli.commands.common import run, tell
from iii_cli.commands.engine.log import notice_for
from iii_cli.engine.model import Settings
from iii_cli.engine.server import SHUTDOWN_TIMEOUT, serve_engine
from iii_cli.errors import ExitStatus, Interrupted, UsageProblem, sole_cause
from iii_cli.io.descriptors import allow_open_files
from iii_cli.io.process import prepare_command, spawn
from iii_cli.io.signals import heard
from iii_cli.quantities import byte_count, seconds

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from iii_cli.engine.door import Guard
    from iii_cli.io.process import Child

__all__ = ("RunOptions", "engine_settings", "exec_with_engine", "run_engine")

FORWARDED = ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2")
CLEARED = ("III_TOKEN", "III_TOKEN_FILE", "III_NAMESPACE", "III_CONTEXT", "III_WRITER", "III_READER")
"""All of an engine elsewhere."""
DESCRIPTORS_WANTED = 65_536  # a socket each for workers and channel ends; the usual limit is 1024


class RunOptions(Struct, frozen=True):
    """The options of `engine run`, as typed."""

    host: str
    port: int
    print_url: bool
    log: str
    shutdown_timeout: str | None
    settings: Settings
    guard: Guard
    tls: ssl.SSLContext | None
    quiet: bool


def engine_settings(max_channels: int | None, max_buffer_bytes: str | None) -> Settings:
    """The engine's limits. Raises UsageProblem."""
    usual = Settings()
    if max_channels is not None and max_channels < 1:
        raise UsageProblem("--max-channels is 1 or more")
    buffer_bytes = usual.max_buffer_bytes
    if max_buffer_bytes is not None:
        buffer_bytes = byte_count(max_buffer_bytes, "--max-buffer-bytes")
    return Settings(
        max_channels=usual.max_channels if max_channels is None else max_channels,
        max_buffer_bytes=buffer_bytes,
        max_total_bytes=max(usual.max_total_bytes, 2 * buffer_bytes),
    )


def run_engine(options: RunOptions) -> int:
    """Be the engine until a signal. SIGTERM is the way to stop it, so it ends with 0."""
    if not 0 <= options.port < 65536:
        raise UsageProblem("--port is a number from 0 to 65535")
    allow_open_files(DESCRIPTORS_WANTED)
    try:
        run(_run, options)
    except Interrupted as stop:
        if stop.signum != signal.SIGTERM:
            raise
    return ExitStatus.DONE


async def _run(options: RunOptions) -> None:
    import anyio

    timeout: float | None = SHUTDOWN_TIMEOUT
    if options.shutdown_timeout is not None:
        timeout = seconds(options.shutdown_timeout, "--shutdown-timeout")
    serve = partial(
        serve_engine,
        options.host,
        options.port,
        settings=options.settings,
        guard=options.guard,
        tls=options.tls,
        notice=notice_for(options.log),
        shutdown_timeout=math.inf if timeout is None else timeout,
    )
    async with anyio.create_task_group() as tasks:
        url = await tasks.start(serve)
        if options.print_url:
            sys.stdout.write(f"{url}\n")
            sys.stdout.flush()
        if not options.quiet and options.log != "json":
            tell(f"the engine is at {url}; Ctrl-C stops it")


def exec_with_engine(command: list[str] | None, log: str, settings: Settings) -> int:
    """Run COMMAND beside an engine of its own, and end as it ended.

    Raises UsageProblem, CommandNotFound, CommandNotRunnable before an engine is started.
    """
    import anyio

    command = command or []
    prepare_command(command)
    notice = notice_for(log)
    allow_open_files(DESCRIPTORS_WANTED)
    try:
        return anyio.run(_exec, command, settings, notice)
    except BaseExceptionGroup as group:
        raise sole_cause(group) from None


async def _exec(command: list[str], settings: Settings, notice: Callable[..., None]) -> int:
    import anyio

    serve = partial(serve_engine, "localhost", 0, settings=settings, notice=notice, shutdown_timeout=0)
    with anyio.open_signal_receiver(*heard(FORWARDED)) as signals:
        async with anyio.create_task_group() as tasks:
            url = await tasks.start(serve)
            code = await _run_command(command, url, signals)
            tasks.cancel_scope.cancel()
    return code


async def _run_command(command: list[str], url: str, signals: AsyncIterator[signal.Signals]) -> int:
    """Signals go to COMMAND, and its own decision what to do about them is ours."""
    import anyio

    env = {name: value for name, value in os.environ.items() if name not in CLEARED}
    async with spawn(command, env=env | {"III_URL": url}) as child, anyio.create_task_group() as tasks:
        tasks.start_soon(_forward, signals, child)
        code = await child.wait()
        await child.terminate()  # what it left in the background has no engine any more
        tasks.cancel_scope.cancel()
    return code


async def _forward(signals: AsyncIterator[signal.Signals], child: Child) -> None:
    async for signum in signals:
        child.signal(signum)

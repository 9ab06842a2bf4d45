"""`iii engine run | exec`: be the embedded engine, alone or beside a COMMAND."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from iii_cli.commands.common import (
    NeedsCommand,
    choice,
    flags_of,
    passthrough_of,
    run,
    run_listening,
    span_of,
    tell,
    within,
)
from iii_cli.config.store import read_token_file
from iii_cli.errors import ExitStatus, Interrupted, UsageProblem
from iii_cli.io.console import clean, console, escape_json
from iii_cli.io.descriptors import allow_open_files
from iii_cli.io.process import prepare_command, spawn
from iii_cli.io.signals import heard, receiving
from iii_cli.quantities import byte_count

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Coroutine

    from iii_cli.config.settings import GlobalFlags
    from iii_cli.engine.door import Guard
    from iii_cli.engine.model import Settings
    from iii_cli.io.process import Child

__all__ = ("engine_app",)

engine_app = typer.Typer(no_args_is_help=True, help="Run the embedded engine: for development, tests and CI.")

TOKEN_CHARACTERS_MIN = 16  # 96 bits in base64; a shorter token can be guessed over a network
DESCRIPTORS_WANTED = 65_536  # a socket each for workers and channel ends; the usual limit is 1024
FORWARDED = ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2")
CLEARED = ("III_TOKEN", "III_TOKEN_FILE", "III_NAMESPACE", "III_CONTEXT", "III_WRITER", "III_READER")
"""All of an engine elsewhere."""

Log = Annotated[str, typer.Option(metavar="text|json|off", help="Format of the engine's log on stderr.")]
MaxChannels = Annotated[
    int | None,
    typer.Option("--max-channels", metavar="N", help="Allow N open channels at a time. [10000]"),
]
MaxBufferBytes = Annotated[
    str | None,
    typer.Option("--max-buffer-bytes", metavar="SIZE", help="Buffer up to SIZE in each channel. [64M]"),
]


@engine_app.command(name="run")
def run_command(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "localhost",
    port: Annotated[int, typer.Option(metavar="PORT", help="Port to listen on; 0 takes a free one.")] = 49134,
    print_url: Annotated[
        bool, typer.Option("--print-url", help="Print the URL on stdout once the engine listens.")
    ] = False,
    log: Annotated[
        str | None,
        typer.Option(
            metavar="text|json|off", help="Format of the engine's log on stderr. [text; off with -q]"
        ),
    ] = None,
    max_channels: MaxChannels = None,
    max_buffer_bytes: MaxBufferBytes = None,
    shutdown_timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Let open channels go on for TIME when it stops. [500ms]"),
    ] = None,
    token_file: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Serve only clients with the bearer token in FILE."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Accept web pages of ORIGIN. Repeatable.")
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Accept NAME as a host name of the engine. Repeatable."),
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="Serve wss:// with the certificate in FILE (PEM).")
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option(metavar="FILE", help="Private key for --tls-cert, if it is in another file.")
    ] = None,
) -> int:
    """Run an engine until it is stopped. It forgets everything then.

    It listens on loopback. A HOST that other machines reach needs --token-file, and should have --tls-cert:
    then it speaks wss:// only. Web pages are refused, and so are host names that are not localhost, HOST or
    NAME.

    \b
    Examples:
      iii engine run
      iii engine run --port 0 --print-url --log off
      iii engine run --allow-origin http://localhost:5173
      iii engine run --host 0.0.0.0 --allow-host engine --token-file /run/secrets/iii
      iii engine run --tls-cert engine.pem --tls-key engine.key
    """
    from iii_cli.engine.server import SHUTDOWN_TIMEOUT, EngineServer

    flags = flags_of(ctx)
    _refuse_client_options(flags, "run")
    settings = _limits(max_channels, max_buffer_bytes)
    guard = _guard(host, token_file or flags.token_file, allow_origin or [], allow_host or [])
    tls = _tls(tls_cert, tls_key)
    log = log or ("off" if flags.quiet else "text")
    notice = _notice(log)
    within(port, 0, 65535, "--port is a number")
    timeout = span_of(shutdown_timeout, "--shutdown-timeout", SHUTDOWN_TIMEOUT)
    serve = partial(
        EngineServer(settings=settings, guard=guard, tls=tls, notice=notice).serve,
        host,
        port,
        shutdown_timeout=math.inf if timeout is None else timeout,
    )

    def started(url: str) -> None:
        if print_url:
            sys.stdout.write(f"{url}\n")
            sys.stdout.flush()
        if not flags.quiet and log != "json":
            tell(f"the engine is at {url}; Ctrl-C stops it")

    allow_open_files(DESCRIPTORS_WANTED)
    try:
        run(_serve, serve, started)
    except Interrupted as stop:
        if stop.signum != signal.SIGTERM:  # the way to stop it
            raise
    return ExitStatus.DONE


async def _serve(serve: Callable[..., Coroutine[Any, Any, None]], started: Callable[[str], None]) -> None:
    import anyio

    async with anyio.create_task_group() as tasks:
        started(await tasks.start(serve))


@engine_app.command(name="exec", cls=NeedsCommand)
def exec_command(
    ctx: typer.Context,
    log: Log = "off",
    max_channels: MaxChannels = None,
    max_buffer_bytes: MaxBufferBytes = None,
) -> int:
    """Run COMMAND beside an engine of its own, on a free port, and end as COMMAND ends.

    COMMAND finds the engine by III_URL; III_TOKEN, III_NAMESPACE and III_CONTEXT are cleared for it.

    \b
    Examples:
      iii engine exec -- pytest
      iii engine exec -- sh -c 'python worker.py & iii functions wait hello && iii trigger hello'
    """
    from iii_cli.engine.server import EngineServer

    _refuse_client_options(flags_of(ctx), "exec")
    settings = _limits(max_channels, max_buffer_bytes)
    command = passthrough_of(ctx) or []
    prepare_command(command)  # before an engine is started
    notice = _notice(log)
    allow_open_files(DESCRIPTORS_WANTED)
    server = EngineServer(settings=settings, notice=notice)
    serve = partial(server.serve, "localhost", 0, shutdown_timeout=0)
    return run_listening(_exec, command, serve)


async def _exec(
    command: list[str], serve: Callable[..., Coroutine[Any, Any, None]], listening: Callable[[], None]
) -> int:
    """Signals go to COMMAND, and its own decision what to do about them is ours."""
    import anyio

    env = {name: value for name, value in os.environ.items() if name not in CLEARED}
    with receiving(heard(FORWARDED)) as signals:
        listening()
        async with anyio.create_task_group() as tasks:
            url = await tasks.start(serve)
            async with spawn(command, env=env | {"III_URL": url}) as child:
                tasks.start_soon(_forward, signals, child)
                code = await child.wait()
                await child.terminate()  # what it left in the background has no engine any more
            tasks.cancel_scope.cancel()
    return code


async def _forward(signals: AsyncIterator[signal.Signals], child: Child) -> None:
    async for signum in signals:
        child.signal(signum)


# Options


def _limits(max_channels: int | None, max_buffer_bytes: str | None) -> Settings:
    """The engine's limits. Raises UsageProblem."""
    from iii_cli.engine.model import Settings

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


def _guard(host: str, token_file: str | None, origins: list[str], hosts: list[str]) -> Guard:
    """Who may use the engine. Raises UsageProblem and LocalProblem."""
    from iii_cli.engine.door import Guard, MalformedOrigin, host_name, origin_of

    notices: list[str] = []
    token = None
    if token_file is not None:
        token = read_token_file(token_file, "--token-file", notices)
        if len(token.reveal()) < TOKEN_CHARACTERS_MIN:
            notices.append("that token is short enough to guess; make one with: openssl rand -hex 32")
    for notice in notices:
        tell(notice)
    for name in hosts:
        if not host_name(name) or host_name(name) != name.lower().removesuffix("."):
            raise UsageProblem("--allow-host is a name without a port, as in --allow-host engine")
    try:
        allowed = frozenset(map(origin_of, origins))
    except MalformedOrigin as error:
        raise UsageProblem(f"--allow-origin: {error}") from None
    return Guard(token, allowed, frozenset(map(host_name, [host, *hosts])))


def _tls(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    """What the engine's sockets are secured with, None for nothing. Raises UsageProblem and LocalProblem."""
    from iii_cli.engine.server import server_context

    if certificate is None and key is not None:
        raise UsageProblem("--tls-key needs --tls-cert")
    return None if certificate is None else server_context(certificate, key)


_WHERE = "--host HOST and --port PORT say where the engine listens"
_DIALS = "the engine connects to nothing"
_CHECKS = "the engine checks no certificate; --tls-cert FILE is the one that it shows"
_NOT_OF_RUN = {  # global options, and what to do instead
    "url": _WHERE,
    "context": _WHERE,
    "namespace": "functions and calls name their namespaces themselves",
    "connect_timeout": _DIALS,
    "wait_engine": _DIALS,
    "cacert": _CHECKS,
    "cert": "--tls-cert FILE is the certificate that the engine shows",
    "key": "--tls-key FILE is the key of the engine's certificate",
    "server_name": _CHECKS,
    "headers": "--token-file FILE is what the engine asks of clients",
}
_NOT_OF_EXEC = "COMMAND finds its engine by III_URL, and options for it stand behind `--`"


def _refuse_client_options(flags: GlobalFlags, command: str) -> None:
    """Global options are for clients: an engine that ignored one would not be the engine that was meant.

    Raises UsageProblem.
    """
    beside = command == "exec"
    for name in (*_NOT_OF_RUN, "token_file") if beside else _NOT_OF_RUN:
        if getattr(flags, name) not in (None, ()):
            option = "--header" if name == "headers" else f"--{name.replace('_', '-')}"
            hint = _NOT_OF_EXEC if beside else _NOT_OF_RUN[name]
            raise UsageProblem(f"`iii engine {command}` takes no {option}", hint=hint)


# The log: a line each on stderr, which never holds the engine up


def _notice(form: str) -> Callable[..., None]:
    """What the engine tells its events to. Raises UsageProblem."""
    ways = {"text": _as_text, "json": _as_json, "off": lambda event, /, **details: None}
    way: Callable[..., None] = ways[choice(form, "--log", tuple(ways))]
    return way


def _as_text(event: str, /, **details: Any) -> None:
    """`18:02:11 worker announced  name=images namespace=default`"""
    if event == "listening":  # that has been said in a sentence
        return
    words = " ".join(f"{key}={_word(value)}" for key, value in details.items() if value is not None)
    console.stderr.write(f"{_now().astimezone():%H:%M:%S} {clean(f'{event}  {words}').rstrip()}\n")


def _word(value: Any) -> str:
    text = str(value)
    return text if text and " " not in text and '"' not in text else json.dumps(text, ensure_ascii=False)


def _as_json(event: str, /, **details: Any) -> None:
    document = {"time": _now().isoformat(timespec="milliseconds"), "event": event, **details}
    console.stderr.write(escape_json(json.dumps(document, ensure_ascii=False, default=str)) + "\n")


def _now() -> datetime:
    return datetime.now(UTC)

"""`iii engine run | exec`."""

from __future__ import annotations

from typing import Annotated

import typer

from iii_cli.commands.common import NeedsTail, flags_of, tail_of
from iii_cli.commands.engine.client_options import refuse_client_options

__all__ = ("engine_app",)

engine_app = typer.Typer(no_args_is_help=True, help="Run the embedded engine: for development, tests and CI.")

Log = Annotated[str, typer.Option(metavar="text|json|off", help="What the engine says on stderr.")]
MaxChannels = Annotated[
    int | None, typer.Option("--max-channels", metavar="N", help="Channels open at once. [10000]")
]
MaxBufferBytes = Annotated[
    str | None,
    typer.Option("--max-buffer-bytes", metavar="SIZE", help="What one channel may hold back. [64M]"),
]


@engine_app.command(name="run")
def run_command(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(metavar="HOST", help="Where to listen.")] = "localhost",
    port: Annotated[int, typer.Option(metavar="PORT", help="0 takes a free one.")] = 49134,
    print_url: Annotated[
        bool, typer.Option("--print-url", help="Print the URL on stdout once it is listening.")
    ] = False,
    log: Annotated[
        str | None,
        typer.Option(metavar="text|json|off", help="What the engine says on stderr. [text; off with -q]"),
    ] = None,
    max_channels: MaxChannels = None,
    max_buffer_bytes: MaxBufferBytes = None,
    shutdown_timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="How long open channels may go on when it stops. [500ms]"),
    ] = None,
    token_file: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Serve only who sends the bearer token in FILE."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None, typer.Option(metavar="ORIGIN", help="Let web pages of ORIGIN in. Repeatable.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name it is reached by. Repeatable.")
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
    from iii_cli.commands.engine.guard import guard_of, tls_of
    from iii_cli.commands.engine.running import RunOptions, engine_settings, run_engine

    flags = flags_of(ctx)
    refuse_client_options(flags, "run")
    settings = engine_settings(max_channels, max_buffer_bytes)
    guard = guard_of(host, token_file or flags.token_file, allow_origin or [], allow_host or [])
    log = log or ("off" if flags.quiet else "text")
    tls = tls_of(tls_cert, tls_key)
    options = RunOptions(host, port, print_url, log, shutdown_timeout, settings, guard, tls, flags.quiet)
    return run_engine(options)


@engine_app.command(name="exec", cls=NeedsTail)
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
    from iii_cli.commands.engine.running import engine_settings, exec_with_engine

    refuse_client_options(flags_of(ctx), "exec")
    return exec_with_engine(tail_of(ctx), log, engine_settings(max_channels, max_buffer_bytes))

"""`iii serve NAME -- COMMAND...`."""

from __future__ import annotations

import math
import os
from functools import partial
from typing import Annotated, Any

import typer

from iii_cli.commands.common import (
    NeedsCommand,
    PassToken,
    choice,
    hand_over_token,
    passthrough_of,
    run,
    settings_of,
    span_of,
)
from iii_cli.errors import LocalProblem, UsageProblem, cannot_read
from iii_cli.io.console import console
from iii_cli.quantities import seconds

__all__ = ("serve_app",)

serve_app = typer.Typer()

GRACE = "5s"
SHUTDOWN = "10s"


@serve_app.command(name="serve", cls=NeedsCommand)
def serve_command(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The function's id, such as text::gzip.")],
    stdin: Annotated[
        str,
        typer.Option(
            metavar="ref|json|none", help="Input: the channel at `stdin` (ref), the payload (json), or none."
        ),
    ] = "ref",
    stdout: Annotated[
        str, typer.Option(metavar="ref|result", help="Output: the channel at `stdout` (ref), or the result.")
    ] = "ref",
    require_seal: Annotated[
        bool, typer.Option("--require-seal", envvar="III_REQUIRE_SEAL", help="Refuse unsealed input.")
    ] = False,
    allow_empty: Annotated[bool, typer.Option("--allow-empty", help="Accept unsealed empty input.")] = False,
    stop_early: Annotated[
        bool,
        typer.Option("--stop-early", help="Neither read nor verify input that COMMAND does not want."),
    ] = False,
    max_parallel: Annotated[
        int | None, typer.Option(metavar="N", help="Run at most N at once; up to 64 more wait. [CPUs]")
    ] = None,
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="Fail a run after TIME. [none]")] = None,
    grace: Annotated[str, typer.Option(metavar="TIME", help="Time between SIGTERM and SIGKILL.")] = GRACE,
    cwd: Annotated[str | None, typer.Option(metavar="DIR", help="Run COMMAND in DIR.")] = None,
    pass_token: PassToken = False,
    description: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Description of the function.")
    ] = None,
    schema: Annotated[str | None, typer.Option(metavar="FILE", help="JSON Schema of the payload.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Answer one call and end.")] = False,
    standby: Annotated[
        bool, typer.Option("--standby", help="Wait for the name while another worker has it.")
    ] = False,
    shutdown_timeout: Annotated[
        str, typer.Option(metavar="TIME", help="After SIGTERM, let running calls go on for TIME.")
    ] = SHUTDOWN,
    progress: Annotated[
        str, typer.Option(metavar="auto|json", help="json: write an object for each line on stderr.")
    ] = "auto",
) -> None:
    """Make any Unix filter a function: COMMAND runs once for each call.

    Input comes from the channel that the payload names at `stdin`, output goes to the one at `stdout`.
    Nothing of a payload reaches COMMAND's arguments or environment. Input that was cut never looks like its
    end, and a COMMAND that fails aborts its output.

    \b
    Examples:
      iii serve text::gzip -- gzip -9
      iii serve json::keys --stdin json --stdout result -- jq keys
    """
    from iii_cli.client.filter import Filter
    from iii_cli.commands.serving import Service, run_command
    from iii_cli.commands.streams import check_stop_early
    from iii_cli.io.process import prepare_command

    choice(progress, "--progress", ("auto", "json"))
    if not name.strip():
        raise UsageProblem("NAME is blank")
    if name.startswith("engine::"):
        raise UsageProblem("names that begin with engine:: are the engine's own")
    check_stop_early(stop_early, require_seal)
    source = choice(stdin, "--stdin", ("ref", "json", "none"))
    target = choice(stdout, "--stdout", ("ref", "result"))
    limit = span_of(timeout, "--timeout", None)
    if max_parallel is not None and max_parallel < 1:
        raise UsageProblem("--max-parallel is at least 1")
    if cwd is not None and not os.path.isdir(cwd):
        raise LocalProblem(f"--cwd: no folder {cwd}")
    argv = passthrough_of(ctx) or []
    if not argv:
        raise UsageProblem("no COMMAND", hint=f"write it behind `--`: iii serve {name} -- COMMAND")
    hand_over_token(pass_token, to_command=True)
    patience = seconds(grace, "--grace") or math.inf
    word = argv[0]
    if cwd is not None and os.sep in word:
        word = os.path.join(cwd, word)  # as the command itself would see it
    prepare_command([word, *argv[1:]])
    command = partial(
        run_command,
        [word, *argv[1:]],
        name=argv[0],
        feed=source != "none",
        cwd=cwd,
        grace=patience,
        show=partial(_show, argv[0]),
    )
    request_format = _request_schema(source, target) if schema is None else _schema(schema)
    about = {
        "description": description or f"Runs {argv[0]}: reads {READS[source]}, writes to {WRITES[target]}.",
        "request_format": request_format,
        "response_format": _response_schema(target),
    }
    settings = settings_of(ctx)
    handler = Filter(
        settings.endpoint,
        command,
        stdin=source,
        stdout=target,
        require_seal=require_seal,
        allow_empty=allow_empty,
        stop_early=stop_early,
        max_parallel=max_parallel or max(4, os.cpu_count() or 4),
        timeout=limit,
    )
    shutdown = seconds(shutdown_timeout, "--shutdown-timeout")
    run(lambda: Service(settings, name, handler, about, once, standby, shutdown).run())


def _show(command: str, line: str) -> None:
    """What COMMAND says on its stderr. It may repeat what a stranger sent."""
    from iii_cli.commands.streams import tell_line
    from iii_cli.io.console import clean

    if console.as_json:
        tell_line(command, line)
    elif not console.quiet:
        console.stderr.write(f"{clean(line) if console.stderr.is_terminal else line}\n")


def _schema(path: str) -> dict[str, Any]:
    import json

    try:
        with open(path, "rb") as file:
            schema = json.load(file)
    except OSError as error:
        raise cannot_read(path, error) from None
    except ValueError:
        raise LocalProblem(f"--schema: {path} is not JSON") from None
    if not isinstance(schema, dict):
        raise LocalProblem(f"--schema: {path} is not a JSON Schema, which is an object")
    return schema


# What the engine is told, so that `trigger NAME --help` and completion know it. Of COMMAND the first word
# alone: the others may be secrets.

READS = {"ref": "the channel at `stdin`", "json": "the payload as JSON", "none": "nothing"}
WRITES = {"ref": "the channel at `stdout`", "result": "the result"}


def _request_schema(source: str, target: str) -> dict[str, Any]:
    """JSON Schema of the payload."""
    properties = {}
    if source == "ref":
        properties["stdin"] = _ref("The reader ref of the channel to read from.", "read")
    if target == "ref":
        properties["stdout"] = _ref("The writer ref of the channel to write to.", "write")
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": list(properties)}
    return schema if properties or source != "json" else {}


def _response_schema(target: str) -> dict[str, Any]:
    """JSON Schema of the result."""
    properties: dict[str, Any] = {
        "exit_code": {"type": "integer"},
        "stdin_bytes": {"type": "integer"},
        "stdin_digest": {
            "type": ["string", "null"],
            "description": "xxh3_128 of the whole input; null if not all was read from a channel.",
        },
        "stdin_verified": {"type": "boolean", "description": "Was the input sealed, and is it whole?"},
        "stdout_bytes": {"type": "integer"},
        "digest": {"type": "string", "description": "xxh3_128 of the output, hex."},
        "stderr_tail": {"type": "string"},
        "duration_ms": {"type": "integer"},
    }
    if target == "result":
        properties |= {
            "stdout": {"type": "string", "description": "The output, if it is UTF-8."},
            "stdout_base64": {"type": "string", "description": "The output, if it is not."},
            "json": {"description": "The output's value, if it is JSON."},
        }
    return {"type": "object", "properties": properties}


def _ref(description: str, direction: str) -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "description": description,
        "properties": {
            "channel_id": text,
            "access_key": text,
            "direction": {"type": "string", "enum": [direction]},
        },
        "required": ["channel_id", "access_key", "direction"],
    }

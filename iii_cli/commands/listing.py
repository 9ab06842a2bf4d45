"""What is on an engine: `iii functions`, `iii workers` and `iii trace`."""

from __future__ import annotations

import re
import time
from json import dumps
from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import replace

from iii_cli.client.call import CALL_SECONDS, BlockingCaller, call
from iii_cli.commands.common import AsJson, meant_name, rows_of, settings_of
from iii_cli.config.store import did_you_mean
from iii_cli.errors import (
    EngineUnreachable,
    Failure,
    FunctionFailed,
    PeerMisbehaved,
    TimedOut,
    UnknownTarget,
    UsageProblem,
)
from iii_cli.io.console import aligned, clean, console, ellipsis, emit, print_json, print_table
from iii_cli.protocol.payload import skeleton
from iii_cli.protocol.seal import is_count
from iii_cli.quantities import format_duration, seconds

if TYPE_CHECKING:
    from iii_cli.config.settings import Settings

__all__ = (
    "draw_tree",
    "find_function",
    "functions_app",
    "parameter_lines",
    "parameters_of",
    "schema_of",
    "trace_app",
    "workers_app",
)

functions_app = typer.Typer(no_args_is_help=True, help="See which functions there are, and wait for them.")
workers_app = typer.Typer(no_args_is_help=True, help="See which workers are connected, and what they offer.")
trace_app = typer.Typer(no_args_is_help=True, help="See what happened in a trace.")

FUNCTION_COLUMNS = ("function_id", "namespace", "worker_name", "description")
WORKER_HEADER = ("WORKER", "NAMESPACE", "RUNTIME", "VERSION", "STATUS", "FUNCS", "ACTIVE", "FOR", "ADDRESS")
WORKER_COLUMNS = ("namespace", "runtime", "version", "status", "function_count", "active_invocations")
WORKER_DETAILS = (
    *("id", "namespace", "description", "runtime", "version", "os", "pid", "ip_address", "isolation"),
    *("status", "active_invocations"),
)
LOOK_SECONDS = 0.1  # between looks; the engine tells no one of a function without announcing a worker
SILENT_SECONDS = 1.0  # before that `wait` shows nothing: mostly it is done by then
SUGGESTED = 3  # names that the engine is asked about once more


@functions_app.command("ls")
def functions_ls(
    ctx: typer.Context,
    json: AsJson = False,
    ids: Annotated[bool, typer.Option("--ids", help="Print only the ids.")] = False,
    prefix: Annotated[str | None, typer.Option(metavar="TEXT", help="Only ids starting with TEXT.")] = None,
    worker: Annotated[str | None, typer.Option(metavar="NAME", help="Only functions of this worker.")] = None,
    search: Annotated[str | None, typer.Option(metavar="TEXT", help="Match id or description.")] = None,
    all_functions: Annotated[bool, typer.Option("--all", help="Include the engine's own functions.")] = False,
) -> None:
    """List the functions that the engine knows.

    \b
    Examples:
      iii functions ls --prefix text::
      iii functions ls --json | jq -r '.[].function_id'
    """
    if json and ids:
        raise UsageProblem("either --json or --ids")
    filters = {
        "prefix": prefix,
        "worker": worker,
        "search": search,
        "include_internal": all_functions or None,
    }
    rows = _rows_in_namespace(settings_of(ctx), "functions", filters)
    if json:
        print_json(rows)
    elif ids:
        emit("".join(clean(str(row.get("function_id", ""))) + "\n" for row in rows))
    else:
        _function_table(rows)


@functions_app.command("info")
def functions_info(
    ctx: typer.Context,
    function: Annotated[str, typer.Argument(metavar="FUNCTION", help="Function id.")],
    json: AsJson = False,
    template: Annotated[bool, typer.Option("--template", help="Print a payload to fill in.")] = False,
) -> None:
    """Tell what a function is for and what it takes.

    \b
    Examples:
      iii functions info text::upper
      iii functions info text::upper --template > in.json
    """
    if json and template:
        raise UsageProblem("either --json or --template; a template is JSON")
    found = find_function(settings_of(ctx), function)
    if template:
        print_json(skeleton(schema_of(found, "request")))
        return
    if json:
        print_json(found)
        return
    where = f"worker {found.get('worker_name')}, namespace {found.get('namespace')}"
    lines = [clean(f"{found.get('function_id')}  ({where})")]
    if found.get("description"):
        lines.append(clean(str(found["description"]), keep_newlines=True))
    lines += parameter_lines("Takes", schema_of(found, "request"))
    lines += parameter_lines("Gives", schema_of(found, "response"))
    for row in found.get("registered_triggers") or ():
        config = dumps(row.get("config"), ensure_ascii=False)
        lines += ["", clean(f"Triggered by {row.get('trigger_type')}: {config}")]
    emit("\n".join(lines) + "\n")


@functions_app.command("wait")
def functions_wait(
    ctx: typer.Context,
    names: Annotated[list[str], typer.Argument(metavar="FUNCTION...", help="Function ids.")],
    timeout: Annotated[str, typer.Option(metavar="TIME", help="Give up after TIME. 0: never.")] = "30s",
) -> None:
    """Wait until the engine is there and knows all these functions; 124 names those that are missing.

    \b
    Examples:
      iii functions wait text::upper --timeout 1m
      iii functions wait text::upper text::gzip && echo ready
    """
    if not all(names):
        raise UsageProblem("a FUNCTION is empty", hint="is a variable not set?")
    settings = settings_of(ctx)
    limit, began = seconds(timeout, "--timeout"), time.monotonic()
    deadline = None if limit is None else began + limit
    missing = list(dict.fromkeys(names))
    engine_down: Failure | None = None  # or it hangs
    with BlockingCaller(replace(settings.endpoint, wait_engine=None)) as caller:
        while True:
            try:
                known = _known_functions(caller, settings.namespace or "default", deadline)
                missing, engine_down = [name for name in missing if name not in known], None
            except (EngineUnreachable, TimedOut) as error:
                engine_down = error
            waited = time.monotonic() - began
            if not missing:
                break
            if waited > SILENT_SECONDS:
                _draw_waiting("the engine" if engine_down else ", ".join(missing), waited)
            if limit is not None and waited + LOOK_SECONDS > limit:
                break
            time.sleep(LOOK_SECONDS)
    console.draw()
    if missing and engine_down:
        raise TimedOut(f"not there within {timeout}: {', '.join(missing)} ({engine_down.message})")
    if missing:  # maybe they will never come
        meant = [match for name in missing[:SUGGESTED] if (match := meant_name(settings, name))]
        hint = f"did you mean {', '.join(map(repr, meant))}?" if meant else None
        raise TimedOut(f"not there within {timeout}: {', '.join(missing)}", hint=hint)


@workers_app.command("ls")
def workers_ls(
    ctx: typer.Context,
    json: AsJson = False,
    names: Annotated[bool, typer.Option("--names", help="Print only the names.")] = False,
    search: Annotated[str | None, typer.Option(metavar="TEXT", help="Match the name.")] = None,
    runtime: Annotated[
        str | None, typer.Option(metavar="NAME", help="python, node, rust, go, or engine.")
    ] = None,
) -> None:
    """List the workers that the engine knows, its own among them.

    A worker that does not announce a process id is not listed; its functions are.

    \b
    Examples:
      iii workers ls --runtime python
      iii workers ls --json | jq -r '.[] | select(.active_invocations > 0).name'
    """
    if json and names:
        raise UsageProblem("either --json or --names")
    rows = _rows_in_namespace(settings_of(ctx), "workers", {"search": search, "runtime": runtime})
    if json:
        print_json(rows)
    elif names:
        emit("".join(clean(str(row["name"])) + "\n" for row in rows if row.get("name")))
    else:
        print_table(WORKER_HEADER, [_worker_row(row) for row in rows])


@workers_app.command("info")
def workers_info(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Worker name, as in `iii workers ls`.")],
    json: AsJson = False,
) -> None:
    """Tell what the engine knows of one worker: where it runs, and its functions.

    \b
    Examples:
      iii workers info engine
      iii workers info engine --json | jq -r '.functions[].function_id'
    """
    settings = settings_of(ctx)
    found = _info_of(settings, "workers", "name", name)
    if json:
        print_json(found)
        return
    worker = found.get("worker")
    if not isinstance(worker, dict):
        raise PeerMisbehaved("the engine's answer to engine::workers::info holds no worker")
    known = [(key, _shown(worker.get(key))) for key in WORKER_DETAILS] + [("connected_for", _age(worker))]
    fields = aligned([(key, clean(text)) for key, text in known if text != "-"])
    lines = [clean(str(worker.get("name") or worker.get("id"))), *(f"  {line}" for line in fields)]
    emit("\n".join(lines) + "\n")
    for title, key in (("Functions", "functions"), ("Trigger types", "trigger_types")):
        rows = rows_of(found, key) if found.get(key) else []
        if rows:
            emit(f"\n{title}:\n")
            _function_table([{"function_id": row.get("id"), **row} for row in rows])


@trace_app.command("show")
def trace_show(
    ctx: typer.Context,
    trace_id: Annotated[str, typer.Argument(metavar="ID", help="32 hex digits, or a traceparent.")],
    json: AsJson = False,
) -> None:
    """Draw the calls and channel ends of a trace, with the time that each took.

    The engine keeps the spans of recent traces only, and of calls that were made with a traceparent.

    \b
    Examples:
      iii trace show 0af7651916cd43dd8448eb211c80319c
      iii trace show "$TRACEPARENT" --json | jq '.roots | length'
    """
    settings = settings_of(ctx)
    bare = trace_id.strip().lower()
    parent = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?", bare)
    bare = parent[1] if parent else bare.replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{32}", bare):
        raise UsageProblem("a trace ID is 32 hexadecimal digits, or the traceparent that holds them")
    answer = call(settings.endpoint, "engine::traces::tree", {"trace_id": bare})
    roots = rows_of(answer, "roots")
    if not roots:
        raise UnknownTarget(
            f"the engine at {settings.endpoint.address.url} keeps no spans of trace {bare}",
            hint="it keeps recent ones only, of calls made with a traceparent",
        )
    if json:
        print_json(answer)
    else:
        emit("".join(line + "\n" for line in draw_tree(roots)))


# What the engine answers.


def find_function(settings: Settings, function: str, *, timeout: float = CALL_SECONDS) -> dict[str, Any]:
    """The engine's answer to `engine::functions::info`. Raises UnknownTarget, with the nearest name."""
    return _info_of(settings, "functions", "function_id", function, timeout)


def schema_of(found: dict[str, Any], which: str) -> Any:
    """The `request` or `response` schema; older engines call it a format."""
    schema = found.get(f"{which}_schema")
    return found.get(f"{which}_format") if schema is None else schema


def _info_of(
    settings: Settings, noun: str, key: str, name: str, timeout: float = CALL_SECONDS
) -> dict[str, Any]:
    """The engine's `info` of one. Raises UnknownTarget, with what was probably meant."""
    data = {key: name} if settings.namespace is None else {key: name, "namespace": settings.namespace}
    try:
        found: dict[str, Any] = call(settings.endpoint, f"engine::{noun}::info", data, timeout=timeout)
    except FunctionFailed as failure:
        if failure.code != "NOT_FOUND":
            raise
        hint = did_you_mean(meant_name(settings, name, noun), f"`iii {noun} ls` lists what there is")
        raise UnknownTarget(failure.remote_message.rstrip("."), hint=hint) from None
    return found


def _rows_in_namespace(settings: Settings, noun: str, filters: dict[str, Any]) -> list[dict[str, Any]]:
    """The engine's list of `functions` or `workers`, of the settings' namespace if they name one."""
    data = {name: value for name, value in filters.items() if value is not None}
    rows = rows_of(call(settings.endpoint, f"engine::{noun}::list", data), noun)
    return [row for row in rows if settings.namespace in (None, row.get("namespace"))]


def _known_functions(caller: BlockingCaller, namespace: str, deadline: float | None) -> set[str]:
    """The ids that the engine knows in a namespace, internal ones too."""
    remaining = 10.0 if deadline is None else max(deadline - time.monotonic(), 0.1)
    answer = caller.call("engine::functions::list", {"include_internal": True}, timeout=remaining)
    rows = rows_of(answer, "functions")
    return {row["function_id"] for row in rows if row.get("namespace", "default") == namespace}


# A JSON Schema as people read it.


def parameter_lines(title: str, schema: Any) -> list[str]:
    """The title and indented lines, cleaned: one a parameter, or the schema itself where it names none."""
    if schema is None:
        return []
    rows = [[clean(cell) for cell in row] for row in parameters_of(schema)]
    if not rows:
        text = clean(dumps(schema, indent=2, ensure_ascii=False), keep_newlines=True)
        return ["", f"{title}:", *(f"  {line}" for line in text.splitlines())]
    told = [column for column in zip(*rows, strict=True) if any(column)]
    return ["", f"{title}:", *(f"  {line}" for line in aligned(list(zip(*told, strict=True))))]


def parameters_of(schema: Any) -> list[tuple[str, str, str, str]]:
    """Name, type, need and description of each parameter of a JSON Schema. Tolerates any value."""
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return []
    required = schema["required"] if isinstance(schema.get("required"), list) else []
    rows = []
    for name, part in properties.items():
        about = part if isinstance(part, dict) else {}
        kind = about.get("type")
        if isinstance(kind, list):
            kind = " or ".join(map(str, kind))
        elif kind is None and isinstance(about.get("enum"), list):
            kind = " or ".join(dumps(value, ensure_ascii=False) for value in about["enum"])
        need = "required" if name in required else ""
        if not need and "default" in about:
            need = f"[{dumps(about['default'], ensure_ascii=False)}]"
        rows.append(
            (str(name), "any" if kind is None else str(kind), need, str(about.get("description") or ""))
        )
    return rows


# How it is shown.


def _function_table(rows: list[dict[str, Any]]) -> None:
    header = ("FUNCTION", "NAMESPACE", "WORKER", "DESCRIPTION")
    print_table(header, [[str(row.get(key) or "") for key in FUNCTION_COLUMNS] for row in rows])


def _worker_row(row: dict[str, Any]) -> list[str]:
    name = str(row.get("name") or row.get("id") or "")
    return [name, *(_shown(row.get(key)) for key in WORKER_COLUMNS), _age(row), _shown(row.get("ip_address"))]


def _age(row: dict[str, Any]) -> str:
    since = row.get("connected_at_ms")
    return format_duration(max(0.0, time.time() - since / 1000)) if is_count(since) else "-"


def _shown(value: Any) -> str:
    return "-" if value in (None, "") else str(value)


def _draw_waiting(what: str, waited: float) -> None:
    """On a person's terminal only: a silent command looks like one that hangs."""
    from iii_cli.io.progress import MARGIN, ProgressMode, progress_mode

    if progress_mode("auto") is ProgressMode.BAR:
        console.draw(ellipsis(f"waiting {waited:.0f} s for {clean(what)}", console.stderr.columns - MARGIN))


def draw_tree(roots: list[dict[str, Any]]) -> list[str]:
    """A trace's spans as a tree: name, start, duration, outcome; clean for a terminal. At least one root."""
    began = min(map(_start, roots))
    rows = []
    todo = [(span, "", "", "") for span in reversed(roots)]  # not recursive: it may be deep
    while todo:
        span, before, branch, below = todo.pop()
        start, end = _start(span), span.get("end_time_unix_nano")
        took = "running" if span.get("pending") or not is_count(end) else _span_time(end - start)
        name = f"{before}{branch}{clean(str(span.get('name')))}"
        rows.append((name, f"+{_span_time(start - began)}", took, _outcome(span)))
        children = [child for child in span.get("children") or () if isinstance(child, dict)]
        last = len(children) - 1
        todo += [
            (child, before + below, "└─ " if at == last else "├─ ", "   " if at == last else "│  ")
            for at, child in reversed(list(enumerate(children)))
        ]
    return list(aligned(rows))


def _start(span: dict[str, Any]) -> int:
    start = span.get("start_time_unix_nano")
    return start if is_count(start) else 0


def _span_time(nanoseconds: int) -> str:
    span = max(0, nanoseconds) / 1e9
    return format_duration(span) if span >= 0.01 else f"{span * 1000:.2f} ms"


def _outcome(span: dict[str, Any]) -> str:
    """Its status, and what people look for and the name does not say."""
    words = [str(span.get("status") or "unset")]
    if span.get("status_description"):
        words.append(str(span["status_description"]))
    pairs = [pair for pair in span.get("attributes") or () if isinstance(pair, list) and len(pair) == 2]
    attributes = {str(name): str(value) for name, value in pairs}
    for key, noun in (("iii.worker.name", "worker"), ("iii.channel.bytes", "bytes")):
        if key in attributes:
            words.append(f"{noun} {attributes[key]}")
    return clean(", ".join(words))

"""What `iii trace show` does: a trace of `engine::traces::tree` as a tree (protocol.md 3.8)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from iii_cli.client.call import call
from iii_cli.commands.common import rows_of
from iii_cli.config.settings import format_duration
from iii_cli.errors import UnknownTarget, UsageProblem
from iii_cli.io.console import clean, emit, print_json, width_of
from iii_cli.protocol.seal import is_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from iii_cli.config.settings import Settings

__all__ = ("draw_tree", "show_trace", "trace_id_of")

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
SHOWN = ("iii.worker.name", "iii.channel.bytes")  # what people look for and the name does not say
NAMES = {"iii.worker.name": "worker", "iii.channel.bytes": "bytes"}


def show_trace(settings: Settings, text: str, *, json: bool) -> None:
    """Print the trace. Raises UsageProblem, and UnknownTarget where the engine keeps nothing of it."""
    trace_id = trace_id_of(text)
    answer = call(settings.endpoint, "engine::traces::tree", {"trace_id": trace_id})
    roots = rows_of(answer, "roots")
    if not roots:
        raise UnknownTarget(
            f"the engine at {settings.endpoint.address.url} keeps no spans of trace {trace_id}",
            hint="it keeps recent ones only, of calls made with a traceparent",
        )
    if json:
        print_json(answer)
    else:
        emit("".join(line + "\n" for line in draw_tree(roots)))


def trace_id_of(text: str) -> str:
    """The trace id in an id or a traceparent, in lower case. Raises UsageProblem."""
    bare = text.strip().lower()
    match = _TRACEPARENT.fullmatch(bare)
    trace_id = match[1] if match else bare.replace("-", "")
    if not re.fullmatch(r"[0-9a-f]{32}", trace_id):
        raise UsageProblem("a trace ID is 32 hexadecimal digits, or the traceparent that holds them")
    return trace_id


def draw_tree(roots: list[dict[str, Any]]) -> list[str]:
    """The lines of the drawing, clean for a terminal. At least one root."""
    began = min(map(_start, roots))
    rows = list(_rows(roots, began))
    widths = [max(width_of(row[column]) for row in rows) for column in range(3)]
    lines = []
    for row in rows:
        cells = [cell + " " * (width - width_of(cell)) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[3]]).rstrip())
    return lines


def _rows(roots: list[dict[str, Any]], began: int) -> Iterator[tuple[str, str, str, str]]:
    """What happened, when after the beginning, for how long, and how it went. Not recursive: it may be
    deep.
    """
    todo = [(span, "", "", "") for span in reversed(roots)]
    while todo:
        span, before, branch, below = todo.pop()
        name = clean(str(span.get("name")))
        yield f"{before}{branch}{name}", f"+{_time(_start(span) - began)}", _duration(span), _outcome(span)
        children = [child for child in span.get("children") or () if isinstance(child, dict)]
        indent = before + below
        last = len(children) - 1
        todo += [
            (child, indent, "└─ " if at == last else "├─ ", "   " if at == last else "│  ")
            for at, child in reversed(list(enumerate(children)))
        ]


def _start(span: dict[str, Any]) -> int:
    start = span.get("start_time_unix_nano")
    return start if is_count(start) else 0


def _duration(span: dict[str, Any]) -> str:
    end = span.get("end_time_unix_nano")
    if span.get("pending") or not is_count(end):
        return "running"
    return _time(end - _start(span))


def _time(nanoseconds: int) -> str:
    seconds = max(0, nanoseconds) / 1e9
    return format_duration(seconds) if seconds >= 0.01 else f"{seconds * 1000:.2f} ms"


def _outcome(span: dict[str, Any]) -> str:
    words = [str(span.get("status") or "unset")]
    if span.get("status_description"):
        words.append(str(span["status_description"]))
    attributes = {
        str(pair[0]): str(pair[1])
        for pair in span.get("attributes") or ()
        if isinstance(pair, list) and len(pair) == 2
    }
    words += [f"{NAMES[key]} {attributes[key]}" for key in SHOWN if key in attributes]
    return clean(", ".join(words))

"""`--trace`, and TRACEPARENT: the trace that a call belongs to."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from iii_cli.io.console import talk

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iii_cli.config.settings import Settings

__all__ = ("say_trace", "traceparent_of")

VARIABLE = "TRACEPARENT"
_VALID = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
TREE_SECONDS = 5.0  # the call is over; its tree is worth a moment, not more


def traceparent_of(environ: Mapping[str, str], *, begin: bool) -> str | None:
    """TRACEPARENT where it is valid, as W3C wants it; else a new one if `begin`."""
    given = environ.get(VARIABLE, "").strip()
    if _VALID.fullmatch(given):
        return given
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01" if begin else None


def say_trace(settings: Settings, traceparent: str) -> None:
    """Print the id, and the tree where the engine can tell it, on stderr. Never raises a Failure."""
    from iii_cli.client.call import call
    from iii_cli.commands.common import rows_of
    from iii_cli.commands.listing import draw_tree
    from iii_cli.errors import Failure

    trace_id = traceparent.split("-")[1]
    lines: list[str] = []
    try:
        answer = call(settings.endpoint, "engine::traces::tree", {"trace_id": trace_id}, timeout=TREE_SECONDS)
        roots = rows_of(answer, "roots")
        lines = draw_tree(roots) if roots else []
    except Failure:
        answer = None  # an engine that keeps no spans, or that is gone
    if talk.as_json:
        talk.event("trace", {"trace_id": trace_id, "tree": answer})
        return
    talk.tell(f"trace {trace_id}")
    talk.stderr.write("".join(f"{line}\n" for line in lines))

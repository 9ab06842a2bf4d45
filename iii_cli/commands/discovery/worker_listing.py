"""What `iii workers ls` and `info` do (protocol.md 3.4, 3.5)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from iii_cli.commands.common import meant_name, rows_of
from iii_cli.commands.discovery.asking import info_of, rows_in_namespace
from iii_cli.commands.discovery.function_listing import function_table
from iii_cli.config.settings import format_duration
from iii_cli.errors import PeerMisbehaved
from iii_cli.io.console import clean, emit, print_json, print_table
from iii_cli.protocol.seal import is_count

if TYPE_CHECKING:
    from iii_cli.config.settings import Settings

__all__ = ("describe_worker", "list_workers")

HEADER = ("WORKER", "NAMESPACE", "RUNTIME", "VERSION", "STATUS", "FUNCS", "ACTIVE", "FOR", "ADDRESS")
KEYS = ("namespace", "runtime", "version", "status", "function_count", "active_invocations")
DETAILS = (
    *("id", "namespace", "description", "runtime", "version", "os", "pid", "ip_address", "isolation"),
    *("status", "active_invocations"),
)


def list_workers(settings: Settings, filters: dict[str, Any], *, json: bool, names: bool) -> None:
    """Print the engine's rows."""
    rows = rows_in_namespace(settings, "workers", filters)
    if json:
        print_json(rows)
    elif names:
        emit("".join(clean(str(row["name"])) + "\n" for row in rows if row.get("name")))
    else:
        print_table(HEADER, [_row(row) for row in rows])


def describe_worker(settings: Settings, name: str, *, json: bool) -> None:
    """Print what the engine knows of one worker. Raises UnknownTarget."""
    found = info_of(settings, "workers", {"name": name}, lambda: meant_name(settings, name))
    if json:
        print_json(found)
        return
    worker = found.get("worker")
    if not isinstance(worker, dict):
        raise PeerMisbehaved("the engine's answer to engine::workers::info holds no worker")
    emit("\n".join(_details(worker)) + "\n")
    for title, key in (("Functions", "functions"), ("Trigger types", "trigger_types")):
        rows = rows_of(found, key) if found.get(key) else []
        if rows:
            emit(f"\n{title}:\n")
            function_table([{"function_id": row.get("id"), **row} for row in rows])


def _row(row: dict[str, Any]) -> list[str]:
    name = str(row.get("name") or row.get("id") or "")
    return [name, *(_shown(row.get(key)) for key in KEYS), _age(row), _shown(row.get("ip_address"))]


def _details(worker: dict[str, Any]) -> list[str]:
    fields = {key: _shown(worker[key]) for key in DETAILS if worker.get(key) is not None}
    fields["connected_for"] = _age(worker)
    width = max(map(len, fields))
    lines = [clean(str(worker.get("name") or worker.get("id")))]
    return lines + [f"  {key:{width}}  {clean(text)}" for key, text in fields.items() if text != "-"]


def _age(row: dict[str, Any]) -> str:
    since = row.get("connected_at_ms")
    if not is_count(since):
        return "-"
    return format_duration(max(0.0, time.time() - since / 1000))


def _shown(value: Any) -> str:
    return "-" if value in (None, "") else str(value)

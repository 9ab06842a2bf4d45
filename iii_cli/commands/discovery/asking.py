"""What `ls` and `info` ask the engine, of functions and of workers alike (protocol.md 3.1 to 3.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii_cli.client.call import CALL_SECONDS, call
from iii_cli.commands.common import rows_of
from iii_cli.config.store import did_you_mean
from iii_cli.errors import FunctionFailed, UnknownTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from iii_cli.config.settings import Settings

__all__ = ("info_of", "rows_in_namespace")


def rows_in_namespace(settings: Settings, noun: str, filters: dict[str, Any]) -> list[dict[str, Any]]:
    """The engine's list of `functions` or `workers`, of the settings' namespace if they name one."""
    data = {name: value for name, value in filters.items() if value is not None}
    rows = rows_of(call(settings.endpoint, f"engine::{noun}::list", data), noun)
    if settings.namespace is None:
        return rows
    return [row for row in rows if row.get("namespace") == settings.namespace]


def info_of(
    settings: Settings,
    noun: str,
    named: dict[str, Any],
    meant: Callable[[], str | None],
    timeout: float = CALL_SECONDS,
) -> dict[str, Any]:
    """The engine's `info` of one. Raises UnknownTarget, with what was probably `meant`."""
    data = named if settings.namespace is None else named | {"namespace": settings.namespace}
    try:
        found: dict[str, Any] = call(settings.endpoint, f"engine::{noun}::info", data, timeout=timeout)
    except FunctionFailed as failure:
        if failure.code != "NOT_FOUND":
            raise
        hint = did_you_mean(meant(), f"`iii {noun} ls` lists what there is")
        raise UnknownTarget(failure.remote_message.rstrip("."), hint=hint) from None
    return found

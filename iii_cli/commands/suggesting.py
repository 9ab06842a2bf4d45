"""What a mistyped name of the engine's was probably meant to be, asked of the engine itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from iii_cli.client.call import call
from iii_cli.config.store import nearest
from iii_cli.errors import Failure, PeerMisbehaved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.config.settings import Settings

__all__ = ("meant_function", "meant_name", "rows_of")

ASK_SECONDS = 1.0  # an error that is late is worse than one without a suggestion


def rows_of(answer: Any, key: str) -> list[dict[str, Any]]:
    """The rows that an `engine::…::list` answered. Raises PeerMisbehaved."""
    rows = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise PeerMisbehaved(f"the engine's answer holds no list of {key}")
    return rows


def meant_function(settings: Settings, name: str) -> str | None:
    """The function of the engine that `name` was probably meant to be. None, too, where it does not say."""
    internal = {"include_internal": True} if name.startswith("engine") else {}
    return _meant(settings, name, "functions", "function_id", internal)


def meant_name(settings: Settings, name: str) -> str | None:
    """The same for a worker's name."""
    return _meant(settings, name, "workers", "name", {})


def _meant(settings: Settings, name: str, noun: str, key: str, data: dict[str, Any]) -> str | None:
    endpoint = settings.endpoint.replace(connect_timeout=ASK_SECONDS, wait_engine=None)
    try:
        answer = call(endpoint, f"engine::{noun}::list", data, timeout=ASK_SECONDS, whole=True)
        known = [str(row[key]) for row in rows_of(answer, noun) if row.get(key)]
    except Failure:
        return None
    return _nearest(name, [each for each in known if each != name])


def _nearest(name: str, known: Sequence[str]) -> str | None:
    """`text::uper` is near `text::upper`; so is `upper` alone, if only one function ends so."""
    ends = [each for each in known if each.rpartition("::")[2] == name]
    return ends[0] if len(ends) == 1 else nearest(name, known)

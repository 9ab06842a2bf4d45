"""What `iii functions wait` does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from iii_cli.client.call import BlockingCaller
from iii_cli.commands.common import meant_function, rows_of
from iii_cli.config.settings import seconds
from iii_cli.errors import EngineUnreachable, Failure, TimedOut
from iii_cli.io.console import clean, ellipsis, talk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iii_cli.config.settings import Settings

__all__ = ("wait_for_functions",)

SUGGESTED = 3  # names that the engine is asked about once more
SILENT_SECONDS = 1.0  # before that nothing is shown: mostly it is done by then
LOOK_SECONDS = 0.1  # between looks; the engine tells no one of a function without announcing a worker


def wait_for_functions(settings: Settings, names: Sequence[str], timeout: str) -> None:
    """Return when the engine knows all the names. Raises TimedOut, which says what is missing."""
    limit, began = seconds(timeout, "--timeout"), time.monotonic()
    deadline = None if limit is None else began + limit
    missing = list(dict.fromkeys(names))
    engine_down: Failure | None = None  # or hangs
    with BlockingCaller(replace(settings.endpoint, wait_engine=None)) as caller:
        while True:
            try:
                missing = _missing(caller, settings, missing, deadline)
                engine_down = None
            except (EngineUnreachable, TimedOut) as error:
                engine_down = error
            if not missing:
                break
            if time.monotonic() > began + SILENT_SECONDS:
                _draw("the engine" if engine_down else ", ".join(missing), time.monotonic() - began)
            if deadline is not None and time.monotonic() + LOOK_SECONDS > deadline:
                break
            time.sleep(LOOK_SECONDS)
    talk.draw()
    if not missing:
        return
    why = f" ({engine_down.message})" if engine_down else ""
    hint = None if engine_down else _hint(settings, missing)
    raise TimedOut(f"not there within {timeout}: {', '.join(missing)}{why}", hint=hint)


def _hint(settings: Settings, missing: list[str]) -> str | None:
    """Maybe they will never come."""
    meant = [match for name in missing[:SUGGESTED] if (match := meant_function(settings, name))]
    return f"did you mean {', '.join(map(repr, meant))}?" if meant else None


def _draw(what: str, waited: float) -> None:
    """On a person's terminal only: a silent command looks like one that hangs."""
    from iii_cli.io.progress import MARGIN, ProgressMode, progress_mode

    if progress_mode("auto") is ProgressMode.BAR:
        talk.draw(ellipsis(f"waiting {waited:.0f} s for {clean(what)}", talk.stderr.columns - MARGIN))


def _missing(
    caller: BlockingCaller, settings: Settings, names: list[str], deadline: float | None
) -> list[str]:
    remaining = 10.0 if deadline is None else max(deadline - time.monotonic(), 0.1)
    answer = caller.call("engine::functions::list", {"include_internal": True}, timeout=remaining)
    namespace = settings.namespace or "default"
    known = {
        row["function_id"]
        for row in rows_of(answer, "functions")
        if row.get("namespace", "default") == namespace
    }
    return [name for name in names if name not in known]

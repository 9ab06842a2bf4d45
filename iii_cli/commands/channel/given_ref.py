"""The REF of a command: found, warned about, and turned to the engine that it belongs to."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from iii_cli.commands.running import settings_of, tell
from iii_cli.config.refspec import DEFAULT_VARIABLE, resolve_ref
from iii_cli.config.store import SavedRefs
from iii_cli.errors import EngineUnreachable, UsageProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    import typer

    from iii_cli.config.refspec import ResolvedRef
    from iii_cli.config.settings import Settings
    from iii_cli.protocol.refs import Direction

__all__ = ("find_ref", "forget", "mark_used", "opening")


def find_ref(
    ctx: typer.Context, text: str | None, needed: Direction, *, stdin_free: bool
) -> tuple[ResolvedRef, Settings]:
    """The ref that `text` (or III_WRITER, III_READER) names, and the settings of its engine.

    Raises UsageProblem, UnknownTarget, RefSpent, LocalProblem; no end is opened.
    """
    given = resolve_ref(text, needed, environ=os.environ, store=SavedRefs(), stdin_free=stdin_free)
    forget(f"env:{DEFAULT_VARIABLE[needed]}" if text is None else text)
    settings = settings_of(ctx, engine_url=given.engine_url, engine_tls=given.engine_tls)
    if settings.stdin_taken and not stdin_free:
        raise UsageProblem("--token-file - and the data cannot both be read from standard input")
    if not settings.quiet:
        for notice in given.notices:
            tell(notice)
        if given.in_argv and sys.stderr.isatty():
            tell("others can see that ref in `ps`; `iii ref save NAME -`, env:NAME and file:PATH keep it out")
    return given, settings


def forget(text: str) -> None:
    """Take a ref that came from the environment out of it: no COMMAND of ours needs what we use up."""
    if text.startswith("env:"):
        os.environ.pop(text[4:], None)


@contextmanager
def opening(given: ResolvedRef) -> Iterator[None]:
    """Around the opening of the end: a saved ref is spent by it, and tied to the engine that made it."""
    try:
        yield
    except EngineUnreachable as error:
        if given.saved_name is not None:
            error.hint = (
                f"@{given.saved_name} is of that engine, whatever III_URL says; "
                f"`iii channel create --save {given.saved_name} --force` makes a new one"
            )
        raise
    mark_used(given)


def mark_used(given: ResolvedRef) -> None:
    """Note that the end was opened: a saved ref is spent by use."""
    if given.saved_name is not None:
        SavedRefs().mark_used(given.saved_name, given.ref)

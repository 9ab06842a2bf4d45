"""What the embedded engine says about itself: `--log text|json|off`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from iii_cli.errors import UsageProblem
from iii_cli.io.console import clean, escape_json, talk

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("FORMS", "notice_for")

FORMS = ("text", "json", "off")


def notice_for(form: str) -> Callable[..., None]:
    """What the engine tells its events to. They come on stderr, a line each, and never hold it up.

    Raises UsageProblem.
    """
    if form not in FORMS:
        raise UsageProblem(f"--log is {', '.join(FORMS[:-1])} or {FORMS[-1]}")
    return {"text": _as_text, "json": _as_json, "off": _nowhere}[form]


def _as_text(event: str, /, **details: Any) -> None:
    """`18:02:11 worker announced  name=images namespace=default`"""
    if event == "listening":  # that has been said in a sentence
        return
    words = " ".join(f"{key}={_word(value)}" for key, value in details.items() if value is not None)
    talk.stderr.write(f"{_now().astimezone():%H:%M:%S} {clean(f'{event}  {words}').rstrip()}\n")


def _word(value: Any) -> str:
    text = str(value)
    return text if text and " " not in text and '"' not in text else json.dumps(text, ensure_ascii=False)


def _as_json(event: str, /, **details: Any) -> None:
    document = {"time": _now().isoformat(timespec="milliseconds"), "event": event, **details}
    talk.stderr.write(escape_json(json.dumps(document, ensure_ascii=False, default=str)) + "\n")


def _nowhere(event: str, /, **details: Any) -> None:
    """Nobody wants to know."""


def _now() -> datetime:
    return datetime.now(UTC)

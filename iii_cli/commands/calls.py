"""A call of `trigger`: what it is made of, what becomes of its refs, how its result looks.

What came from a worker is made safe where a terminal shows it, and left as it is elsewhere.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from iii_cli.commands.common import mark_used
from iii_cli.errors import ContentDiffers, ExitStatus, FunctionFailed, UsageProblem
from iii_cli.io.console import clean, emit, escape_json, stdout_is_terminal
from iii_cli.protocol.payload import MalformedPath, parse_path, place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from iii_cli.config.refspec import ResolvedRef
    from iii_cli.config.settings import Settings
    from iii_cli.protocol.payload import KeyPath

__all__ = (
    "Request",
    "embed",
    "exit_code_of",
    "key_of",
    "print_document",
    "rendered",
    "spending",
)


class Request(NamedTuple):
    """One call, ready to be made. `timeout` in seconds; None: no limit."""

    settings: Settings
    function_id: str
    payload: Any
    metadata: Any
    namespace: str | None
    timeout: float | None
    whole: bool  # was the limit asked for? Then it counts from the beginning, not from the connection
    traceparent: str | None
    refs: Sequence[tuple[KeyPath, ResolvedRef]]  # of the person's, that it hands over


def key_of(text: str, option: str) -> KeyPath:
    """A typed KEY. Raises UsageProblem."""
    try:
        return parse_path(text)
    except MalformedPath as error:
        raise UsageProblem(f"{option}: {error}") from None


def embed(payload: Any, key: KeyPath, value: Any, option: str) -> Any:
    """The payload with `value` at `key`. Raises UsageProblem."""
    try:
        return place(payload, key, value)
    except MalformedPath as error:
        raise UsageProblem(f"{option}: {error}") from None


@contextmanager
def spending(request: Request) -> Iterator[None]:
    """The refs are spent when the function had them in its hands: it answered, good or bad."""
    try:
        yield
    except FunctionFailed as failure:
        if failure.exit_status == ExitStatus.UNKNOWN:
            raise failure.with_hint(_meant(request, failure)) from None
        if failure.exit_status in (ExitStatus.FAILED, ExitStatus.UNCONFIRMED):
            _spend(request)
        raise
    _spend(request)


def _spend(request: Request) -> None:
    for _, ref in request.refs:
        mark_used(ref)


REGISTERED_IN = " It is registered in namespace(s): "  # the engine's words


def _meant(request: Request, failure: FunctionFailed) -> str | None:
    """What to do about a name that the engine does not know. An extra call, on the way to an error only."""
    _, _, elsewhere = failure.remote_message.partition(REGISTERED_IN)
    if elsewhere:
        from shlex import quote

        namespace, *more = elsewhere.rstrip(".").split(", ")
        return f"try `-n {quote(namespace)}`" + (", or another of those" if more else "")
    from iii_cli.commands.common import meant_name
    from iii_cli.config.store import did_you_mean

    return did_you_mean(meant_name(request.settings, request.function_id))


def exit_code_of(result: Any) -> int:
    """The `exit_code` of a result that has one, as programs run by functions leave it.

    Raises ContentDiffers for a number that no program ends with: it must not look like a success.
    """
    code = result.get("exit_code") if isinstance(result, dict) else None
    if not isinstance(code, (int, float)) or isinstance(code, bool):
        return ExitStatus.DONE
    if code not in range(256):
        raise ContentDiffers("the `exit_code` of the result is not an exit code from 0 to 255")
    return int(code)


def print_document(value: Any, form: str = "pretty") -> None:
    """A result on stdout; nothing for null. Raises as `emit`."""
    if value is not None:
        emit(rendered(value, form, for_terminal=stdout_is_terminal()))


def rendered(value: Any, form: str, *, for_terminal: bool) -> str:
    """The text of a result, newline included.

    `pretty`: indented, keys sorted. `jsonl`: one line. `raw`: a string as it is, all else one line.
    """
    if form == "raw" and isinstance(value, str):
        return (clean(value, keep_newlines=True) if for_terminal else value) + "\n"
    if form == "pretty":
        text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    else:
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return (escape_json(text) if for_terminal else text) + "\n"

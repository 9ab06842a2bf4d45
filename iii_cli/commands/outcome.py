"""How the outcome of a call is shown, as the engine's own CLI shows it (protocol.md 8.2).

One door: what came from a worker is made safe where a terminal shows it, and left as it is elsewhere.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from iii_cli.errors import cannot_write
from iii_cli.io.console import clean, escape_json

if TYPE_CHECKING:
    from typing import TextIO

__all__ = ("FORMATS", "print_document", "rendered", "write_text")

FORMATS = ("pretty", "jsonl", "raw")


def print_document(value: Any, form: str = "pretty", stream: TextIO | None = None) -> None:
    """A result on stdout, or on `stream`; nothing for null. Raises as `write_text`."""
    stream = sys.stdout if stream is None else stream
    if value is not None:
        write_text(rendered(value, form, for_terminal=stream.isatty()), stream)


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


def write_text(text: str, stream: TextIO) -> None:
    """Write UTF-8, whatever the locale says, and flush: a full disk must be heard of.

    Raises LocalProblem, and BrokenPipeError where the reader left.
    """
    try:
        stream.flush()
        stream.buffer.write(text.encode())
        stream.buffer.flush()
    except BrokenPipeError:
        raise
    except (OSError, ValueError) as error:
        name = "standard output" if stream is sys.stdout else "standard error"
        raise cannot_write(name, error if isinstance(error, OSError) else "it is closed") from None

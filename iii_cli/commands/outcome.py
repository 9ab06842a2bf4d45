"""How the outcome of a call is shown, as the engine's own CLI shows it (protocol.md 8.2)."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from iii_cli.terminal.text import clean

if TYPE_CHECKING:
    from iii_cli.errors import FunctionFailed

__all__ = ("print_function_failure",)


def print_function_failure(failure: FunctionFailed) -> None:
    """`Error: ` and the body as indented JSON, on stderr."""
    text = json.dumps(failure.body(), indent=2, ensure_ascii=False)
    if sys.stderr.isatty():
        text = clean(text, keep_newlines=True)
    sys.stderr.write(f"Error: {text}\n")

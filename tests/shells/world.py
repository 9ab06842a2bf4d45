"""What the completion tests complete: an engine with functions, a context and a saved ref."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.hostile_worker import registered
from tests.support.program import Program, running_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ("world",)

SCHEMA = {"type": "object", "properties": {"width": {"type": "integer"}, "name": {}, "$(touch pwned)": {}}}
FUNCTIONS = {
    "img::resize": SCHEMA,
    "img::rotate": None,
    "text::upper": None,
    "img::$(touch pwned)": None,
    "img::a;b": None,
}


@contextmanager
def world(home: Path) -> Iterator[Program]:
    """A program in a home of its own, with all that."""
    with running_engine() as (url, _), registered(url, "painter", **FUNCTIONS):
        program = Program(home, url)
        program.env["III_COMPLETION_TIMEOUT"] = "10s"  # here it counts what is completed, not how soon
        program.ok("context", "add", "prod", "wss://engine.example")
        program.ok("channel", "create", "--save", "backup")
        (home / "big file.bin").touch()
        yield program

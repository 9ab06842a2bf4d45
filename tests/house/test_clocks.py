"""Waits and limits count on the monotonic clock: setting the system's clock has no effect on them."""

from __future__ import annotations

import ast

from tests.house.sources import modules, tree_of

WALL = {"time", "time_ns", "localtime", "gmtime", "ctime", "now", "utcnow", "today", "fromtimestamp"}
ALLOWED = {
    "iii_cli.commands.engine": "the time in a line of the log",
    "iii_cli.commands.saved": "the date that `ref show` prints",
    "iii_cli.commands.listing": "since when a worker is there, which the engine says",
    "iii_cli.config.store": "what other processes wrote; an age is never below 0",
    "iii_cli.engine.server": "once, at the start: from then on the monotonic clock counts",
}


def wall_clocks(tree: ast.Module) -> list[int]:
    """The lines that read the time of day."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in WALL
        and isinstance(node.value, ast.Name)
        and node.value.id in ("time", "datetime", "date")
    ]


def test_the_time_of_day_is_read_where_it_is_shown() -> None:
    found = {module for module in modules() if wall_clocks(tree_of(module))}
    assert found == set(ALLOWED)


def test_nothing_is_imported_from_the_module_time() -> None:
    """So that the rule above sees every use."""
    for module in modules():
        for node in ast.walk(tree_of(module)):
            assert not (isinstance(node, ast.ImportFrom) and node.module == "time"), module


def test_the_rule_can_say_no() -> None:
    assert wall_clocks(ast.parse("import time\ndeadline = time.time() + 3")) == [2]
    assert wall_clocks(ast.parse("import time\ndeadline = time.monotonic() + 3")) == []

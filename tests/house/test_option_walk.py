"""What was typed is told on as little as it can be: six classes on its way to the copy loop, no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.house.option_walk import classes_on_the_walk
from tests.support.program import Program, running_engine

if TYPE_CHECKING:
    from pathlib import Path


def test_few_classes_hold_the_value_of_an_option(tmp_path: Path) -> None:
    with running_engine() as (url, _):
        found = classes_on_the_walk(Program(tmp_path, url))
    assert 2 <= len(found) <= 6, found  # fewer: they were not found

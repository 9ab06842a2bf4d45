"""Every example that a help ends with, run as it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from iii_cli.commands.shell.reference import commands
from tests.examples.world import World, a_home, around, skip_without_what_it_needs

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = [example for command in commands() for example in command.examples if not command.children]
AROUND = around("help")
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.ci
@pytest.mark.timeout(60)
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_does_what_it_says(example: str, url: str, tmp_path: Path) -> None:
    script = AROUND.get(example, "EXAMPLE").replace("EXAMPLE", example)
    skip_without_what_it_needs(script)
    environ = {"TRACEPARENT": f"00-{TRACE_ID}-b7ad6b7169203331-01"} if "trace" in script else {}
    code, said = World(a_home(tmp_path), url).run(script, env=environ)
    assert code == 0, f"{script}\n{said}"


def test_nothing_is_around_what_is_no_example() -> None:
    assert set(AROUND) - set(EXAMPLES) == set()

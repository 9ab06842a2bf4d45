"""Every example that a help, and its page of the manual, ends with, run as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.examples.world import World, a_home, around, skip_without_what_it_needs

if TYPE_CHECKING:
    from collections.abc import Iterator

MANUALS = Path(__file__).parents[2] / "man"
ROFF = {"e": "\\", "-": "-", "&": "", "(ga": "`", "(aq": "'", "(ha": "^", "(ti": "~", "(dq": '"'}


def _examples() -> Iterator[str]:
    """Of the pages of commands; a group has none of its own."""
    for page in sorted(MANUALS.glob("iii-*.1")):
        if not list(MANUALS.glob(f"{page.stem}-*.1")):
            shown = page.read_text().partition(".SH EXAMPLES\n.EX\n")[2].partition("\n.EE")[0]
            yield from re.sub(r"\\(\(..|.)", lambda match: ROFF[match[1]], shown).splitlines()


EXAMPLES = list(_examples())
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

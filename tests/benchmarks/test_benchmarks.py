"""The measurements still measure. What they say is RESULTS.md's; here everything is tiny."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.results import MARKER, at_least, at_most, page

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.ci
@pytest.mark.timeout(60)
def test_the_parts_run_and_land_on_the_page(tmp_path: Path) -> None:
    parts = ["lines", "relay", "starts", "pairs", "channels"]
    nobody = str(tmp_path / "no-peers")
    main([*parts, "--tiny", "--rounds", "1", "--peers", nobody, "--out", str(tmp_path)])
    kept = json.loads((tmp_path / "results.json").read_text())
    assert list(kept) == parts
    assert all(part["rows"] for part in kept.values())
    told = (tmp_path / "RESULTS.md").read_text()
    assert "not installed: Rust SDK, Node SDK" in told
    assert all(part["title"] in told for part in kept.values())


def test_what_is_written_by_hand_stays() -> None:
    assert page({}, [], f"old figures {MARKER}\n\nby hand\n").endswith(f"{MARKER}\n\nby hand\n")


@pytest.mark.parametrize(
    ("aim", "reached"),
    [
        (at_least("fast", 1.1, 1.1), True),
        (at_least("fast", 1.1, 1.09), False),
        (at_most("small", 1.5, 1.5), True),
        (at_most("small", 1.5, 1.51), False),
        (at_most("not there", 1.5, None), False),
    ],
)
def test_an_aim_is_reached_or_it_is_not(aim: tuple[object, ...], reached: bool) -> None:
    assert aim[-1] is reached

"""What drives the program from outside knows nothing of its inside: it stays when that is built anew."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

TESTS = Path(__file__).parents[1]
OUTSIDE = (
    *("pipes", "faults", "conformance", "sdk", "examples", "screens", "shells", "soak"),
    *("benchmarks", "pictures", "support", "test_library.py"),
)
# The library is what its users see of it: these try or show `import iii_cli`. Fuzz targets are decoders,
# which are insides by nature, and stay outside of the rule.
LIBRARY = frozenset({"examples", "soak", "test_library.py"})


def imports_of(place: Path) -> Iterator[tuple[str, str]]:
    """Each module that a file or the files of a folder import anywhere, and where."""
    for path in place.rglob("*.py") if place.is_dir() else [place]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}:{node.lineno} imports relatively"
                names = [node.module or ""]
                if names == ["tests"]:
                    names = [f"tests.{alias.name}" for alias in node.names]
            else:
                continue
            yield from ((name, f"{path.relative_to(TESTS)}:{node.lineno}") for name in names)


def may_import(place: str, name: str) -> bool:
    """The library's front door, what supports all tests, and what stands in the same folder."""
    package, _, rest = name.partition(".")
    if package == "iii_cli":
        return place in LIBRARY and not rest
    return package != "tests" or rest.split(".")[0] in ("support", place)


@pytest.mark.parametrize("place", OUTSIDE)
def test_only_the_outside_is_imported(place: str) -> None:
    assert (TESTS / place).exists()
    assert [found for found in imports_of(TESTS / place) if not may_import(place, found[0])] == []


def test_the_rule_can_say_no() -> None:
    assert may_import("examples", "iii_cli")
    assert may_import("faults", "tests.support.program")
    assert not may_import("examples", "iii_cli.client")
    assert not may_import("faults", "iii_cli")
    assert not may_import("faults", "tests.pipes.conftest")
